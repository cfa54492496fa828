"""Trains a run for each value of a field, or each point of a grid, and compares them.

  python experiments/sweep.py --config=natsiou2023 --workdir=runs/sizes --config.data.store=notes --values=2,4,6,8,12,16
  python experiments/sweep.py --config=natsiou2023 --workdir=runs/grid --config.data.store=notes --grid=grid.json
  python experiments/sweep.py --config=pca8 --workdir=runs/seeds --config.data.store=notes --field=seed --values=0,1,2

Guide: docs/guides/many_machines.md
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line, config_flags
from timbre_jax.settings import Settings, setting


@dataclasses.dataclass(frozen=True)
class SweepSettings(Settings):
    """Settings of a sweep."""

    workdir: str = setting(help="Folder of the runs and of the table. Finished runs in it are not trained again.")
    field: str = setting("model.latent_size", "Field of the configuration in which the runs differ.")
    values: tuple[str, ...] = setting(("2", "4", "6", "8", "12", "16"), "Comma-separated values of the field.")
    grid: str = setting(
        "",
        'JSON, or a JSON file, with the values of several fields, such as {"train.kl_weight": [1, 4], "seed": [0, 1]}; one run '
        "for each combination. A list of such grids is trained one after another. Replaces --field and --values.",
    )
    at_once: int = setting(0, "Runs that a device computes at once; 0 means all on an accelerator, one on a CPU.", low=0)
    progress: bool = setting(True, "Show a progress bar.")


def main(_) -> int:
    """Runs the program."""
    config, settings = config_flags.flag_config(), command_line.settings(SweepSettings)
    devices = command_line.settings(command_line.DeviceSettings)
    if settings.grid and (command_line.flag_given("field") or command_line.flag_given("values")):
        raise ValueError("--grid: cannot be combined with --field or --values; the grid names the fields and their values")
    command_line.use_platform(devices.platform)
    command_line.use_compilation_cache()
    from timbre_jax.training.profiling import CompileClock, peak_memory, resources_line
    from timbre_jax.training.sweeps.grid_file import read_grid
    from timbre_jax.training.sweeps.sweep import sweep

    changes = read_grid(settings.grid) if settings.grid else [{settings.field: value} for value in settings.values]
    options = {"parallel": devices.parallel, "at_once": settings.at_once, "progress": settings.progress}
    with CompileClock() as clock:
        table, results = sweep(config, settings.workdir, changes, **options)
    print(f"Used {resources_line(peak_memory(), clock)}.")
    if signal := max((result.signal for result in results.values()), default=0):
        print(f"Stopped; the runs are saved in {settings.workdir}. The same command resumes the sweep.")
        return 128 + signal
    print(table.markdown())
    folders = ",".join(str(run) for run, result in results.items() if result.status != "failed")
    evaluate = ("experiments/evaluate.py", f"--workdir={folders}", f"--out={settings.workdir}/scores")
    command_line.print_written(f"{settings.workdir}/sweep.csv", f"{settings.workdir}/sweep.md", next=(evaluate,))
    failed = {run.name: result.error for run, result in results.items() if result.status == "failed"}
    for name, error in failed.items():
        print(f"error: {name} failed: {error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    config_flags.define_config()
    command_line.define_flags(sweep=SweepSettings, devices=command_line.DeviceSettings)
    command_line.run(main, __doc__, large_pages=True)
