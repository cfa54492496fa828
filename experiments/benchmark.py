"""How fast it is, against the usual way, in one run.

    python -m experiments.benchmark
    python -m experiments.benchmark --only=harmonic_features --out=benchmark.json
    python -m experiments.benchmark --only=config
    python -m experiments.benchmark --only=config/natsiou2023,config/rebnord2022:8_dim

Prints a table and, with --out, writes a JSON list of {name, ours, theirs, ratio, unit}; ratio is above 1 where ours is
better. Each benchmark's file in experiments/benchmarks/ says what exactly it compares. `config` is every configuration of
experiments/configs: steps and examples a second, FLOP/s and their share of the measured peak, the pipeline's share of a step;
`full_size/...`, which takes long and is run only when named, is NSynth with all of its 305,979 notes.
Figures are only worth something on a machine that does nothing else; pinned to one core (`taskset -c 0`) they bear some.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line
from experiments.benchmarks import configs, full_size
from experiments.large_pages import use_large_pages

# name: (module, function); the function takes nothing and returns a list of rows. Imported only when run.
BENCHMARKS = {
    "fast_griffin_lim": ("experiments.benchmarks.fast_griffin_lim", "run"),
    "grid/natsiou2023": ("experiments.benchmarks.grid", "run"),
    "features": ("experiments.benchmarks.features", "run"),
    "harmonic_features": ("experiments.benchmarks.harmonic_features", "run"),
    "inverse_map": ("experiments.benchmarks.inverse_map", "run"),
    "similar_sounds": ("experiments.benchmarks.inverse_map", "run_similar"),
    "train_step/rebnord2022": ("experiments.benchmarks.train_step_rebnord2022", "run"),
    "train_step/natsiou2023": ("experiments.benchmarks.train_step", "run"),
}


def run_benchmarks(names: list[str]) -> list[dict]:
    """The rows of the named benchmarks, in order; "config" is all configurations. Raises ValueError for an unknown name."""
    names = [one for name in names for one in ([f"config/{c}" for c in configs.names()] if name == "config" else [name])]
    for name in names:  # before the first, for they take long
        if name.startswith("config/"):
            configs.load_config(name.removeprefix("config/"))
        elif name.startswith("full_size/"):
            full_size.check_name(name.removeprefix("full_size/"))
        elif name not in BENCHMARKS:
            known = (*BENCHMARKS, "config", "config/NAME", *(f"full_size/{form}" for form in full_size.NAMES))
            raise ValueError(f"no benchmark named {name}; there are: {', '.join(known)}")
    rows = []
    for name in names:
        print(f"running {name} ...", file=sys.stderr, flush=True)
        if name.startswith("config/"):
            rows += configs.run(name.removeprefix("config/"))
        elif name.startswith("full_size/"):
            rows += full_size.run(name.removeprefix("full_size/"))
        else:
            module, function = BENCHMARKS[name]
            rows += getattr(importlib.import_module(module), function)()
    return rows


def format_table(rows: list[dict]) -> str:
    """The rows as lines of text: configurations as a table of their own, a line each."""
    others = [row for row in rows if not row["name"].startswith("config/")]
    parts = [_comparisons(others)] if others else []
    if len(others) < len(rows):
        parts.append(_configurations([row for row in rows if row["name"].startswith("config/")]))
    return "\n\n".join(parts)


def _comparisons(rows: list[dict]) -> str:
    width = max([len(row["name"]) for row in rows] + [4])
    lines = [f"{'name':{width}}  {'ours':>10}  {'theirs':>10}  {'ratio':>7}  unit"]
    for row in rows:
        theirs = "" if row["theirs"] is None else f"{row['theirs']:.4g}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        lines.append(f"{row['name']:{width}}  {row['ours']:>10.4g}  {theirs:>10}  {ratio:>7}  {row['unit']}")
    return "\n".join(lines)


def _configurations(rows: list[dict]) -> str:
    table: dict[str, dict[str, float]] = {}
    for row in rows:
        name = row["name"].removeprefix("config/").removesuffix(f"/{row['unit']}")
        table.setdefault(name, {})[row["unit"]] = row["ours"]
    width = max(len(name) for name in (*table, "config"))
    lines = [f"{'config':{width}}  " + "  ".join(f"{column:>10}" for column in configs.COLUMNS)]
    for name, found in table.items():
        cells = (f"{found[column]:.3g}" if column in found else "" for column in configs.COLUMNS)
        lines.append(f"{name:{width}}  " + "  ".join(f"{cell:>10}" for cell in cells))
    return "\n".join(lines)


def _define_flags() -> None:
    known = (*BENCHMARKS, "config (all of these)", *(f"config/{name}" for name in configs.names()))
    known = ", ".join((*known, *(f"full_size/{name}" for name in full_size.NAMES)))
    flags.DEFINE_list("only", [], f"Names to run, comma-separated; all but full_size if empty. There are: {known}.")
    flags.DEFINE_string("out", "", "File to write the rows to, as JSON.")


def main(_: Sequence[str]) -> None:
    values = flags.FLAGS
    # Configurations are run in processes of their own, which need the accelerator too.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    rows = run_benchmarks(values.only or ["config", *BENCHMARKS])
    print(format_table(rows))
    if values.out:
        temporary = f"{values.out}.partial"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)
            file.write("\n")
        os.replace(temporary, values.out)


if __name__ == "__main__":
    use_large_pages()
    _define_flags()
    command_line.run(main, __doc__)
