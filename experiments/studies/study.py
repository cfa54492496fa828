"""Settings, command line, results and files of studies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from absl import flags

from experiments import command_line
from timbre_jax.files import write_text
from timbre_jax.metrics.table import Result, Table, write_results
from timbre_jax.settings import Settings, setting

flags.disclaim_key_flags()  # the flags that this module defines belong to the program that calls it


@dataclasses.dataclass(frozen=True)
class Study(Settings):
    """Settings that all studies of a trained run share."""

    workdir: str = setting(help="Folder of the run.")
    out: str = setting(help="Folder for tables, figures and sounds.")
    seed: int = setting(0, "Random seed for the choice of sounds and bootstrap intervals.", low=0)
    progress: bool = setting(True, "Show progress bars.")


class StudySettings(Protocol):
    """Settings dataclass of a study."""

    @property
    def out(self) -> str:
        """Folder or file that the study writes; "" writes nothing."""


S = TypeVar("S", bound=StudySettings)


def run_study(kind: type[S], measure: Callable[[S], Table], documentation: str) -> None:
    """Runs a study as a program, with flags from its settings, and prints its table.

    Args:
      kind: settings dataclass of the study.
      measure: takes the settings and returns the table to print.
      documentation: docstring of the program, for --help.
    """
    command_line.define_flags(study=kind)

    def main(_) -> None:
        command_line.use_compilation_cache()
        settings = command_line.settings(kind)
        table = measure(settings)
        print(f"{table.markdown()}\n{table.caption}")
        if settings.out:
            command_line.print_written(settings.out)

    command_line.run(main, documentation)


def mean_result(
    name: str, values: np.ndarray, definition: str, *, groups=None, weights=None, baseline: float | None = None, seed: int = 0
) -> Result:
    """Returns the mean of values as a result with its 95 % interval.

    Args:
      name: name of the result.
      values: [M].
      definition: definition of the result.
      groups: [M], resampled as a whole (`metrics.bootstrap.mean_interval`); None means each value is a group.
      weights: [M]; None means equal weights.
      baseline: score of the baseline.
      seed: random seed of the resampling.
    """
    from timbre_jax.metrics.bootstrap import mean_interval

    interval = mean_interval(values, groups, weights=weights, seed=seed)
    return Result(name, *interval.value_low_high(), baseline, definition)


def write_study(out: Path, name: str, tables: Sequence[Table], results: Iterable[Result]) -> None:
    """Writes the results of a study.

    Args:
      out: folder of the study.
      name: name of the page with all tables, OUT/NAME.md.
      tables: tables, each written to OUT/TABLE.csv too.
      results: results for OUT/results.json.
    """
    for table in tables:
        table.write_csv(out)
    write_text(out / f"{name}.md", "\n".join(f"{table.markdown()}\n{table.caption}\n" for table in tables))
    write_results(out / "results.json", results)
