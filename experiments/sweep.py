"""Trains one model for each value of a field, or for each run of a grid, and compares them.

  python experiments/sweep.py --config=natsiou2023 --workdir=runs/sweep --config.data.store=notes \\
      --field=model.latent_size --values=2,4,6,8,12,16
  python experiments/sweep.py --config=natsiou2023 --workdir=runs/grid --config.data.store=notes \\
      --grid='{"train.kl_weight": [0.25, 0.5, 1, 2], "seed": [0, 1, 2, 3]}'

The first command is how the paper found that 8 latents are enough. --grid also takes the name of a JSON file; its fields are
combined, the last one fastest, and a list of such grids is trained one after another. Runs that differ only in seed, learning
rate, KL weight, length and patience share one compiled program, and on a GPU are computed at once (timbre_jax/training/sweeps).
launch/submit.py makes cluster jobs from the same files.

Each run has a folder of its own, WORKDIR/latent_size=8 and so on, as experiments/train.py makes them. Stopped (Ctrl-C, SIGTERM)
or killed, the same command resumes the sweep; finished runs are not trained again, and a run that fails does not stop the
others. WORKDIR/sweep.csv and sweep.md have a row for each run: the scores of its best evaluation on the validation set.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from absl import flags

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line, config_flags
from timbre_jax.settings import Settings, setting


@dataclasses.dataclass(frozen=True)
class SweepSettings(Settings):
    """Settings of a sweep."""

    workdir: str = setting(help="Folder of the runs and of the table.")
    field: str = setting("model.latent_size", "Field of the configuration that is changed.")
    values: tuple[str, ...] = setting(("2", "4", "6", "8", "12", "16"), "Its values, comma-separated.")
    grid: str = setting("", "Instead of both: changes of each run, as JSON or as a JSON file.")
    at_once: int = setting(0, "Runs that a device computes at once; 0 is all on an accelerator, one on a CPU.", low=0)
    progress: bool = setting(True, "Show a bar with the time left.")


def main(_) -> int:
    config, settings = config_flags.given_config(), command_line.settings(SweepSettings)
    devices = command_line.settings(command_line.DeviceSettings)
    if settings.grid and (flags.FLAGS["field"].present or flags.FLAGS["values"].present):
        raise ValueError("--grid gives fields and their values: leave out --field and --values")
    command_line.use_platform(devices.platform)
    command_line.use_compilation_cache()
    from timbre_jax.training.profiling import CompileClock, peak_memory, resources_line
    from timbre_jax.training.sweeps.grid_file import read_grid
    from timbre_jax.training.sweeps.sweep import sweep

    changes = read_grid(settings.grid) if settings.grid else [{settings.field: value} for value in settings.values]
    options = {"parallel": devices.parallel, "at_once": settings.at_once, "progress": settings.progress}
    with CompileClock() as clock:
        table, results = sweep(config, settings.workdir, changes, **options)
    print(f"Took {resources_line(peak_memory(), clock)}.")
    if signal := max((result.signal for result in results.values()), default=0):
        print(f"Stopped and saved in {settings.workdir}. The same command resumes the sweep.")
        return 128 + signal
    print(table.markdown())
    print(f"The table is in {settings.workdir}/sweep.csv; each run in a folder beside it.")
    failed = {run.name: result.error for run, result in results.items() if result.status == "failed"}
    for name, error in failed.items():
        print(f"error: {name} failed: {error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    config_flags.define_config("Configuration: a name in experiments/configs or a file, as experiments/train.py takes it.")
    command_line.define_flags(SweepSettings, command_line.DeviceSettings)
    command_line.run(main, __doc__, large_pages=True)
