"""Trains one model for each value of a field and compares them: how the paper found that 8 latents are enough.

  python experiments/sweep.py --config=experiments/configs/natsiou2023.py --workdir=runs/sweep \\
      --field=model.latent_size --values=2,4,6,8,12,16 --config.data.store=notes

Each value is a run of its own, WORKDIR/latent_size=8 and so on, as experiments/train.py makes them. Stopped (Ctrl-C,
SIGTERM) or killed, the same command goes on where it was; runs that are finished are not made again. WORKDIR/sweep.csv
and sweep.md have a row for each value: the scores of its best evaluation on the validation set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from experiments import command_line


def sweep(config: Mapping[str, Any], workdir: str | os.PathLike, field: str, values: Sequence[Any], **options):
    """One run for each value of a field, then a table.

    Args:
      config: as `train_and_evaluate` takes it.
      workdir: one folder a run inside, and sweep.csv, sweep.md.
      field: "model.latent_size".
      values: of the field's type, or strings that are read as that.
      options: of `train_and_evaluate`.

    Returns:
      The table of the values that are done, and the signal that stopped the sweep, or 0.

    Raises:
      ValueError: no such field, or a value of another type.
    """
    from timbre_jax.training.config import resolve
    from timbre_jax.training.loop import train_and_evaluate

    config = resolve(config)
    values = [typed(config, field, value) for value in values]
    workdir, name = Path(workdir), field.split(".")[-1]
    runs, signal = [], 0
    for value in values:
        changed = ConfigDict(config.to_dict())
        changed.update_from_flattened_dict({field: value})
        run = workdir / f"{name}={value}"
        result = train_and_evaluate(changed, run, **options)
        if signal := result.signal:
            break
        runs.append(({name: value}, run))
    table = sweep_table(runs)
    write_table(table, workdir)
    return table, signal


def sweep_table(runs: Sequence[tuple[Mapping[str, Any], Path]]):
    """The table of a sweep, from its runs' folders alone: of each what was changed, how far it is, its best evaluation.

    Args:
      runs: what was changed (a column each), and the run's folder. Those that have not begun are left out.

    Returns:
      A `Table` with the columns of the changes, status ("finished", "converged", "unfinished"), step, best_step and scores.
    """
    from timbre_jax import checkpoint
    from timbre_jax.metrics.table import Table

    records, by = [], set()
    for changes, run in runs:
        spaces, saved = checkpoint.steps(run / "best"), checkpoint.steps(run / "checkpoints")
        if not spaces:
            continue
        config = checkpoint.read_config(run)["config"]
        by.add(f"on the split {config['data']['valid_split']!r}, by {config['train']['monitor']}")
        # A model that is fitted leaves no checkpoints, and its one space when it is done.
        book = {"status": "finished", "step": 0, "best_step": spaces[-1]}
        if saved:
            book = checkpoint.read_document(checkpoint.step_path(run / "checkpoints", saved[-1]))["book"]
        best = checkpoint.step_path(run / "best", book["best_step"] if book["best_step"] in spaces else spaces[-1])
        records.append(
            {
                **changes,
                "status": "unfinished" if book["status"] == "running" else book["status"],
                "step": book["step"],
                "best_step": book["best_step"],
                **checkpoint.read_document(best)["metrics"],
            }
        )
    caption = f"The best evaluation of each run {'; '.join(sorted(by))}." if by else "No run has a space yet."
    return Table.from_records("sweep", records, caption)


def write_table(table, workdir: Path) -> None:
    """WORKDIR/sweep.csv and sweep.md."""
    from timbre_jax.metrics.table import write_text

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
    flags.DEFINE_enum("parallel", "jit", ["jit", "pmap"], "How several devices are used.")
    flags.DEFINE_string("platform", None, "cpu, cuda or tpu; by default what JAX finds best.")
    flags.DEFINE_bool("progress", True, "Show a bar with the time left.")


def main(_) -> int:
    values = flags.FLAGS
    if values.config is None or not values.workdir:
        raise ValueError("give --config=FILE and --workdir=DIR; see --help")
    if values.platform:
        os.environ["JAX_PLATFORMS"] = values.platform
    command_line.use_compilation_cache()
    table, signal = sweep(
        values.config, values.workdir, values.field, values.values, parallel=values.parallel, progress=values.progress
    )
    if signal:
        print(f"Stopped and saved in {values.workdir}. The same command goes on from there.")
        return 128 + signal
    print(table.markdown())
    print(f"The table is in {values.workdir}/sweep.csv; each run in a folder beside it.")
    return 0


if __name__ == "__main__":
    _define_flags()
    command_line.run(main, __doc__)
