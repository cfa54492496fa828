"""Trains a model, or resumes a run that was stopped.

  python experiments/train.py --config=notes_best --workdir=runs/notes --config.data.store=notes
  python experiments/train.py --config=rebnord2022:8_dim --workdir=runs/8_dim --config.data.store=hits --config.train.steps=500
  srun -N 2 -n 8 --gpus-per-node=4 python experiments/train.py --config=natsiou2023 --workdir=runs/n --config.data.store=notes

Guides: docs/guides/notes.md and, for several devices or machines, docs/guides/many_machines.md
"""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line, config_flags
from timbre_jax.settings import Settings, setting


@dataclasses.dataclass(frozen=True)
class RunSettings(Settings):
    """Settings of a run that do not change its results."""

    workdir: str = setting(help="Folder of the run. If it contains a run, that run is resumed.")
    progress: bool = setting(True, "Show a progress bar.")
    profile: str | None = setting(
        None,
        "Folder for a jax.profiler trace of steps 10 to 15 of this command: perfetto_trace.json.gz for "
        "https://ui.perfetto.dev and .xplane.pb for TensorBoard.",
    )


@dataclasses.dataclass(frozen=True)
class ProcessSettings(Settings):
    """Settings of the processes that train one run together."""

    distributed: bool | None = setting(
        None,
        "Train with other processes, which JAX detects under srun and mpirun, on Cloud TPU and on Kubernetes. Default: true if "
        "srun or mpirun started several processes or --coordinator_address is given.",
    )
    coordinator_address: str | None = setting(None, "HOST:PORT on which process 0 listens; the same for all processes.")
    num_processes: int | None = setting(None, "Number of processes that train the run.", low=1)
    process_id: int | None = setting(None, "Index of this process, from 0.", low=0)


def main(_) -> int:
    """Runs the program."""
    config, settings = config_flags.flag_config(), command_line.settings(RunSettings)
    devices, together = command_line.settings(command_line.DeviceSettings), command_line.settings(ProcessSettings)
    workdir = settings.workdir
    command_line.use_platform(devices.platform)
    command_line.use_compilation_cache()
    from timbre_jax import checkpoint
    from timbre_jax.training.distributed import failures, processes
    from timbre_jax.training.loop import train_and_evaluate
    from timbre_jax.training.profiling import CompileClock, Profile
    from timbre_jax.training.run_summary import summary_lines
    from timbre_jax.training.setup import check_config

    processes.initialize(**vars(together), timeout=300)
    main_process = processes.is_main()
    if saved := checkpoint.steps(os.path.join(workdir, "checkpoints")):
        check_config(config, Path(workdir))  # before the line below: an error must be the only line
        if main_process:
            print(f"Resuming from step {saved[-1]} of {workdir}.", flush=True)
    progress = settings.progress and main_process
    profile = Profile(settings.profile) if settings.profile else None
    with failures.exit_together(), CompileClock() as clock:
        result = train_and_evaluate(config, workdir, parallel=devices.parallel, progress=progress, profile=profile)
    if main_process:
        print("\n".join(summary_lines(result, workdir, clock, profile)), flush=True)
    if result.status == "stopped":
        return 128 + result.signal
    try:
        if main_process:
            _report_run(workdir, progress)
    finally:
        # All processes leave together: JAX allows five minutes between the first and the last to leave.
        with failures.exit_together(), failures.convert_runtime_errors():
            processes.barrier("reports")
    return 0


def _report_run(workdir: str, progress: bool) -> None:
    """Measures the invariance of a series space and prints the next command."""
    from timbre_jax.analysis.invariance import measure_run_invariance

    for line in measure_run_invariance(workdir, progress=progress):
        print(line)
    analyze = ("experiments/analyze.py", f"--workdir={workdir}", f"--out={workdir}/analysis")
    generate = ("experiments/generate.py", f"--workdir={workdir}", "--mode=sample", f"--out={workdir}/sounds")
    command_line.print_written(f"{workdir}/best", f"{workdir}/metrics.jsonl", next=(analyze, generate))


if __name__ == "__main__":
    config_flags.define_config()
    command_line.define_flags(run=RunSettings, devices=command_line.DeviceSettings, processes=ProcessSettings)
    command_line.run(main, __doc__, large_pages=True)
