"""How fast it is, against the usual way, in one run.

    python -m experiments.benchmark
    python -m experiments.benchmark --only=harmonic_features --out=benchmark.json

Prints a table and, with --out, writes a JSON list of {name, ours, theirs, ratio, unit}; ratio is above 1 where ours is
better. Each benchmark's file in experiments/benchmarks/ says what exactly it compares. Figures are only worth something
on a machine that does nothing else.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence

from absl import flags

from experiments import command_line

# name: (module, function); the function takes nothing and returns a list of rows. Imported only when run.
BENCHMARKS = {
    "fast_griffin_lim": ("experiments.benchmarks.fast_griffin_lim", "run"),
    "harmonic_features": ("experiments.benchmarks.harmonic_features", "run"),
    "inverse_map": ("experiments.benchmarks.inverse_map", "run"),
    "similar_sounds": ("experiments.benchmarks.inverse_map", "run_similar"),
    "train_step/rebnord2022": ("experiments.benchmarks.train_step_rebnord2022", "run"),
    "train_step/natsiou2023": ("experiments.benchmarks.train_step", "run"),
}


def run_benchmarks(names: list[str]) -> list[dict]:
    """The rows of the named benchmarks, in order. Raises ValueError for an unknown name."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise ValueError(f"no benchmark named {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    rows = []
    for name in names:
        module, function = BENCHMARKS[name]
        print(f"running {name} ...", file=sys.stderr, flush=True)
        rows += getattr(importlib.import_module(module), function)()
    return rows


def format_table(rows: list[dict]) -> str:
    """The rows as lines of text."""
    width = max([len(row["name"]) for row in rows] + [4])
    lines = [f"{'name':{width}}  {'ours':>10}  {'theirs':>10}  {'ratio':>7}  unit"]
    for row in rows:
        theirs = "" if row["theirs"] is None else f"{row['theirs']:.4g}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        lines.append(f"{row['name']:{width}}  {row['ours']:>10.4g}  {theirs:>10}  {ratio:>7}  {row['unit']}")
    return "\n".join(lines)


def _define_flags() -> None:
    flags.DEFINE_list("only", [], f"Names to run, comma-separated; all if empty. There are: {', '.join(BENCHMARKS)}.")
    flags.DEFINE_string("out", "", "File to write the rows to, as JSON.")


def main(_: Sequence[str]) -> None:
    values = flags.FLAGS
    rows = run_benchmarks(values.only or list(BENCHMARKS))
    print(format_table(rows))
    if values.out:
        temporary = f"{values.out}.partial"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)
            file.write("\n")
        os.replace(temporary, values.out)


if __name__ == "__main__":
    _define_flags()
    command_line.run(main, __doc__)
