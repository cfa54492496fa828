"""Trains a model, or goes on with a run that was stopped.

  python experiments/train.py --config=experiments/configs/natsiou2023.py --workdir=runs/natsiou --config.data.store=notes

Any field of the configuration can be changed: --config.train.steps=500 --config.model.latent_size=16. What there is to change
stands in timbre_jax/training/config.py and in the configuration file, whose docstring says what it is.

Ctrl-C or SIGTERM saves and exits (code 130 or 143); the same command goes on, with the very numbers it would have had. More
steps: the same command with another --config.train.steps (not where the loss or the learning rate changes along the run).
Another configuration needs another --workdir. At the end it says how much memory it took and how long compiling; --profile=DIR
traces steps 10 to 15.

On several processes every one is started with the same command; the run is the same, only faster. Under srun or mpirun they
find one another (one process for each GPU); by hand each is told the address of the first, their count and its number:
  srun --nodes=2 --ntasks-per-node=4 --gpus-per-node=4 python experiments/train.py ...
  python experiments/train.py ... --coordinator_address=host0:12345 --num_processes=2 --process_id=0    (and 1 on the other)
Stopping one of them stops all, at the same step. Where one is killed, the others end within a minute with code 75; the same
command on all of them goes on from the last checkpoint. A minute of work is lost at most, unless saving would then take more
than config.train.checkpoint_share of the time.

In the run's folder: config.json, metrics.jsonl (one JSON object a line), tensorboard/, checkpoints/, and best/, which
timbre_jax.load(WORKDIR) reads, also while training goes on. After the training of a series space also invariance.json: how
much of loudness and pitch a fresh probe reads off its latents (timbre_jax/analysis/leakage.py).
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line
from experiments.large_pages import use_large_pages

CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Configuration file of experiments/configs (notes_best.py, library_best.py, caillon2020_continuous.py ...), or yours. "
    "FILE.py:NAME takes a variant, where a file has some.",
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: made if it is not there, gone on with if it is.")
PARALLEL = flags.DEFINE_enum("parallel", "jit", ["jit", "pmap"], "How several devices are used; the numbers are the same.")
PLATFORM = flags.DEFINE_string("platform", None, "cpu, cuda or tpu; by default what JAX finds best.")
DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    None,
    "Train together with other processes, which JAX detects under srun, mpirun, on Cloud TPU and Kubernetes. By default where "
    "srun or mpirun started several, or --coordinator_address is given; --nodistributed trains alone.",
)
COORDINATOR = flags.DEFINE_string("coordinator_address", None, "HOST:PORT where process 0 listens, the same for all.")
PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes train together.", lower_bound=1)
PROCESS = flags.DEFINE_integer("process_id", None, "The number of this process, from 0.", lower_bound=0)
PROGRESS = flags.DEFINE_bool("progress", True, "Show a bar with the time left.")
PROFILE = flags.DEFINE_string(
    "profile",
    None,
    "Folder for a trace of this command's steps 10 to 15 by jax.profiler: perfetto_trace.json.gz, for https://ui.perfetto.dev, "
    "and .xplane.pb, for TensorBoard's profile plugin.",
)


def main(_) -> int:
    if CONFIG.value is None:
        raise ValueError("give --config=FILE, for instance --config=experiments/configs/natsiou2023.py")
    if not WORKDIR.value:
        raise ValueError("give --workdir=DIR, the folder of the run")
    command_line.use_platform(PLATFORM.value)
    command_line.use_compilation_cache()
    from timbre_jax import checkpoint
    from timbre_jax.training.distributed import failures, processes
    from timbre_jax.training.loop import train_and_evaluate
    from timbre_jax.training.profiling import CompileClock, Profile
    from timbre_jax.training.setup import check_config

    processes.initialize(
        distributed=DISTRIBUTED.value,
        coordinator_address=COORDINATOR.value,
        num_processes=PROCESSES.value,
        process_id=PROCESS.value,
    )
    main_process = processes.is_main()
    if saved := checkpoint.steps(os.path.join(WORKDIR.value, "checkpoints")):
        check_config(CONFIG.value, Path(WORKDIR.value))  # a run that cannot be resumed is one line, and this the only one
        if main_process:
            print(f"Resuming from step {saved[-1]} of {WORKDIR.value}.", flush=True)
    progress = PROGRESS.value and main_process
    profile = Profile(PROFILE.value) if PROFILE.value else None
    with failures.exit_together(), CompileClock() as clock:
        result = train_and_evaluate(CONFIG.value, WORKDIR.value, parallel=PARALLEL.value, progress=progress, profile=profile)
    if result.status == "stopped":
        if main_process:
            print(f"Stopped at step {result.step} and saved in {WORKDIR.value}. The same command goes on from there.")
            say_resources(clock, profile)
        return 128 + result.signal
    try:
        if main_process:
            report(result, clock, profile, progress=progress)
    finally:
        # The others wait: to leave one after another, JAX gives processes five minutes.
        with failures.exit_together(), failures.convert_runtime_errors():
            processes.barrier("reports")
    return 0


def report(result, clock, profile, *, progress: bool) -> None:
    """What a training that has ended comes to."""
    best = f"best {result.best_value:.6g} at step {result.best_step}"
    how = {"finished": "Finished", "converged": "Stopped early, as nothing got better,"}[result.status]
    done = f"{how} at step {result.step} ({best})" if result.step else f"Fitted (mse {result.best_value:.6g})"
    print(f"{done}. The space is in {WORKDIR.value}/best.", flush=True)
    say_resources(clock, profile)
    say_invariance(WORKDIR.value, progress=progress)
    run = shlex.quote(WORKDIR.value)
    print(f"Next: python experiments/analyze.py --workdir={run} --out={run}/analysis")


def say_resources(clock, profile) -> None:
    """What the training took, and where its trace is."""
    from timbre_jax.training.profiling import peak_memory, resources_line

    print(f"Took {resources_line(peak_memory(), clock)}.", flush=True)
    if profile and profile.written:
        print(f"The trace of steps {profile.first} to {min(profile.last, profile.taken)} is in {PROFILE.value}.")
    elif profile:
        print(f"No trace in {PROFILE.value}: only {profile.taken} steps were taken, and it begins with step {profile.first}.")


def say_invariance(workdir: str, *, progress: bool) -> None:
    """Of a series space: what its latents say of loudness and pitch, into WORKDIR/invariance.json, once a best space."""
    import timbre_jax
    from timbre_jax.data.store import open_store
    from timbre_jax.documents import read_config

    space = timbre_jax.load(workdir)
    if space.kind != "series":
        return
    from timbre_jax.analysis import leakage

    file = os.path.join(workdir, "invariance.json")
    best = max(os.path.getmtime(entry) for entry in os.scandir(os.path.join(workdir, "best")))
    if os.path.isfile(file) and os.path.getmtime(file) >= best:
        print(f"What its latents say of loudness and pitch is in {file}.")
        return
    try:
        results = leakage.invariance_of(space, open_store(read_config(workdir)["config"]["data"]["store"]), progress=progress)
    except ValueError as error:
        print(f"What its latents say of loudness and pitch could not be measured: {error}")
        return
    leakage.write_invariance(workdir, results)
    print("What its latents say of loudness and pitch, and what the reconstruction is worth:")
    print("\n".join(f"  {line}" for line in leakage.invariance_lines(results)))


if __name__ == "__main__":
    use_large_pages()
    command_line.run(main, __doc__)
