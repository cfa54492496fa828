"""Compiled functions of a run, which runs with equal programs can share."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import jax

from timbre_jax.data.augment import make_augment
from timbre_jax.models.base import TimbreModel
from timbre_jax.representations.base import Representation
from timbre_jax.training.config import flatten
from timbre_jax.training.distributed.sharding import JitPlacement
from timbre_jax.training.precision import cast_state
from timbre_jax.training.state import create_state, make_optimizer, make_schedule
from timbre_jax.training.step import make_eval_step, make_train_step


class Programs:
    """Pure functions of a run and their compiled versions, each compiled at its first call.

    Attributes:
      placement: placement of states and batches on the devices.
      augment: augmentation of the training examples, or None.
      step: training step of `make_train_step`, not compiled.
      train_step: training step, compiled.
      score: evaluation step of `make_eval_step`, not compiled.
      eval_step: evaluation step, compiled.
      create: compiled function (key, hyper) -> state before the first step, in float32; see `create_state`.
      in_precision: compiled function from a state to the state in the precision of the run.
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
        self.create = placement.compile_eval(self._create)
        self.in_precision = placement.compile_eval(self._in_precision)

    def abstract(self, key: jax.Array, hyper: dict[str, float]) -> Any:
        """Returns the shapes and shardings of the state, as a template to read a checkpoint."""
        return self.placement.template(jax.eval_shape(lambda: self._in_precision(self._create(key, hyper))))

    def _create(self, key, hyper):
        return create_state(self._model, self._optimizer, key, hyper=hyper)

    def _in_precision(self, state):
        return cast_state(self._precision, state)


def program_key(config: Any, model: TimbreModel, representation: Representation, total_steps: int) -> Hashable:
    """Returns a key of the programs of a run; runs with equal keys can share them.

    The key does not contain the seed, hyper-parameters in the state (`TrainState.hyper`) or settings that only the host reads,
    such as intervals of logs, evaluations and checkpoints.
    """
    named = {name: value for name, value in flatten(config).items() if _is_compiled(name)}
    if config.optimizer.schedule == "plateau":  # the host changes the peak
        named["optimizer.schedule"] = "constant"
    depends_on_length = config.optimizer.schedule == "cosine" or model.uses_progress
    return (
        model,
        representation,
        tuple(sorted((k, repr(v)) for k, v in named.items())),
        total_steps if depends_on_length else None,
    )


_HOST_FIELDS = {
    "optimizer": ("learning_rate", "plateau"),
    "train": (
        "steps", "epochs", "kl_weight", "eval_every", "log_every", "checkpoint_every", "checkpoint_seconds", "checkpoint_share",
        "patience", "monitor", "initialize_readings", "initialize_examples", "statistics_examples", "rollback",
    ),
}  # fmt: skip
"""Fields that programs do not depend on. A field that is missing here costs only a compilation."""


def _is_compiled(name: str) -> bool:
    """Returns whether programs depend on a field of the configuration outside the model."""
    section, _, field = name.partition(".")
    return section in ("augment", "optimizer", "train") and field.split(".")[0] not in _HOST_FIELDS.get(section, ())
