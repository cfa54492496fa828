"""Trains a model, or resumes a run that was stopped.

  python experiments/train.py --config=natsiou2023 --workdir=runs/natsiou --config.data.store=notes
  python experiments/train.py --config=rebnord2022:8_dim --workdir=runs/8_dim --config.data.store=hits --config.train.steps=500
  python experiments/train.py --config=my/configuration.py --workdir=runs/mine --config.model.latent_size=16

--config is a name in experiments/configs or a file; its docstring gives the command of the result that it belongs to. Any field
can be changed by --config.SECTION.FIELD=VALUE: timbre_jax/training/config.py lists them.

Ctrl-C or SIGTERM saves and exits (code 130 or 143); the same command resumes the run, with the very numbers it would have had.
For more steps, give the same command with another --config.train.steps (not if the loss or the learning rate changes along the
run). Another configuration needs another --workdir. At the end the program prints the memory and compilation time that it took;
--profile=DIR traces steps 10 to 15.

On several processes, start each with the same command; the run is the same, only faster. Under srun or mpirun they find one
another (one process for each GPU); by hand, tell each the address of the first, their count and its number:
  srun --nodes=2 --ntasks-per-node=4 --gpus-per-node=4 python experiments/train.py ...
  python experiments/train.py ... --coordinator_address=host0:12345 --num_processes=2 --process_id=0    (and 1 on the other)
Stopping one of them stops all, at the same step. If one is killed, the others end within a minute with code 75; the same
command on all of them resumes the run from the last checkpoint. At most a minute of work is lost, unless saving would then take
more than config.train.checkpoint_share of the time.

The run's folder contains config.json, metrics.jsonl (one JSON object a line), tensorboard/, checkpoints/, and best/, which
timbre_jax.load(WORKDIR) reads, also during training; of a series space also invariance.json: how much loudness and pitch a
fresh probe reads from its latents (timbre_jax/analysis/invariance.py).
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from absl import flags

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line, config_flags


def _define_flags() -> None:
    config_flags.define_config("Configuration: a name in experiments/configs, or a file. NAME:VARIANT selects a variant.")
    flags.DEFINE_string("workdir", None, "Folder of the run; a run that is in it is resumed.")
    flags.DEFINE_enum("parallel", "jit", ["jit", "pmap"], "How several devices are used; the numbers are the same.")
    command_line.define_platform()
    flags.DEFINE_bool(
        "distributed",
        None,
        "Train together with other processes, which JAX detects under srun, mpirun, on Cloud TPU and Kubernetes. By default if "
        "srun or mpirun started several, or --coordinator_address is given; --nodistributed trains alone.",
    )
    flags.DEFINE_string("coordinator_address", None, "HOST:PORT on which process 0 listens, the same for all processes.")
    flags.DEFINE_integer("num_processes", None, "Number of processes that train together.", lower_bound=1)
    flags.DEFINE_integer("process_id", None, "Number of this process, from 0.", lower_bound=0)
    flags.DEFINE_bool("progress", True, "Show a bar with the time left.")
    flags.DEFINE_string(
        "profile",
        None,
        "Folder for a trace of steps 10 to 15 of this command by jax.profiler: perfetto_trace.json.gz, for "
        "https://ui.perfetto.dev, and .xplane.pb, for TensorBoard's profile plugin.",
    )


def main(_) -> int:
    values = flags.FLAGS
    if values.config is None:
        raise ValueError("give --config=NAME, for instance --config=natsiou2023")
    if not values.workdir:
        raise ValueError("give --workdir=DIR, the folder of the run")
    command_line.use_platform(values.platform)
    command_line.use_compilation_cache()
    from timbre_jax import checkpoint
    from timbre_jax.training.distributed import failures, processes
    from timbre_jax.training.loop import train_and_evaluate
    from timbre_jax.training.profiling import CompileClock, Profile
    from timbre_jax.training.run_summary import summary_lines
    from timbre_jax.training.setup import check_config

    command_line.call(processes.initialize, timeout=300)
    main_process = processes.is_main()
    if saved := checkpoint.steps(os.path.join(values.workdir, "checkpoints")):
        check_config(values.config, Path(values.workdir))  # a run that cannot be resumed is one line, and this the only one
        if main_process:
            print(f"Resuming from step {saved[-1]} of {values.workdir}.", flush=True)
    progress = values.progress and main_process
    profile = Profile(values.profile) if values.profile else None
    with failures.exit_together(), CompileClock() as clock:
        result = train_and_evaluate(values.config, values.workdir, parallel=values.parallel, progress=progress, profile=profile)
    if main_process:
        print("\n".join(summary_lines(result, values.workdir, clock, profile)), flush=True)
    if result.status == "stopped":
        return 128 + result.signal
    try:
        if main_process:
            _finish(values.workdir, progress)
    finally:
        # The others wait: to leave one after another, JAX gives processes five minutes.
        with failures.exit_together(), failures.convert_runtime_errors():
            processes.barrier("reports")
    return 0


def _finish(workdir: str, progress: bool) -> None:
    """Measures the invariance of a series space and prints the next command."""
    from timbre_jax.analysis.invariance import measure_run_invariance

    for line in measure_run_invariance(workdir, progress=progress):
        print(line)
    run = shlex.quote(workdir)
    print(f"Next: python experiments/analyze.py --workdir={run} --out={run}/analysis")


if __name__ == "__main__":
    _define_flags()
    command_line.run(main, __doc__, large_pages=True)
