"""What stands before a run: its model and config.json; and the run of a model that is fitted in closed form."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from timbre_jax import checkpoint
from timbre_jax.data.augment import make_augment
from timbre_jax.data.datasets import Sources, base_representation, batches
from timbre_jax.models import MODELS, make_model
from timbre_jax.models.base import TimbreModel
from timbre_jax.representations import representation_settings
from timbre_jax.training.checkpointing.progress import Result
from timbre_jax.training.checkpointing.spaces import make_space
from timbre_jax.training.config import check_same, flatten, resolve, with_defaults
from timbre_jax.training.metrics_log import MetricsLog
from timbre_jax.training.step import batch_features


def checked(config: Mapping[str, Any], workdir: Path) -> ConfigDict:
    """The whole configuration of a run in a folder, after all that can be told before features are made, which takes long.

    Raises:
      ValueError: wrong settings, or a folder with another run or that is none.
    """
    config = resolve(config)
    if before := saved_config(workdir):
        check_same(before["config"], config, workdir)
    elif workdir.exists() and not workdir.is_dir():
        raise ValueError(f"--workdir={workdir} is a file; a run needs a folder")
    kind = make_model(**config["model"]).trained_by
    make_augment(representation=base_representation(config), **config["augment"])
    if kind == "gradient" and not (config.train.steps or config.train.epochs):
        raise ValueError("config.train.steps and config.train.epochs are both 0: say how long to train")
    return config


def build_model(config: Mapping[str, Any], sources: Sources) -> TimbreModel:
    """The configuration's model, for the sources' features and classes.

    Raises:
      ValueError: there are labels, but the model does nothing with them.
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
    """The config.json of a run that has saved something; None where nothing has begun that could be spoilt.

    Raises:
      CheckpointError: it is damaged, missing beside checkpoints, or of another version.
    """
    begun = checkpoint.steps(workdir / "checkpoints") or checkpoint.steps(workdir / "best")
    if begun or (workdir / "config.json").exists():
        document = checkpoint.read_config(workdir)
        return document if begun else None
    return None


def write_config(workdir: Path, config, model: TimbreModel, sources: Sources) -> None:
    """WORKDIR/config.json: the configuration, and the model, representation and sounds that it came to.

    Raises:
      ValueError: a run that lies there already had others.
    """
    representation = sources.representation
    document = {
        "config": config.to_dict(),
        "model": {"name": checkpoint.model_name(model), **checkpoint.model_settings(model)},
        "representation": {"name": representation.name, **representation_settings(representation)},
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
    checkpoint.write_config(workdir, document)


def fit(config: Any, workdir: Path, model: TimbreModel, sources: Sources) -> Result:
    """Fits a model that learns in closed form: its space in best/, its score in metrics.jsonl. Done once a folder."""
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
