"""Settings, command line, results and files that studies share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from absl import flags

from experiments import command_line
from timbre_jax.files import write_text
from timbre_jax.metrics.table import Result, Table, write_results
from timbre_jax.settings import Settings, setting

flags.disclaim_key_flags()  # flags defined by functions of this module belong to the program that calls them


@dataclasses.dataclass(frozen=True)
class Study(Settings):
    """Settings that every study of a trained run has."""

    workdir: str = setting(help="Folder of the run, as experiments/train.py made it.")
    out: str = setting(help="Folder for tables, figures and sounds.")
    seed: int = setting(0, "Random seed of choices and of bootstrap intervals.", low=0)
    progress: bool = setting(True, "Show bars with the time left.")


def run_study(kind: type[Settings], measure: Callable[..., Table], documentation: str) -> None:
    """Runs a study as a program: makes flags of its settings, measures, and prints the table.

    Args:
      kind: dataclass of the settings.
      measure: takes the settings and returns the table to print.
      documentation: docstring of the program, for --help.
    """
    command_line.define_flags(study=kind)

    def main(_) -> None:
        command_line.use_compilation_cache()
        table = measure(command_line.settings(kind))
        print(f"{table.markdown()}\n{table.caption}")

    command_line.run(main, documentation)


def mean_result(
    name: str, values: np.ndarray, definition: str, *, groups=None, weights=None, floor: float | None = None, seed: int = 0
) -> Result:
    """Returns the mean of values [M] with its 95 % interval over groups [M] (`metrics.bootstrap.mean_interval`)."""
    from timbre_jax.metrics.bootstrap import mean_interval

    interval = mean_interval(values, groups, weights=weights, seed=seed)
    return Result(name, *interval.value_low_high(), floor, definition)


def write_study(out: Path, name: str, tables: Sequence[Table], results: Iterable[Result]) -> None:
    """Writes the results of a study.

    Args:
      out: folder of the study.
      name: name of the page of all tables, OUT/NAME.md.
      tables: tables for OUT/TABLE.csv.
      results: rows for OUT/results.json.
    """
    for table in tables:
        table.write_csv(out)
    write_text(out / f"{name}.md", "\n".join(f"{table.markdown()}\n{table.caption}\n" for table in tables))
    write_results(out / "results.json", results)
