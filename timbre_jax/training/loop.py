"""Training loop of one run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timbre_jax.data.datasets import Sources, open_sources
from timbre_jax.training.checkpointing.progress import Result
from timbre_jax.training.distributed import processes
from timbre_jax.training.distributed.failures import convert_runtime_errors
from timbre_jax.training.distributed.interrupt import StopSignals, locked
from timbre_jax.training.profiling import Profile
from timbre_jax.training.setup import build_model, check_config, fit_closed_form, write_config
from timbre_jax.training.trainer import Trainer


def train_and_evaluate(
    config: Mapping[str, Any],
    workdir: str | os.PathLike,
    *,
    sources: Sources | None = None,
    parallel: str = "jit",
    progress: bool = True,
    profile: Profile | None = None,
) -> Result:
    """Trains the configured model in a folder, or resumes the run in it.

    The folder contains config.json (the complete configuration), metrics.jsonl (one JSON object a line), tensorboard/ (the same
    metrics), best/ (the space that `timbre_jax.load` reads) and checkpoints/. A resumed run takes exactly the steps of a run
    that was never stopped: all numbers are equal to the bit.

    Several processes (`processes.initialize`) must call this function with the same arguments and a shared folder. The main
    process computes the features and writes the files. A signal to any process stops all of them at the same step.

    Models with a closed-form fit (PCA, mean image) are fitted and have no checkpoints/.

    Args:
      config: fields that replace the defaults of `default_config`.
      workdir: folder of the run.
      sources: training and validation set; by default those of the configured stores.
      parallel: use of several devices, "jit" or "pmap".
      progress: whether to show a progress bar on stderr.
      profile: profiler that traces some of the steps.

    Returns:
      The result of the run; a signal ends it with the status "stopped".

    Raises:
      ValueError: the configuration, the store or the folder has a problem; files in the folder are unchanged.
      LostProcess: another process of the run has ended; the same call on all processes resumes the run.
    """
    workdir = Path(workdir)
    config = check_config(config, workdir)
    with convert_runtime_errors():
        sources = sources or processes.main_first(lambda: open_sources(config, progress=progress))
        model = build_model(config, sources)
        with locked(workdir):
            if processes.is_main():
                write_config(workdir, config, model, sources)
            processes.barrier("config")
            if model.trained_by == "fit":
                return processes.main_first(lambda: fit_closed_form(config, workdir, model, sources))
            with StopSignals() as stop:
                return run_steps(Trainer(config, workdir, model, sources, parallel, progress), stop, profile)


def run_steps(run: Trainer, stop: StopSignals, profile: Profile | None = None) -> Result:
    """Takes the steps of a run until it ends or a signal stops it."""
    if result := run.begin():
        return result
    try:
        while run.running:
            batch = run.placement.train_batch(run.next_batch())
            run.state, metrics = run.train_step(run.state, batch, run.key)
            run.record_step(metrics)
            if profile:
                profile.record_step(metrics)
            if stopped := run.after_step(stop.number):
                return stopped
        return run.end()
    finally:
        if profile:
            profile.stop()
        run.close()
