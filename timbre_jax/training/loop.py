"""`train_and_evaluate`: a run from beginning to end, and from wherever it was stopped to the end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timbre_jax.training.book import Result
from timbre_jax.training.data import Sources, open_sources
from timbre_jax.training.fit import build_model, checked, fit, write_config
from timbre_jax.training.interrupt import StopSignals, locked
from timbre_jax.training.run import Run


def train_and_evaluate(
    config: Mapping[str, Any],
    workdir: str | os.PathLike,
    *,
    sources: Sources | None = None,
    parallel: str = "jit",
    progress: bool = True,
) -> Result:
    """Trains the configuration's model in a folder, or goes on with what lies there.

    WORKDIR/config.json is the whole configuration; metrics.jsonl one JSON object a line; tensorboard/ the same for
    TensorBoard; best/ the space that `timbre_jax.load` reads; checkpoints/ what a stopped run goes on from. A resumed run takes
    the same steps, to the bit, as one that was never stopped.

    Models that learn in closed form (PCA, mean image) are fitted, and leave the same files but for checkpoints/.

    Args:
      config: fields over the defaults of `default_config`.
      workdir: the run's folder.
      sources: features in place of those of the configuration's stores.
      parallel: "jit" or "pmap".
      progress: a bar with the time left, on stderr.

    Raises:
      ValueError: in the configuration, the store or the folder. One line; nothing that was there is lost.
    """
    workdir = Path(workdir)
    config = checked(config, workdir)
    sources = sources or open_sources(config, progress=progress)
    model = build_model(config, sources)
    with locked(workdir):
        write_config(workdir, config, model, sources)
        if model.trained_by == "fit":
            return fit(config, workdir, model, sources)
        with StopSignals() as stop:
            return drive(Run(config, workdir, model, sources, parallel, progress), stop)


def drive(run: Run, stop: StopSignals) -> Result:
    """Takes a run's steps, one after another, to its end or until a signal stops it."""
    if done := run.begin():
        return done
    try:
        while run.running:
            batch = run.placement.train_batch(run.next_batch())
            run.state, metrics = run.train_step(run.state, batch, run.key)
            run.took(metrics)
            if stopped := run.look_after(stop.number):
                return stopped
        return run.end()
    finally:
        run.close()
