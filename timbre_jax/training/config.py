"""Configuration of a run: fields, defaults and checks."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from timbre_jax.models import MODELS
from timbre_jax.representations import REPRESENTATIONS
from timbre_jax.training.precision import check_precision

FREE = ("representation", "model", "augment")
"""Sections whose fields depend on their name; `make_representation` and others check them."""

HARMLESS = (
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
"""Fields that may change when a run is resumed: its length, how often it is saved, where the same sounds are."""


def default_config() -> ConfigDict:
    """Returns every field of a run's configuration with its default; configuration files change what they need.

    seed: of parameters, order and noise.
    representation: name and settings; fit_ranges replaces the ranges by the smallest and largest of the training set.
    model: name and settings. augment: name ("none", "harmonic", "mel") and settings.
    data: store and extra_stores, folders that experiments/prepare.py made (training takes all, validation the first);
      splits; families, () for all; max_examples, 0 for all; features, "cached" beside the store once and read from there, or
      "on_the_fly", analyzed on the device whenever they are read (`AnalyzedSource`); in_memory keeps up to 4 GB of them;
      labels, columns of the store that class heads learn, ("family",) for instance.
    optimizer: see `make_optimizer` and `make_schedule`; warmup_steps, of a cosine at most half of all steps;
      final_fraction of the learning rate at the end of a cosine; clip_norm 0 does not clip. plateau: of that schedule, see
      `Plateau`.
    train: steps, or epochs where steps is 0; crop_frames, of a series model: trained on random pieces of so many frames, 0 on
      whole examples; kl_weight; eval_every and log_every in steps, eval_every 0 is once an epoch;
      checkpoints at least every checkpoint_every steps and checkpoint_seconds, but less often where they would take more than
      the part checkpoint_share of the time; patience in evaluations without a better
      `monitor` ("loss" or "mse" of the validation set; "last" takes the last for the best, where no score of one network tells
      how good both of an adversarial pair are), 0 never stops early; average_decay of the averaged parameters;
      initialize_readings of the training set for a model that has a basis fitted first, those after the first augmented,
      of initialize_examples in all at most (0 is as many as there are);
      statistics_examples of the training set for the statistics of a space while training goes on (all of it at the end);
      precision of the steps (see `training.precision`); accumulate, parts of a batch for memory (see `make_train_step`).
    train.rollback: the last good state is kept every `every` steps and restored after a bad step (see `DivergenceDetector` for
      `factor`); the batch is skipped, the learning rate multiplied by learning_rate_scale; more than `maximum` rollbacks are an
      error. every 0 turns it off: a bad step is then an error at once.
    """
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
    """Returns a representation's section with all its settings, so that each can be changed on the command line."""
    kind: Any = REPRESENTATIONS[name]
    fields = dataclasses.fields(kind)
    return {"name": name, "fit_ranges": False, **{field.name: field.default for field in fields}, **settings}


def model_section(name: str, **settings) -> dict:
    """Returns a model's section with all its settings but feature_shape, which follows from the representation."""
    fields = dataclasses.fields(MODELS[name])
    hidden = ("parent", "name", "feature_shape")
    return {"name": name, **{f.name: f.default for f in fields if f.name not in hidden}, **settings}


def resolve(config: Mapping[str, Any]) -> ConfigDict:
    """Returns a complete configuration: the given fields over the defaults, checked.

    Raises:
      ValueError: a field does not exist (the nearest ones that do are named), or a value is not allowed.
    """
    given = config.to_dict() if isinstance(config, ConfigDict) else dict(config)
    resolved = default_config().to_dict()
    _merge(resolved, given, "")
    _check(resolved)
    return ConfigDict(resolved)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns {"train.steps": 100, ...}, with tuples as lists, as in JSON."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = _lists(value)
    return flat


def _lists(value: Any) -> Any:
    return [_lists(part) for part in value] if isinstance(value, tuple | list) else value


def check_same(saved: Mapping[str, Any], config: Mapping[str, Any], workdir) -> None:
    """Raises a ValueError if resuming a run with a configuration would make it another run."""
    before, now = flatten(with_defaults(saved)), flatten(with_defaults(config))
    harmless = set(HARMLESS)
    model = MODELS.get(now["model.name"])
    if now["optimizer.schedule"] == "cosine" or (model is not None and model.uses_progress):
        # The schedule, or the model's use of the progress, depends on the number of steps.
        harmless -= {"train.steps", "train.epochs"}
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    # Fields that this version added have their defaults.
    names = [name for name in names if name in before or name.split(".")[0] in FREE]
    if names := [name for name in names if name not in harmless]:
        changes = ", ".join(f"{name}: {before.get(name)!r} -> {now.get(name)!r}" for name in names[:5])
        raise ValueError(
            f"the run in {workdir} was started with another configuration ({changes}); resume with the same, or use "
            "another --workdir"
        )


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration, or a run's document, with all fields of its model and representation in this version."""
    config = config.to_dict() if isinstance(config, ConfigDict) else dict(config)
    if config.get("representation", {}).get("name") in REPRESENTATIONS:
        config["representation"] = representation_section(**config["representation"])
    if config.get("model", {}).get("name") in MODELS:
        config["model"] = model_section(**config["model"])
    return config


def _merge(resolved: dict, given: Mapping, prefix: str) -> None:
    for name, value in given.items():
        where = prefix + name
        if not prefix and name in FREE:
            section = dict(value)
            if "name" not in section:
                raise ValueError(f"config.{where} needs a field 'name'")
            resolved[name] = section
        elif name not in resolved:
            near = difflib.get_close_matches(name, resolved, n=3, cutoff=0.4) or sorted(resolved)
            raise ValueError(f"there is no field config.{where}; near it: {', '.join(f'config.{prefix}{n}' for n in near)}")
        elif isinstance(resolved[name], dict):
            if not isinstance(value, Mapping):
                raise ValueError(f"config.{where} has fields of its own, it cannot be {value!r}")
            _merge(resolved[name], value, f"{where}.")
        else:
            resolved[name] = _typed(where, value, resolved[name])


def _typed(where: str, value: Any, default: Any) -> Any:
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
        raise ValueError(f"config.{where} must be {type(default).__name__} like {default!r}, not {value!r}")
    return value


def _check(config: dict) -> None:
    flat = flatten(config)
    for name in ("train.batch_size", "train.log_every", "train.accumulate"):
        if flat[name] < 1:
            raise ValueError(f"config.{name} must be at least 1, not {flat[name]}")
    for name, value in flat.items():
        if name.split(".")[0] in ("optimizer", "train") and isinstance(value, int | float) and value < 0:
            raise ValueError(f"config.{name} must not be negative, not {value}")
    if not 0 <= flat["train.average_decay"] < 1:
        raise ValueError(f"config.train.average_decay must lie in [0, 1), not {flat['train.average_decay']}")
    if not (0 < flat["optimizer.plateau.factor"] < 1 and flat["optimizer.plateau.patience"] >= 1):
        raise ValueError("config.optimizer.plateau needs a factor between 0 and 1 and a patience of at least 1")
    for name, choices in (("data.features", ("cached", "on_the_fly")), ("train.monitor", ("loss", "mse", "last"))):
        if flat[name] not in choices:
            raise ValueError(f"config.{name}={flat[name]!r}: must be one of {', '.join(choices)}")
    check_precision(flat["train.precision"])
    if flat["seed"] < 0:
        raise ValueError(f"config.seed must not be negative, not {flat['seed']}")
