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

import sys
from pathlib import Path

from absl import flags

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line, config_flags


def _define_flags() -> None:
    config_flags.define_config("Configuration: a name in experiments/configs or a file, as experiments/train.py takes it.")
    flags.DEFINE_string("workdir", None, "Folder of the runs and of the table.")
    flags.DEFINE_string("field", "model.latent_size", "Field of the configuration that is changed.")
    flags.DEFINE_list("values", ["2", "4", "6", "8", "12", "16"], "Its values, comma-separated.")
    flags.DEFINE_string("grid", "", "Instead of both: changes of each run, as JSON or as a JSON file.")
    flags.DEFINE_integer("at_once", 0, "Runs that a device computes at once; 0 is all on an accelerator, one on a CPU.", 0)
    flags.DEFINE_enum("parallel", "jit", ["jit", "pmap"], "How several devices are used.")
    command_line.define_platform()
    flags.DEFINE_bool("progress", True, "Show a bar with the time left.")


def main(_) -> int:
    values = flags.FLAGS
    if values.config is None or not values.workdir:
        raise ValueError("give --config=NAME and --workdir=DIR; see --help")
    if values.grid and (values["field"].present or values["values"].present):
        raise ValueError("--grid gives fields and their values: leave out --field and --values")
    command_line.use_platform(values.platform)
    command_line.use_compilation_cache()
    from timbre_jax.training.profiling import CompileClock, peak_memory, resources_line
    from timbre_jax.training.sweeps.grid_file import read_grid
    from timbre_jax.training.sweeps.sweep import sweep

    changes = read_grid(values.grid) if values.grid else [{values.field: value} for value in values["values"].value]
    options = {name: values[name].value for name in ("parallel", "at_once", "progress")}
    with CompileClock() as clock:
        table, results = sweep(values.config, values.workdir, changes, **options)
    print(f"Used {resources_line(peak_memory(), clock)}.")
    if signal := max((result.signal for result in results.values()), default=0):
        print(f"Stopped and saved in {values.workdir}. The same command resumes the sweep.")
        return 128 + signal
    print(table.markdown())
    print(f"The table is in {values.workdir}/sweep.csv; each run in a folder beside it.")
    failed = {run.name: result.error for run, result in results.items() if result.status == "failed"}
    for name, error in failed.items():
        print(f"error: {name} failed: {error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    _define_flags()
    command_line.run(main, __doc__, large_pages=True)
