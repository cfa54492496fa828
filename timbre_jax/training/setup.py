"""Preparation of a run: checks, its model, its config.json; and the run of a model that is fitted in closed form."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from timbre_jax import checkpoint, documents
from timbre_jax.data.augment import make_augment
from timbre_jax.data.datasets import Sources, base_representation
from timbre_jax.data.example_source import batches
from timbre_jax.models import MODELS, make_model
from timbre_jax.models.base import TimbreModel
from timbre_jax.training.checkpointing.progress import Result, check_resumable
from timbre_jax.training.checkpointing.spaces import make_space
from timbre_jax.training.config import check_same, flatten, resolve, with_defaults
from timbre_jax.training.metrics_log import MetricsLog
from timbre_jax.training.step import batch_features


def check_config(config: Mapping[str, Any], workdir: Path) -> ConfigDict:
    """Returns the complete configuration of a run, after every check that needs no features, which take long to make.

    Raises:
      ValueError: wrong settings, or `workdir` is a file or holds another run.
    """
    resolved = resolve(config)
    if before := saved_config(workdir):
        check_resumable(workdir / "checkpoints")
        check_same(before["config"], resolved, workdir)
    elif workdir.exists() and not workdir.is_dir():
        raise ValueError(f"--workdir={workdir} is a file; a run needs a folder")
    kind = make_model(**resolved["model"]).trained_by
    make_augment(representation=base_representation(resolved), **resolved["augment"])
    if kind == "gradient" and not (resolved.train.steps or resolved.train.epochs):
        raise ValueError("config.train.steps and config.train.epochs are both 0: say how long to train")
    return resolved


def total_steps(config, sources: Sources) -> int:
    """Returns the number of steps of a run: as configured, or those of its epochs.

    Raises:
      ValueError: the epochs are shorter than a step.
    """
    train = config.train
    epoch = len(sources.train) // train.batch_size
    total = train.steps or round(train.epochs * epoch)
    if total < 1 <= epoch:
        raise ValueError(f"config.train.epochs={train.epochs}: must make at least one step; an epoch has {epoch}")
    return total


def check_batch_size(config, sources: Sources, devices: int) -> None:
    """Raises a ValueError if batches cannot be split over the devices, or the training set is smaller than one."""
    size, parts = config.train.batch_size, config.train.accumulate
    if size % (devices * parts):
        times = f" times config.train.accumulate={parts}" if parts > 1 else ""
        raise ValueError(f"config.train.batch_size={size} cannot be split over {devices} devices{times}: use a multiple")
    if len(sources.train) < size:
        raise ValueError(
            f"the training set has {len(sources.train)} sounds, fewer than config.train.batch_size={size}: use more sounds or "
            "smaller batches"
        )


def build_model(config: Mapping[str, Any], sources: Sources) -> TimbreModel:
    """Makes the configured model for the sources' features and classes.

    Raises:
      ValueError: there are labels, but the model does not use them.
    """
    settings = dict(config["model"])
    if sources.classes:
        # Class heads predict them ("classes"), or latents are made free of them ("labels").
        field = MODELS[settings["name"]].labels_setting
        if field is None:
            raise ValueError(f"model {settings['name']!r} has no class heads: leave config.data.labels empty, or take flow_vae")
        settings[field] = sources.classes
    return make_model(feature_shape=tuple(sources.representation.feature_shape), **settings)


def saved_config(workdir: Path) -> dict | None:
    """Returns the config.json of a run that has saved something, or None if a run in the folder would overwrite nothing.

    Raises:
      CheckpointError: it is damaged, missing beside checkpoints, or of another version.
    """
    begun = checkpoint.steps(workdir / "checkpoints") or checkpoint.steps(workdir / "best")
    if begun or (workdir / "config.json").exists():
        document = documents.read_config(workdir)
        return document if begun else None
    return None


def write_config(workdir: Path, config, model: TimbreModel, sources: Sources) -> None:
    """Writes WORKDIR/config.json: the configuration, and the model, representation and sounds that follow from it.

    Raises:
      ValueError: the run in the folder has others.
    """
    representation = sources.representation
    document = {
        "config": config.to_dict(),
        "model": documents.model_document(model),
        "representation": documents.representation_document(representation),
        "examples": {"train": len(sources.train), "valid": len(sources.valid), "fingerprint": sources.fingerprint},
    }
    if before := saved_config(workdir):
        before, now = with_defaults(before), with_defaults(document)
        for name in ("model", "examples", "representation"):
            old, new = flatten(before[name]), flatten(now[name])
            if changed := [key for key in new if old.get(key) != new[key]]:
                key = changed[0]
                raise ValueError(
                    f"the run in {workdir} was started with other sounds or another version ({name}.{key}: "
                    f"{old.get(key)} -> {new[key]}); use the store that it was started with, or another --workdir"
                )
    documents.write_config(workdir, document)


def fit(config: Any, workdir: Path, model: TimbreModel, sources: Sources) -> Result:
    """Fits a model that learns in closed form, unless it was: its space is in best/, its score in metrics.jsonl."""
    path = checkpoint.step_path(workdir / "best", 0)
    if path.exists():
        return Result("finished", 0, 0, checkpoint.read_document(path)["metrics"]["mse"])
    log = MetricsLog(workdir)
    start = time.monotonic()
    size = config.train.batch_size
    variables = model.fit(lambda: (batch["values"] for batch in batches(sources.train, size)))
    space = make_space(model, variables, sources.representation, sources.train, batch_size=size)
    total = count = 0.0
    for batch in batches(sources.valid, size):
        again = np.asarray(space.model.reconstruct(space.variables, batch_features(batch)).values)
        total, count = total + float(np.square(again - batch["values"]).mean((1, 2)).sum()), count + len(again)
    information = {"step": 0, "metrics": {"mse": total / count}, "statistics_examples": len(sources.train)}
    log.write("valid", 0, mse=total / count, seconds=round(time.monotonic() - start, 3))
    checkpoint.save_space(path, space, information)
    log.close()
    return Result("finished", 0, 0, total / count)
