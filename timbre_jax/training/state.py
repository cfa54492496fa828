"""Training state, optimizer and learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from timbre_jax.models.base import TimbreModel, Variables
from timbre_jax.types import Array, Features

SCHEDULES = ("constant", "cosine", "plateau")


class TrainState(flax.struct.PyTreeNode):
    """Everything that a training step changes, as a pytree of arrays.

    Attributes:
      step: int32 [], steps taken.
      params: of the model.
      mutable: its other collections (batch statistics, codebooks, a fixed basis), by name.
      opt_state: of the optimizer; several optimizers are one through `optax.multi_transform`.
      average: running average of params, see `update_average`.
      hyper: float32 scalars that a step reads: "learning_rate" (the peak; the schedule multiplies it), "kl_weight",
        "learning_rate_scale" (halved by a rollback). Leaves, so changing one does not compile anew.
    """

    step: Array
    params: Variables
    mutable: Mapping[str, Variables]
    opt_state: optax.OptState
    average: Variables
    hyper: Mapping[str, jax.Array]

    def variables(self, *, average: bool = False) -> Variables:
        """Returns the variables of `model.apply`, with the current or the averaged parameters."""
        return {"params": self.average if average else self.params, **self.mutable}

    def with_hyper(self, name: str, value: float) -> TrainState:
        """Returns the state with another value of a hyper-parameter, placed as the one before."""
        array = jax.device_put(np.float32(value), self.hyper[name].sharding)
        return self.replace(hyper={**self.hyper, name: array})


def create_state(
    model: TimbreModel, optimizer: optax.GradientTransformation, key: jax.Array, *, hyper: Mapping[str, float]
) -> TrainState:
    """Returns the state before the first step. Pure, so that `jit` with output shardings places the parameters."""
    shape = (1, *model.feature_shape)
    with jax.enable_x64(False):  # the same parameters, whatever they are trained in
        variables = dict(model.init(key, Features(values=jnp.zeros(shape), mask=jnp.ones(shape[:2]))))
    params = variables.pop("params")
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        mutable=variables,
        opt_state=optimizer.init(params),
        average=jax.tree.map(jnp.copy, params),
        hyper={
            "learning_rate_scale": jnp.ones((), jnp.float32),
            **{name: jnp.asarray(value, jnp.float32) for name, value in hyper.items()},
        },
    )


def update_average(average: Variables, params: Variables, step: Array, decay: float) -> Variables:
    """Returns the exponential average of the parameters after steps 1, 2 .. `step`, without the bias toward its start.

    average_t = average_{t-1} + (params_t - average_{t-1}) * (1 - decay) / (1 - decay^t), which is Adam's bias correction
    (Kingma & Ba 2015, section 3) applied as it goes: at every step the weights are those of the exponential average, and sum
    to 1. decay = 0 is the parameters themselves. `optax.ema` keeps the biased average and divides it by 1 - decay^t in float32,
    which for decay = 0.999 is wrong by 1e-5 of its value (0.9999: 2e-4); this is right to 5e-7 after 1,000 steps.
    """
    if decay == 0.0:
        return params
    log_decay = jnp.float32(math.log(decay))
    rate = jnp.expm1(log_decay) / jnp.expm1(step.astype(jnp.float32) * log_decay)
    return jax.tree.map(lambda a, p: a + rate.astype(a.dtype) * (p - a), average, params)


def make_schedule(
    name: str, *, warmup_steps: int = 0, total_steps: int = 0, final_fraction: float = 0.0
) -> Callable[[Array], Array]:
    """Returns the function from a step, int32 [], to the learning rate as a fraction of its peak, float32 [].

    A linear rise over `warmup_steps` steps, (step + 1) / warmup_steps, then "constant" at 1, or "cosine" from 1 down to
    `final_fraction` at `total_steps`. The rise takes at most half of a cosine's steps, so that a short trial of a long
    configuration rises and falls too. "plateau" is constant here: what evaluations say changes the peak (`Plateau`).

    Raises:
      ValueError: an unknown name, or a cosine over no steps.
    """
    if name not in SCHEDULES:
        raise ValueError(f"there is no schedule {name!r}; there are {', '.join(map(repr, SCHEDULES))}")
    if name == "cosine":
        if total_steps < 1:
            raise ValueError(f"a cosine schedule needs the number of steps that it falls over, not {total_steps}")
        warmup_steps = min(warmup_steps, total_steps // 2)

    def schedule(step: Array) -> Array:
        step = step.astype(jnp.float32)
        factor = jnp.ones((), jnp.float32)
        if name == "cosine":
            part = jnp.clip((step - warmup_steps) / (total_steps - warmup_steps), 0.0, 1.0)
            factor = final_fraction + (1.0 - final_fraction) * 0.5 * (1.0 + jnp.cos(jnp.pi * part))
        if warmup_steps:
            factor = factor * jnp.minimum(1.0, (step + 1.0) / warmup_steps)
        return factor

    return schedule


def make_optimizer(
    name: str = "adam", *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Directions of descent at learning rate 1: the training step multiplies them by -learning_rate.

    "adam" (Kingma & Ba 2015), with decoupled weight decay (Loshchilov & Hutter 2019) where it is not 0, or "sgd".

    Raises:
      ValueError: an unknown name.
    """
    if name == "adam":
        parts = [optax.scale_by_adam(b1=b1, b2=b2, eps=eps)]
    elif name == "sgd":
        parts = [optax.identity()]
    else:
        raise ValueError(f"there is no optimizer {name!r}; there are 'adam', 'sgd'")
    if weight_decay:
        parts.append(optax.add_decayed_weights(weight_decay))
    return optax.chain(*parts)
