"""`train_and_evaluate`: a run from beginning to end, and from wherever it was stopped to the end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timbre_jax.data.datasets import Sources, open_sources
from timbre_jax.training.checkpointing.progress import Result
from timbre_jax.training.distributed import processes
from timbre_jax.training.distributed.failures import told_when_lost
from timbre_jax.training.distributed.interrupt import StopSignals, locked
from timbre_jax.training.profiling import Profile
from timbre_jax.training.setup import build_model, checked, fit, write_config
from timbre_jax.training.trainer import Run


def train_and_evaluate(
    config: Mapping[str, Any],
    workdir: str | os.PathLike,
    *,
    sources: Sources | None = None,
    parallel: str = "jit",
    progress: bool = True,
    profile: Profile | None = None,
) -> Result:
    """Trains the configuration's model in a folder, or goes on with what lies there.

    WORKDIR/config.json is the whole configuration; metrics.jsonl one JSON object a line; tensorboard/ the same for
    TensorBoard; best/ the space that `timbre_jax.load` reads; checkpoints/ what a stopped run goes on from. A resumed run takes
    the same steps, to the bit, as one that was never stopped.

    Several processes (`processes.initialise`) call it with the same arguments and a folder that all of them see. The main one
    makes the features and writes the files. A signal to any of them stops all, at the same step.

    Models that learn in closed form (PCA, mean image) are fitted, and leave the same files but for checkpoints/.

    Args:
      config: fields over the defaults of `default_config`.
      workdir: the run's folder.
      sources: features in place of those of the configuration's stores.
      parallel: "jit" or "pmap".
      progress: a bar with the time left, on stderr.
      profile: traces some of the steps.

    Raises:
      ValueError: in the configuration, the store or the folder. One line; nothing that was there is lost.
      LostProcess: another process of the run has ended; the same call on all of them goes on.
    """
    workdir = Path(workdir)
    config = checked(config, workdir)
    with told_when_lost():
        sources = sources or processes.main_first(lambda: open_sources(config, progress=progress))
        model = build_model(config, sources)
        with locked(workdir):
            if processes.is_main():
                write_config(workdir, config, model, sources)
            processes.barrier("config")
            if model.trained_by == "fit":
                return processes.main_first(lambda: fit(config, workdir, model, sources))
            with StopSignals() as stop:
                return drive(Run(config, workdir, model, sources, parallel, progress), stop, profile)


def drive(run: Run, stop: StopSignals, profile: Profile | None = None) -> Result:
    """Takes a run's steps, one after another, to its end or until a signal stops it."""
    if done := run.begin():
        return done
    try:
        while run.running:
            batch = run.placement.train_batch(run.next_batch())
            run.state, metrics = run.train_step(run.state, batch, run.key)
            run.took(metrics)
            if profile:
                profile.took(metrics)
            if stopped := run.look_after(stop.number):
                return stopped
        return run.end()
    finally:
        if profile:
            profile.stop()
        run.close()
