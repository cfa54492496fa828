"""Training loop: a run from its start, or from where it was stopped, to its end."""

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
from timbre_jax.training.setup import build_model, check_config, fit, write_config
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

    WORKDIR contains config.json, the complete configuration; metrics.jsonl, one JSON object a line; tensorboard/, the same for
    TensorBoard; best/, the space that `timbre_jax.load` reads; and checkpoints/, from which a stopped run is resumed. A resumed
    run takes the same steps, to the bit, as one that was never stopped.

    Several processes (`processes.initialize`) call it with the same arguments and a folder that all of them see. The main one
    makes the features and writes the files. A signal to any of them stops all, at the same step.

    Models that learn in closed form (PCA, mean image) are fitted, and leave the same files without checkpoints/.

    Args:
      config: fields that replace defaults of `default_config`.
      workdir: the run's folder.
      sources: features in place of those of the configured stores.
      parallel: "jit" or "pmap".
      progress: whether to show a bar with the time left, on stderr.
      profile: profiler that traces some of the steps.

    Raises:
      ValueError: the configuration, the store or the folder has a problem. One line; nothing in the folder is lost.
      LostProcess: another process of the run has ended; the same call on all of them resumes the run.
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
                return processes.main_first(lambda: fit(config, workdir, model, sources))
            with StopSignals() as stop:
                return drive(Trainer(config, workdir, model, sources, parallel, progress), stop, profile)


def drive(run: Trainer, stop: StopSignals, profile: Profile | None = None) -> Result:
    """Takes the steps of a run until its end, or until a signal stops it."""
    if done := run.begin():
        return done
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
