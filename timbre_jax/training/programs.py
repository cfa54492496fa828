"""Compiled functions of a run, which all runs that compute the same can share."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import jax

from timbre_jax.data.augment import make_augment
from timbre_jax.models.base import TimbreModel
from timbre_jax.representations.base import Representation
from timbre_jax.training.config import flatten
from timbre_jax.training.distributed.sharding import JitPlacement
from timbre_jax.training.precision import state_in
from timbre_jax.training.state import create_state, make_optimizer, make_schedule
from timbre_jax.training.step import make_eval_step, make_train_step


class Programs:
    """Pure functions of a run, and their programs, each compiled at its first call.

    Attributes:
      placement: placement of states and batches on the devices.
      augment: augmentation of the training examples, or None.
      step: (state, batch, key) -> (state, metrics), not compiled.
      train_step: the same, compiled.
      score: function of `make_eval_step`, not compiled.
      eval_step: the same, compiled.
      create: (key, hyper) -> state before the first step, in float32 and placed; `hyper` is that of `create_state`.
      in_precision: state -> state in the precision that it is trained in.
    """

    def __init__(
        self, config: Any, model: TimbreModel, representation: Representation, placement: JitPlacement, total_steps: int
    ):
        train, optimizer = config.train, config.optimizer
        self.placement, self._model, self._precision = placement, model, train.precision
        self._optimizer = make_optimizer(
            optimizer.name, b1=optimizer.b1, b2=optimizer.b2, eps=optimizer.eps, weight_decay=optimizer.weight_decay
        )
        schedule = make_schedule(
            optimizer.schedule,
            warmup_steps=optimizer.warmup_steps,
            total_steps=total_steps,
            final_fraction=optimizer.final_fraction,
        )
        self.augment = make_augment(representation=representation, **config.augment)
        self.step = make_train_step(
            model,
            self._optimizer,
            schedule=schedule,
            clip=optimizer.clip_norm,
            average_decay=train.average_decay,
            augment=self.augment,
            axis_name=placement.axis_name,
            total_steps=total_steps,
            crop_frames=train.crop_frames if model.kind == "series" else 0,
            precision=train.precision,
            accumulate=train.accumulate,
        )
        self.train_step = placement.compile_train(self.step)
        self.score = make_eval_step(model)
        self.eval_step = placement.compile_eval(self.score)
        self.create = placement.compile_eval(self._new)
        self.in_precision = placement.compile_eval(self._in_precision)

    def abstract(self, key: jax.Array, hyper: dict[str, float]) -> Any:
        """Returns shapes and shardings of the state, to read a checkpoint into."""
        return self.placement.template(jax.eval_shape(lambda: self._in_precision(self._new(key, hyper))))

    def _new(self, key, hyper):
        return create_state(self._model, self._optimizer, key, hyper=hyper)

    def _in_precision(self, state):
        return state_in(self._precision, state)


def program_key(config: Any, model: TimbreModel, representation: Representation, total_steps: int) -> Hashable:
    """Returns what determines the programs of a run: runs with equal keys can share them.

    Seeds are not part of it, nor leaves of the state (`TrainState.hyper`), nor what only the host reads: when to log, evaluate,
    save, stop or roll back.
    """
    named = {name: value for name, value in flatten(config).items() if _compiled(name)}
    if config.optimizer.schedule == "plateau":  # constant within a step: evaluations change the peak
        named["optimizer.schedule"] = "constant"
    depends_on_length = config.optimizer.schedule == "cosine" or model.uses_progress
    return (
        model,
        representation,
        tuple(sorted((k, repr(v)) for k, v in named.items())),
        total_steps if depends_on_length else None,
    )


_HOST = {
    "optimizer": ("learning_rate", "plateau"),
    "train": (
        "steps", "epochs", "kl_weight", "eval_every", "log_every", "checkpoint_every", "checkpoint_seconds", "checkpoint_share",
        "patience", "monitor", "initialize_readings", "initialize_examples", "statistics_examples", "rollback",
    ),
}  # fmt: skip
"""Fields that are not part of a program. These are listed, because one forgotten here costs only a compilation."""


def _compiled(name: str) -> bool:
    """Returns whether a field of a configuration, by its dotted name, is part of its programs (besides the model)."""
    section, _, field = name.partition(".")
    return section in ("augment", "optimizer", "train") and field.split(".")[0] not in _HOST.get(section, ())
