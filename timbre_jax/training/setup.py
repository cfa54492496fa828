"""Prepares a run (checks, model, config.json), and fits models in closed form."""

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
from timbre_jax.training.config import check_unchanged, flatten, resolve, with_defaults
from timbre_jax.training.metrics_log import MetricsLog
from timbre_jax.training.step import batch_features


def check_config(config: Mapping[str, Any], workdir: Path) -> ConfigDict:
    """Returns the complete configuration of a run after all checks that need no features.

    Raises:
      ValueError: a setting is wrong, or `workdir` is a file or contains another run.
    """
    resolved = resolve(config)
    if before := saved_config(workdir):
        check_resumable(workdir / "checkpoints")
        check_unchanged(before["config"], resolved, workdir)
    elif workdir.exists() and not workdir.is_dir():
        raise ValueError(f"--workdir={workdir}: is a file, expected a folder")
    kind = make_model(**resolved["model"]).trained_by
    make_augment(representation=base_representation(resolved), **resolved["augment"])
    if kind == "gradient" and not (resolved.train.steps or resolved.train.epochs):
        raise ValueError("config.train.steps and config.train.epochs: both are 0; set one of them")
    return resolved


def total_steps(config, sources: Sources) -> int:
    """Returns the number of steps of a run from its configured steps or epochs.

    Raises:
      ValueError: the epochs amount to less than one step.
    """
    train = config.train
    epoch = len(sources.train) // train.batch_size
    total = train.steps or round(train.epochs * epoch)
    if total < 1 <= epoch:
        raise ValueError(f"config.train.epochs={train.epochs}: less than one step; an epoch has {epoch} steps")
    return total


def check_batch_size(config, sources: Sources, devices: int) -> None:
    """Raises a ValueError if a batch cannot be split or exceeds the training set."""
    size, parts = config.train.batch_size, config.train.accumulate
    if size % (devices * parts):
        times = f" times config.train.accumulate={parts}" if parts > 1 else ""
        raise ValueError(f"config.train.batch_size={size}: must be a multiple of {devices} devices{times}")
    if len(sources.train) < size:
        raise ValueError(
            f"config.train.batch_size={size}: the training set has only {len(sources.train)} sounds; use smaller batches or "
            "more sounds"
        )


def build_model(config: Mapping[str, Any], sources: Sources) -> TimbreModel:
    """Makes the configured model for the features and classes of the sources.

    Raises:
      ValueError: labels are configured, but the model does not use any.
    """
    settings = dict(config["model"])
    if sources.classes:
        # "classes" are predicted by class heads; latents are made independent of "labels".
        field = MODELS[settings["name"]].labels_setting
        if field is None:
            raise ValueError(f"config.data.labels: {settings['name']!r} does not use labels; leave it empty or use flow_vae")
        settings[field] = sources.classes
    return make_model(feature_shape=tuple(sources.representation.feature_shape), **settings)


def saved_config(workdir: Path) -> dict | None:
    """Returns the config.json of a run that has saved a checkpoint or a space, or None.

    Raises:
      CheckpointError: it is missing, damaged or has another format.
    """
    has_saved = checkpoint.steps(workdir / "checkpoints") or checkpoint.steps(workdir / "best")
    if has_saved or (workdir / "config.json").exists():
        document = documents.read_config(workdir)
        return document if has_saved else None
    return None


def write_config(workdir: Path, config, model: TimbreModel, sources: Sources) -> None:
    """Writes config.json: the configuration with model, representation and number of sounds.

    Raises:
      ValueError: the run in the folder has another model, representation or other sounds.
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
                    f"{workdir}: this run was started with other sounds or another version ({name}.{key}: "
                    f"{old.get(key)} -> {new[key]}); use its original store or another --workdir"
                )
    documents.write_config(workdir, document)


def fit_closed_form(config: Any, workdir: Path, model: TimbreModel, sources: Sources) -> Result:
    """Fits a model in closed form and writes its space and its score.

    Returns the result of the existing space if the model was fitted before.
    """
    path = checkpoint.step_path(workdir / "best", 0)
    if path.exists():
        return Result("finished", 0, 0, checkpoint.read_document(path)["metrics"]["mse"])
    log = MetricsLog(workdir)
    start = time.monotonic()
    size = config.train.batch_size
    variables = model.fit(lambda: (batch["values"] for batch in batches(sources.train, size)))
    space = make_space(model, variables, sources.representation, sources.train, batch_size=size)
    total = 0.0
    for batch in batches(sources.valid, size):
        reconstruction = np.asarray(space.model.reconstruct(space.variables, batch_features(batch)).values)
        total += float(np.square(reconstruction - batch["values"]).mean((1, 2)).sum())
    mse = total / len(sources.valid)
    information = {"step": 0, "metrics": {"mse": mse}, "statistics_examples": len(sources.train)}
    log.write("valid", 0, mse=mse, seconds=round(time.monotonic() - start, 3))
    checkpoint.save_space(path, space, information)
    log.close()
    return Result("finished", 0, 0, mse)
