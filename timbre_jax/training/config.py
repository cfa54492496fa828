"""Configuration of a run: fields, defaults and checks.

Top level:
  seed: random seed of the parameters, the order of the examples and all noise.
  representation: name and settings of the representation; with fit_ranges its ranges are set to the smallest and largest
    value of the training set.
  model: name and settings of the model.
  augment: name ("none", "harmonic" or "mel") and settings of the augmentation.

data:
  store: folder that experiments/prepare.py wrote, for training and validation.
  extra_stores: further such folders, for training only.
  train_split: name of the training split.
  valid_split: name of the validation split.
  families: instrument families to use; () uses all.
  labels: columns of the store that class heads predict, such as ("family",).
  max_examples: largest number of training examples; 0 is no limit.
  features: "cached" computes the features once and writes them to STORE/features; "on_the_fly" computes them on the device
    whenever they are read (`AnalyzedSource`).
  in_memory: whether up to 4 GB of features are kept in memory.

optimizer: see `make_optimizer` and `make_schedule`.
  learning_rate: peak of the learning rate.
  clip_norm: largest global norm of the gradient; 0 does not clip.
  plateau: settings of the schedule "plateau", see `PlateauSchedule`.

train:
  batch_size: number of examples in a batch, on all devices together.
  crop_frames: length in frames of the random crops on which series models are trained; 0 uses whole examples.
  steps: length of the run in steps; 0 uses `epochs`.
  epochs: length of the run in epochs, if `steps` is 0.
  kl_weight: weight of the KL divergence in the loss.
  eval_every: interval between evaluations in steps; 0 is one epoch.
  log_every: interval between lines of the log in steps.
  checkpoint_every: largest interval between checkpoints in steps; 0 is no limit.
  checkpoint_seconds: largest interval between checkpoints in seconds.
  checkpoint_share: largest fraction of the time spent on checkpoints, which may make the intervals longer.
  patience: number of evaluations without improvement after which training stops; 0 never stops early.
  monitor: validation metric that defines the best evaluation, "loss" or "mse"; "last" takes the last evaluation, for
    adversarial models whose losses do not measure quality.
  average_decay: decay of the averaged parameters (`update_average`); 0 does not average.
  initialize_readings: number of passes over the training set from which a model is initialized; those after the first are
    augmented.
  initialize_examples: largest number of examples in all these passes; 0 is no limit.
  statistics_examples: number of training examples from which the statistics of a space are computed during training; at
    the end of a run all of them are used.
  precision: precision of the steps, see `training.precision`.
  accumulate: number of parts into which a batch is divided to save memory, see `make_train_step`.

train.rollback:
  every: interval in steps at which a good state is kept; 0 turns rollbacks off, and a bad step ends the run.
  factor: threshold for bad steps, see `DivergenceDetector`.
  learning_rate_scale: factor of the learning rate after a rollback, which also skips the batch of the bad step.
  maximum: largest number of rollbacks.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from timbre_jax.models import MODELS
from timbre_jax.representations import REPRESENTATIONS
from timbre_jax.training.precision import check_precision

NAMED_SECTIONS = ("representation", "model", "augment")
"""Sections whose fields depend on their name; `make_representation`, `make_model` and `make_augment` check them."""

RESUMABLE_CHANGES = (
    "train.steps",
    "train.epochs",
    "train.patience",
    "train.checkpoint_every",
    "train.checkpoint_seconds",
    "train.checkpoint_share",
    "train.statistics_examples",
    "data.store",
    "data.extra_stores",
)
"""Fields that may change when a run is resumed: its length, the checkpoint schedule and the location of its sounds."""


def default_config() -> ConfigDict:
    """Returns the default configuration of a run, with the fields described in this module."""
    return ConfigDict(
        {
            "seed": 0,
            "representation": representation_section("harmonic_tracks"),
            "model": model_section("conv_vae"),
            "data": {
                "store": "",
                "train_split": "train",
                "valid_split": "valid",
                "families": (),
                "labels": (),
                "max_examples": 0,
                "extra_stores": (),
                "features": "cached",
                "in_memory": False,
            },
            "augment": {"name": "none"},
            "optimizer": {
                "name": "adam",
                "learning_rate": 1e-3,
                "schedule": "constant",
                "warmup_steps": 0,
                "final_fraction": 0.0,
                "clip_norm": 0.0,
                "plateau": {"patience": 5, "factor": 0.2, "minimum": 1e-5},
                "weight_decay": 0.0,
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-8,
            },
            "train": {
                "batch_size": 128,
                "crop_frames": 0,
                "steps": 0,
                "epochs": 0.0,
                "kl_weight": 1.0,
                "eval_every": 0,
                "log_every": 20,
                "checkpoint_every": 1000,
                "checkpoint_seconds": 60.0,
                "checkpoint_share": 0.05,
                "patience": 0,
                "monitor": "loss",
                "average_decay": 0.0,
                "initialize_readings": 1,
                "initialize_examples": 16384,
                "statistics_examples": 2048,
                "precision": "float32",
                "accumulate": 1,
                "rollback": {"every": 200, "factor": 3.0, "learning_rate_scale": 0.5, "maximum": 10},
            },
        }
    )


def representation_section(name: str, **settings) -> dict:
    """Returns a representation's section with all settings, which become flags."""
    kind: Any = REPRESENTATIONS[name]
    fields = dataclasses.fields(kind)
    return {"name": name, "fit_ranges": False, **{field.name: field.default for field in fields}, **settings}


def model_section(name: str, **settings) -> dict:
    """Returns a model's section with all settings except feature_shape."""
    fields = dataclasses.fields(MODELS[name])
    hidden = ("parent", "name", "feature_shape")
    return {"name": name, **{f.name: f.default for f in fields if f.name not in hidden}, **settings}


def resolve(config: Mapping[str, Any]) -> ConfigDict:
    """Returns a complete, checked configuration: the defaults with some fields replaced.

    Raises:
      ValueError: a field does not exist or a value is not allowed.
    """
    changes = config.to_dict() if isinstance(config, ConfigDict) else dict(config)
    resolved = default_config().to_dict()
    _merge(resolved, changes, "")
    _check(resolved)
    return ConfigDict(resolved)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns fields by dotted name, {"train.steps": 100, ...}, with tuples as lists."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = _tuples_to_lists(value)
    return flat


def _tuples_to_lists(value: Any) -> Any:
    """Returns a value with all tuples in it as lists."""
    return [_tuples_to_lists(part) for part in value] if isinstance(value, tuple | list) else value


def check_unchanged(saved: Mapping[str, Any], config: Mapping[str, Any], workdir) -> None:
    """Raises a ValueError if a run cannot be resumed with a configuration."""
    before, now = flatten(with_defaults(saved)), flatten(with_defaults(config))
    harmless = set(RESUMABLE_CHANGES)
    model = MODELS.get(now["model.name"])
    if now["optimizer.schedule"] == "cosine" or (model is not None and model.uses_progress):
        # The schedule or the loss depends on the number of steps.
        harmless -= {"train.steps", "train.epochs"}
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    # Fields that are new in this version had their defaults before.
    names = [name for name in names if name in before or name.split(".")[0] in NAMED_SECTIONS]
    if names := [name for name in names if name not in harmless]:
        changes = ", ".join(f"{name}: {before.get(name)!r} -> {now.get(name)!r}" for name in names[:5])
        raise ValueError(
            f"{workdir}: this run was started with another configuration ({changes}); resume it with the same, or use "
            "another --workdir"
        )


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration with defaults for missing model and representation settings."""
    config = config.to_dict() if isinstance(config, ConfigDict) else dict(config)
    if config.get("representation", {}).get("name") in REPRESENTATIONS:
        config["representation"] = representation_section(**config["representation"])
    if config.get("model", {}).get("name") in MODELS:
        config["model"] = model_section(**config["model"])
    return config


def _merge(resolved: dict, changes: Mapping, prefix: str) -> None:
    """Replaces fields of a configuration in place."""
    for name, value in changes.items():
        where = prefix + name
        if not prefix and name in NAMED_SECTIONS:
            section = dict(value)
            if "name" not in section:
                raise ValueError(f"config.{where}: has no field 'name', which is required")
            resolved[name] = section
        elif name not in resolved:
            near = difflib.get_close_matches(name, resolved, n=3, cutoff=0.4) or sorted(resolved)
            raise ValueError(f"config.{where}: no such field; similar fields: {', '.join(f'config.{prefix}{n}' for n in near)}")
        elif isinstance(resolved[name], dict):
            if not isinstance(value, Mapping):
                raise ValueError(f"config.{where}={value!r}: must be a section with fields")
            _merge(resolved[name], value, f"{where}.")
        else:
            resolved[name] = _typed(where, value, resolved[name])


def _typed(where: str, value: Any, default: Any) -> Any:
    """Returns a value as the type of its default. Raises a ValueError for another type."""
    if isinstance(default, bool) or isinstance(value, bool):
        right = isinstance(default, bool) and isinstance(value, bool)
    elif isinstance(default, float):
        right = isinstance(value, int | float)
        value = float(value) if right else value
    elif isinstance(default, tuple):
        right = isinstance(value, str | list | tuple)
        value = tuple(part for part in value.split(",") if part) if isinstance(value, str) else tuple(value) if right else value
    else:
        right = isinstance(value, type(default))
    if not right:
        raise ValueError(f"config.{where}={value!r}: must be {type(default).__name__}, like {default!r}")
    return value


def _check(config: dict) -> None:
    """Raises a ValueError if a value is outside its limits."""
    flat = flatten(config)
    for name in ("train.batch_size", "train.log_every", "train.accumulate"):
        if flat[name] < 1:
            raise ValueError(f"config.{name}={flat[name]}: must be at least 1")
    for name, value in flat.items():
        if name.split(".")[0] in ("optimizer", "train") and isinstance(value, int | float) and value < 0:
            raise ValueError(f"config.{name}={value}: must not be negative")
    if not 0 <= flat["train.average_decay"] < 1:
        raise ValueError(f"config.train.average_decay={flat['train.average_decay']}: must be at least 0 and less than 1")
    if not (0 < flat["optimizer.plateau.factor"] < 1 and flat["optimizer.plateau.patience"] >= 1):
        raise ValueError("config.optimizer.plateau: factor must be between 0 and 1, and patience at least 1")
    for name, choices in (("data.features", ("cached", "on_the_fly")), ("train.monitor", ("loss", "mse", "last"))):
        if flat[name] not in choices:
            raise ValueError(f"config.{name}={flat[name]!r}: must be one of {', '.join(choices)}")
    check_precision(flat["train.precision"])
    if flat["seed"] < 0:
        raise ValueError(f"config.seed={flat['seed']}: must not be negative")
