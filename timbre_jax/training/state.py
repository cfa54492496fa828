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
    """Training state: a pytree of all arrays that a training step changes.

    Attributes:
      step: number of steps taken, int32 [].
      params: parameters of the model.
      mutable: other variable collections of the model by name, such as batch statistics and codebooks.
      opt_state: state of the optimizer.
      average: running average of the parameters (`update_average`).
      hyper: float32 scalars that a step reads: "learning_rate" (the peak, which the schedule multiplies), "kl_weight" and
        "learning_rate_scale" (reduced by rollbacks). As leaves of the state they can change without a new compilation.
    """

    step: Array
    params: Variables
    mutable: Mapping[str, Variables]
    opt_state: optax.OptState
    average: Variables
    hyper: Mapping[str, jax.Array]

    def variables(self, *, average: bool = False) -> Variables:
        """Returns the variables for `model.apply`, with the current or the averaged parameters."""
        return {"params": self.average if average else self.params, **self.mutable}

    def with_hyper(self, name: str, value: float) -> TrainState:
        """Returns the state with another value of a hyper-parameter, on the same devices."""
        array = jax.device_put(np.float32(value), self.hyper[name].sharding)
        return self.replace(hyper={**self.hyper, name: array})


def create_state(
    model: TimbreModel, optimizer: optax.GradientTransformation, key: jax.Array, *, hyper: Mapping[str, float]
) -> TrainState:
    """Returns the state before the first step, as a pure function that can be compiled.

    Args:
      model: model to train.
      optimizer: optimizer, see `make_optimizer`.
      key: random key of the parameters.
      hyper: hyper-parameters "learning_rate" and "kl_weight".
    """
    shape = (1, *model.feature_shape)
    with jax.enable_x64(False):  # initial parameters are equal for all training precisions
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
    """Returns the bias-corrected exponential average of the parameters after a step.

    average_t = average_{t-1} + (params_t - average_{t-1}) * (1 - decay) / (1 - decay^t): Adam's bias correction (Kingma & Ba
    2015, section 3) in recursive form. The weights of all steps sum to 1 at every step. `optax.ema` instead stores the biased
    average and divides it by 1 - decay^t in float32, with a relative error of 1e-5 for decay 0.999 (2e-4 for 0.9999); the error
    here is 5e-7 after 1,000 steps.

    Args:
      average: average after the previous step.
      params: parameters after this step.
      step: number of this step, from 1, int32 [].
      decay: decay of the average; 0 returns the parameters.
    """
    if decay == 0.0:
        return params
    log_decay = jnp.float32(math.log(decay))
    rate = jnp.expm1(log_decay) / jnp.expm1(step.astype(jnp.float32) * log_decay)
    return jax.tree.map(lambda a, p: a + rate.astype(a.dtype) * (p - a), average, params)


def make_schedule(
    name: str, *, warmup_steps: int = 0, total_steps: int = 0, final_fraction: float = 0.0
) -> Callable[[Array], Array]:
    """Returns a learning-rate schedule: a function from the step to a fraction of the peak.

    Args:
      name: "constant"; "cosine", which falls from 1 to `final_fraction` at `total_steps`; or "plateau", which is constant here,
        since evaluations change the peak itself (`PlateauSchedule`).
      warmup_steps: number of steps of the linear warm-up, (step + 1) / warmup_steps. With "cosine" at most half of all steps,
        so that a short trial of a long configuration also decays.
      total_steps: number of steps of the run, for "cosine".
      final_fraction: last value of "cosine".

    Returns:
      The function: step, int32 [] -> fraction of the peak learning rate, float32 [].

    Raises:
      ValueError: the name is unknown, or a cosine has no steps.
    """
    if name not in SCHEDULES:
        raise ValueError(f"schedule {name!r}: must be one of {', '.join(SCHEDULES)}")
    if name == "cosine":
        if total_steps < 1:
            raise ValueError(f"total_steps={total_steps}: a cosine schedule needs at least one step")
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
    """Returns an optimizer without learning rate; the step multiplies by -learning_rate.

    Args:
      name: "adam" (Kingma & Ba 2015) or "sgd".
      b1: decay of the first moment of Adam.
      b2: decay of the second moment of Adam.
      eps: constant in the denominator of Adam.
      weight_decay: decoupled weight decay (Loshchilov & Hutter 2019).

    Raises:
      ValueError: the name is unknown.
    """
    if name == "adam":
        parts = [optax.scale_by_adam(b1=b1, b2=b2, eps=eps)]
    elif name == "sgd":
        parts = [optax.identity()]
    else:
        raise ValueError(f"optimizer {name!r}: must be one of adam, sgd")
    if weight_decay:
        parts.append(optax.add_decayed_weights(weight_decay))
    return optax.chain(*parts)
