"""Measures how fast the library is, against the usual way to do the same.

  python experiments/benchmark.py
  python experiments/benchmark.py --only=harmonic_features --out=benchmark.json
  python experiments/benchmark.py --only=config/natsiou2023,config/rebnord2022:8_dim

Prints a table and, with --out, writes a JSON list of {name, ours, theirs, ratio, unit}; a ratio above 1 means that ours is
better. Each benchmark's file in experiments/benchmarks/ says what exactly it compares. `config` is every configuration of
experiments/configs: steps and examples a second, FLOP/s and their share of the measured peak, and the pipeline's share of a
step. `full_size/...` is NSynth with all of its 305,979 notes; it takes long and is run only when named.
Run it on a machine that does nothing else; pinned to one core (`taskset -c 0`) the figures bear some other work.
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
from experiments.benchmarks.registry import BENCHMARKS, format_table, known_names, run_benchmarks
from timbre_jax.files import write_text
from timbre_jax.settings import Settings, setting

_ONLY = f"Benchmarks to run, comma-separated; by default all but full_size. Names: {', '.join(known_names())}."


@dataclasses.dataclass(frozen=True)
class BenchmarkSettings(Settings):
    """Settings of the benchmarks."""

    only: tuple[str, ...] = setting((), _ONLY)
    out: str = setting("", "JSON file for the rows.")


def main(_) -> None:
    settings = command_line.settings(BenchmarkSettings)
    # Configurations are measured in processes of their own, which need the accelerator too.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    rows = run_benchmarks(list(settings.only) or ["config", *BENCHMARKS])
    print(format_table(rows))
    if settings.out:
        write_text(settings.out, json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    command_line.define_flags(BenchmarkSettings)
    command_line.run(main, __doc__, large_pages=True)
