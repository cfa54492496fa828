"""Trains one model for each value of a field, or for each run of a grid, and compares them.

  python experiments/sweep.py --config=experiments/configs/natsiou2023.py --workdir=runs/sweep \\
      --field=model.latent_size --values=2,4,6,8,12,16 --config.data.store=notes
  python experiments/sweep.py --config=experiments/configs/natsiou2023.py --workdir=runs/grid \\
      --grid='{"train.kl_weight": [0.25, 0.5, 1, 2], "seed": [0, 1, 2, 3]}' --config.data.store=notes

The first is how the paper found that 8 latents are enough. --grid takes the name of a JSON file as well; its fields are
combined, the last fastest, and a list of such grids is one after another. Runs that differ in nothing but seed, learning rate,
KL weight, length and patience share one compiled program, and on a GPU are computed at once (training/sweeps).
launch/submit.py makes jobs of the same files for a cluster.

Each is a run of its own, WORKDIR/latent_size=8 and so on, as experiments/train.py makes them. Stopped (Ctrl-C, SIGTERM) or
killed, the same command goes on where it was; runs that are finished are not made again, one that fails does not stop the
others. WORKDIR/sweep.csv and sweep.md have a row for each: the scores of its best evaluation on the validation set.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line
from experiments.large_pages import use_large_pages
from timbre_jax.training.sweeps.grid_file import read_grid, run_names, short_fields


def sweep(config: Mapping[str, Any], workdir: str | os.PathLike, field: str, values: Sequence[Any], **options):
    """One run for each value of a field, then a table: `sweep_grid` with the folders' names from the values as they are."""
    config = resolved(config)
    values = [typed(config, field, value) for value in values]
    name = field.split(".")[-1]
    return _sweep(config, workdir, [{field: value} for value in values], [f"{name}={value}" for value in values], **options)


def sweep_grid(config: Mapping[str, Any], workdir: str | os.PathLike, changes: Sequence[Mapping[str, Any]], **options):
    """One run for each set of changes, then a table.

    Args:
      config: as `train_and_evaluate` takes it.
      workdir: one folder a run inside, named by what is changed, and sweep.csv, sweep.md.
      changes: {"model.latent_size": 8, "seed": 1} of each run; values of the field's type, or strings that are read as that.
      options: of `train_grid`.

    Returns:
      The table of the runs that have a space, and {folder: how it ended} of those that were trained or were done
      (`training.checkpointing.progress.Result`).

    Raises:
      ValueError: no such field, a value of another type, or two runs of the same name.
    """
    config = resolved(config)
    changes = [{field: typed(config, field, value) for field, value in run.items()} for run in changes]
    return _sweep(config, workdir, changes, run_names(changes), **options)


def resolved(config: Mapping[str, Any]) -> ConfigDict:
    """`training.config.resolve`, imported late: --help must not wait for JAX."""
    from timbre_jax.training.config import resolve

    return resolve(config)


def _sweep(config: ConfigDict, workdir: str | os.PathLike, changes: Sequence[Mapping[str, Any]], names, **options):
    from timbre_jax.training.sweeps.grid import train_grid

    if again := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ValueError(f"the sweep has {again[0]} twice")
    workdir, members = Path(workdir), {}
    for run, name in zip(changes, names, strict=True):
        changed = ConfigDict(config.to_dict())
        changed.update_from_flattened_dict(dict(run))
        members[workdir / name] = changed
    results = train_grid(members, **options)
    table = sweep_table(list(zip(changes, members, strict=True)))
    write_table(table, workdir)
    return table, results


def sweep_table(runs: Sequence[tuple[Mapping[str, Any], Path]]):
    """The table of a sweep, from its runs' folders alone: of each what was changed, how far it is, its best evaluation.

    Args:
      runs: what was changed, by field (a column each), and the run's folder. Those that have not begun are left out.

    Returns:
      A `Table` with the columns of the changes, status ("finished", "converged", "unfinished"), step, best_step and scores.
    """
    from timbre_jax import checkpoint, documents
    from timbre_jax.metrics.table import Table
    from timbre_jax.training.checkpointing.progress import RunProgress, read_progress

    columns = short_fields([changes for changes, _ in runs])
    records, by = [], set()
    for changes, run in runs:
        spaces, saved = checkpoint.steps(run / "best"), checkpoint.steps(run / "checkpoints")
        if not spaces:
            continue
        config = documents.read_config(run)["config"]
        by.add(f"on the split {config['data']['valid_split']!r}, by {config['train']['monitor']}")
        # A model that is fitted leaves no checkpoints, and its one space when it is done.
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
    caption = f"The best evaluation of each run {'; '.join(sorted(by))}." if by else "No run has a space yet."
    return Table.from_records("sweep", records, caption)


def write_table(table, workdir: Path) -> None:
    """WORKDIR/sweep.csv and sweep.md."""
    from timbre_jax.files import write_text

    write_text(workdir / "sweep.csv", table.csv())
    write_text(workdir / "sweep.md", table.markdown())


def typed(config: ConfigDict, field: str, value: Any) -> Any:
    """A value as the configuration's field has it, from text or JSON.

    Raises:
      ValueError: no such field, or a value of another type.
    """
    holder = config
    for part in field.split("."):
        if not hasattr(holder, "keys") or part not in holder:
            raise ValueError(f"there is no field config.{field} to sweep over")
        holder = holder[part]
    if isinstance(value, list | tuple) and isinstance(holder, tuple):
        return tuple(value)
    if isinstance(value, type(holder)) and isinstance(value, bool) == isinstance(holder, bool):
        return value
    try:
        if isinstance(holder, bool | tuple) or isinstance(value, bool) or hasattr(holder, "keys"):
            raise ValueError
        if isinstance(value, float) and isinstance(holder, int) and not value.is_integer():
            raise ValueError
        return type(holder)(value)
    except (TypeError, ValueError):
        raise ValueError(f"config.{field} is {type(holder).__name__} like {holder!r}, it cannot be {value!r}") from None


def _define_flags() -> None:
    config_flags.DEFINE_config_file("config", None, "Configuration file, as experiments/train.py takes it.")
    flags.DEFINE_string("workdir", None, "Folder of the runs and of the table.")
    flags.DEFINE_string("field", "model.latent_size", "The field of the configuration that is changed.")
    flags.DEFINE_list("values", ["2", "4", "6", "8", "12", "16"], "Its values, comma-separated.")
    flags.DEFINE_string("grid", "", "In place of both: what each run changes, as JSON or in a JSON file.")
    flags.DEFINE_integer("at_once", 0, "Runs that a device computes at once; 0 is all on an accelerator, one on a CPU.", 0)
    flags.DEFINE_enum("parallel", "jit", ["jit", "pmap"], "How several devices are used.")
    flags.DEFINE_string("platform", None, "cpu, cuda or tpu; by default what JAX finds best.")
    flags.DEFINE_bool("progress", True, "Show a bar with the time left.")


def main(_) -> int:
    values = flags.FLAGS
    if values.config is None or not values.workdir:
        raise ValueError("give --config=FILE and --workdir=DIR; see --help")
    if values.grid and (values["field"].present or values["values"].present):
        raise ValueError("--grid says which fields have which values: leave out --field and --values")
    command_line.use_platform(values.platform)
    options = {name: getattr(values, name) for name in ("parallel", "at_once", "progress")}
    changes = read_grid(values.grid) if values.grid else []
    command_line.use_compilation_cache()
    from timbre_jax.training.profiling import CompileClock, peak_memory, resources_line

    with CompileClock() as clock:
        if values.grid:
            table, results = sweep_grid(values.config, values.workdir, changes, **options)
        else:
            table, results = sweep(values.config, values.workdir, values.field, values.values, **options)
    print(f"Took {resources_line(peak_memory(), clock)}.")
    if signal := max((result.signal for result in results.values()), default=0):
        print(f"Stopped and saved in {values.workdir}. The same command goes on from there.")
        return 128 + signal
    print(table.markdown())
    print(f"The table is in {values.workdir}/sweep.csv; each run in a folder beside it.")
    failed = {run.name: result.error for run, result in results.items() if result.status == "failed"}
    for name, error in failed.items():
        print(f"error: {name} failed: {error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    use_large_pages()
    _define_flags()
    command_line.run(main, __doc__)
