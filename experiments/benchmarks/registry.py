"""Registry of benchmarks, and tables of their rows."""

from __future__ import annotations

import importlib
import sys

from experiments.benchmarks import configs, full_size
from experiments.config_flags import config_names, load_config
from timbre_jax.metrics.table import Table

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
"""Module, imported only when it runs, and function by name. The function takes no arguments and returns rows."""


def known_names() -> list[str]:
    """Returns the names of all benchmarks; "config" stands for all configurations."""
    every = [*BENCHMARKS, "config", *(f"config/{name}" for name in config_names())]
    return [*every, *(f"full_size/{name}" for name in full_size.NAMES)]


def run_benchmarks(names: list[str]) -> list[dict]:
    """Runs benchmarks and returns their rows.

    Args:
      names: names of benchmarks; "config" stands for all configurations.

    Raises:
      ValueError: if a name is unknown, before the first benchmark runs.
    """
    names = [one for name in names for one in ([f"config/{c}" for c in config_names()] if name == "config" else [name])]
    for name in names:
        if name.startswith("config/"):
            load_config(name.removeprefix("config/"))
        elif name.startswith("full_size/"):
            full_size.check_name(name.removeprefix("full_size/"))
        elif name not in BENCHMARKS:
            raise ValueError(f"--only: unknown benchmark {name!r}; the benchmarks are {', '.join(known_names())}")
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
    """Returns a table of comparisons and a table of configurations as text."""
    comparisons, by_config = [row for row in rows if not row["name"].startswith("config/")], {}
    for row in rows:
        if row["name"].startswith("config/"):
            name = row["name"].removeprefix("config/").removesuffix(f"/{row['unit']}")
            by_config.setdefault(name, {"config": name, **dict.fromkeys(configs.COLUMNS)})[row["unit"]] = row["ours"]
    tables = (
        Table.from_records(name, records) for name, records in (("benchmarks", comparisons), ("configs", [*by_config.values()]))
    )
    return "\n".join(table.markdown() for table in tables if table.rows)
