"""Sweeps: trains one run for each set of changes to a configuration and compares them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from timbre_jax import checkpoint
from timbre_jax.documents import read_config
from timbre_jax.files import write_text
from timbre_jax.metrics.table import Table
from timbre_jax.training.checkpointing.progress import Result, RunProgress, read_progress
from timbre_jax.training.config import resolve
from timbre_jax.training.sweeps.grid import train_grid
from timbre_jax.training.sweeps.grid_file import field_value, run_names, short_fields


def sweep(
    config: Mapping[str, Any], workdir: str | os.PathLike, changes: Sequence[Mapping[str, Any]], **options
) -> tuple[Table, dict[Path, Result]]:
    """Trains one run for each set of changes and writes a table of all runs.

    Args:
      config: configuration, see `train_and_evaluate`.
      workdir: folder of the sweep. It contains a folder for each run, named after its changes, and the table as sweep.csv and
        sweep.md.
      changes: fields that each run changes, such as {"model.latent_size": 8, "seed": 1}; strings are converted to the type of
        the field.
      **options: further arguments of `train_grid`.

    Returns:
      The table (see `sweep_table`) and the result of each run by its folder.

    Raises:
      ValueError: a field is unknown, a value has another type, or two runs have the same name.
    """
    base, workdir, members = resolve(config), Path(workdir), {}
    changes = [{field: field_value(base, field, value) for field, value in run.items()} for run in changes]
    for run, name in zip(changes, run_names(changes), strict=True):
        members[workdir / name] = ConfigDict(base.to_dict())
        members[workdir / name].update_from_flattened_dict(run)
    results = train_grid(members, **options)
    table = sweep_table(list(zip(changes, members, strict=True)))
    write_sweep_table(table, workdir)
    return table, results


def sweep_table(runs: Sequence[tuple[Mapping[str, Any], Path]]) -> Table:
    """Returns the table of a sweep from the folders of its runs.

    Args:
      runs: changes and folder of each run.

    Returns:
      A table with a row for each run that has a space: its changes, status ("finished", "converged" or "unfinished"), step,
      best_step and the scores of the best evaluation.
    """
    columns = short_fields([changes for changes, _ in runs])
    records, definitions = [], set()
    for changes, run in runs:
        spaces, saved = checkpoint.steps(run / "best"), checkpoint.steps(run / "checkpoints")
        if not spaces:
            continue
        config = read_config(run)["config"]
        definitions.add(f"on the split {config['data']['valid_split']!r}, by {config['train']['monitor']}")
        # A model with a closed-form fit has no checkpoints, and a space only when it is finished.
        progress = RunProgress(status="finished", best_step=spaces[-1])
        if saved:
            progress = read_progress(checkpoint.step_path(run / "checkpoints", saved[-1]))
        best = checkpoint.step_path(run / "best", progress.best_step if progress.best_step in spaces else spaces[-1])
        records.append(
            {
                **{columns[field]: value for field, value in changes.items()},
                "status": "unfinished" if progress.status == "running" else progress.status,
                "step": progress.step,
                "best_step": progress.best_step,
                **checkpoint.read_document(best)["metrics"],
            }
        )
    caption = f"Best evaluation of each run {'; '.join(sorted(definitions))}." if definitions else "No run has a space yet."
    return Table.from_records("sweep", records, caption)


def write_sweep_table(table: Table, workdir: Path) -> None:
    """Writes WORKDIR/sweep.csv and sweep.md."""
    table.write_csv(workdir)
    write_text(workdir / "sweep.md", table.markdown())
