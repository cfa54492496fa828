"""Compares the speed of the library with that of the usual tools for the same work.

  python experiments/benchmark.py
  python experiments/benchmark.py --only=harmonic_features,fast_griffin_lim --out=benchmark.json
  taskset -c 0 python experiments/benchmark.py --only=config/natsiou2023,config/rebnord2022:8_dim

What each benchmark compares: docs/benchmarks.md
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line
from experiments.benchmarks.full_size import NAMES
from experiments.benchmarks.registry import BENCHMARKS, format_table, run_benchmarks
from timbre_jax.files import write_text
from timbre_jax.settings import Settings, setting

_ONLY = (
    f"Comma-separated benchmarks: {', '.join(BENCHMARKS)}; config/NAME[:VARIANT] or config, which is all configurations; "
    f"{', '.join(f'full_size/{name}' for name in NAMES)}. Default: all except full_size, which takes long."
)


@dataclasses.dataclass(frozen=True)
class BenchmarkSettings(Settings):
    """Settings of the benchmarks."""

    only: tuple[str, ...] = setting((), _ONLY)
    out: str = setting(
        "", "JSON file for the rows {name, ours, theirs, ratio, unit}; a ratio above 1 means that ours is better."
    )


def main(_) -> None:
    """Runs the program."""
    settings = command_line.settings(BenchmarkSettings)
    # Each configuration is measured in its own process, which needs memory of the accelerator too.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    rows = run_benchmarks(list(settings.only) or ["config", *BENCHMARKS])
    print(format_table(rows))
    if settings.out:
        command_line.print_written(write_text(settings.out, json.dumps(rows, indent=2) + "\n"))


if __name__ == "__main__":
    command_line.define_flags(benchmarks=BenchmarkSettings)
    command_line.run(main, __doc__, large_pages=True)
