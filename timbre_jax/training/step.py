"""Training and evaluation steps as pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from timbre_jax.data.example_source import LABEL_PREFIX
from timbre_jax.models.base import TimbreModel, Variables
from timbre_jax.training.precision import match_precision, with_bfloat16_products
from timbre_jax.training.state import TrainState, update_average
from timbre_jax.types import Array, Features

Batch = Mapping[str, Any]
"""Batch: "values" [B, N, F], "mask" [B, N], "index" [B] int32, labels "label_NAME" [B] int32, and conditions by name."""
Metrics = dict[str, Array]

_RESERVED = ("values", "mask", "index", "weight")


def batch_features(batch: Batch) -> Features:
    """Returns the `Features` of a batch."""
    conditions = {k: v for k, v in batch.items() if k not in _RESERVED and not k.startswith(LABEL_PREFIX)}
    return Features(values=batch["values"], mask=batch["mask"], conditions=conditions)


def batch_labels(batch: Batch) -> dict[str, Any]:
    """Returns {"labels": {name: [B] int32}} for `loss`; {} for a batch without labels."""
    labels = {k.removeprefix(LABEL_PREFIX): v for k, v in batch.items() if k.startswith(LABEL_PREFIX)}
    return {"labels": labels} if labels else {}


def make_train_step(
    model: TimbreModel,
    optimizer: optax.GradientTransformation,
    *,
    schedule: Callable[[Array], Array] | None = None,
    clip: float = 0.0,
    average_decay: float = 0.0,
    augment: Callable[[Array, Array, Array], Array] | None = None,
    axis_name: str | None = None,
    total_steps: int = 0,
    crop_frames: int = 0,
    precision: str = "float32",
    accumulate: int = 1,
) -> Callable[[TrainState, Batch, Array], tuple[TrainState, Metrics]]:
    """Returns the training step: a pure function (state, batch, key) -> (state, metrics).

    The random key of an example is fold_in(fold_in(key, step), index), where `key` is the same for all steps. So the noise of
    an example depends neither on its place in the batch nor on the number of devices.

    Args:
      model: model to train.
      optimizer: optimizer without learning rate (`make_optimizer`).
      schedule: function from the step to a fraction of the peak learning rate; None is constant.
      clip: largest global norm of the gradient; 0 does not clip.
      average_decay: decay of the averaged parameters; 0 does not average.
      augment: augmentation (keys [B], values [B, N, F], mask [B, N]) -> values of the training examples.
      axis_name: axis over which `pmap` averages gradients and metrics; None with `jit`, whose compiler averages.
      total_steps: number of steps of the run, for models whose loss depends on the progress; 0 sets the progress to 1.
      crop_frames: length of a random crop of every example; 0 trains on whole examples.
      precision: precision of the step, see `training.precision`.
      accumulate: number of parts of a batch whose gradients are computed sequentially and averaged, to save memory. Example j
        is in part j mod `accumulate`. Losses and noise do not depend on it; batch statistics, codebooks and neighbors within a
        batch are computed per part.

    Returns:
      The step. Its metrics are float32 scalars: "loss", the metrics of `model.loss`, "grad_norm" before clipping, and
      "learning_rate".
    """

    def train_step(state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, Metrics]:
        keys = example_keys(jax.random.fold_in(key, state.step), batch["index"])
        features = batch_features(batch)
        if augment is not None:
            features = features.replace(values=augment(keys[:, 1], features.values, features.mask))
        if crop_frames:
            features = random_crops(features, keys[:, 1], crop_frames)
        options: dict[str, Any] = {"kl_weight": state.hyper["kl_weight"]}
        if model.uses_axis:
            options["axis_name"] = axis_name
        if model.uses_progress:
            options["progress"] = state.step / total_steps if total_steps else jnp.ones(())
        differentiate = _loss_gradient(model, options)
        if precision == "bfloat16":
            differentiate = with_bfloat16_products(differentiate)
        inputs = match_precision(features, state.params), keys[:, 0], batch_labels(batch)
        if accumulate == 1:
            mutable, (gradient, metrics) = differentiate(state.params, state.mutable, *inputs)
        else:
            mutable, (gradient, metrics) = _accumulate_gradients(differentiate, accumulate, state.params, state.mutable, inputs)
        if axis_name is not None:
            gradient, metrics, mutable = jax.lax.pmean((gradient, metrics, mutable), axis_name)
        norm = optax.tree.norm(gradient)
        if clip:
            factor = jnp.minimum(1.0, clip / jnp.maximum(norm, 1e-12))
            gradient = jax.tree.map(lambda g: g * factor, gradient)
        direction, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        rate = state.hyper["learning_rate"] * state.hyper["learning_rate_scale"]
        if schedule is not None:
            rate = rate * schedule(state.step)
        if (factors := model.learning_rates(state.params)) is not None:
            direction = jax.tree.map(lambda d, factor: d * factor, direction, factors)
        params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)
        step = state.step + 1
        average = update_average(state.average, params, step, average_decay)
        state = state.replace(step=step, params=params, mutable=mutable, opt_state=opt_state, average=average)
        return state, {**metrics, "grad_norm": norm, "learning_rate": rate}

    return train_step


def _loss_gradient(model: TimbreModel, options: Mapping[str, Any]) -> Callable:
    """Returns (params, mutable, features, keys, labels) -> (mutable, (gradient, metrics))."""

    def mean_loss(params, mutable, features, keys, labels):
        (loss, metrics), mutable = model.apply(
            {"params": params, **mutable}, features, keys, train=True, **labels, **options, method="loss", mutable=list(mutable)
        )
        loss = jnp.mean(loss)
        return loss, ({"loss": loss, **{name: jnp.mean(value) for name, value in metrics.items()}}, mutable)

    def differentiate(*arguments):
        gradient, (metrics, mutable) = jax.grad(mean_loss, has_aux=True)(*arguments)
        return mutable, (gradient, metrics)

    return differentiate


def _accumulate_gradients(differentiate: Callable, count: int, params: Variables, mutable: Variables, inputs: tuple) -> tuple:
    """Returns the last mutable variables and the mean gradient and metrics of all parts."""

    def split(x: Array) -> Array:
        # Every part has examples of every device, so none are moved between devices.
        return jnp.swapaxes(x.reshape(x.shape[0] // count, count, *x.shape[1:]), 0, 1)

    def add(carried, part):
        mutable, total = carried
        mutable, new = differentiate(params, mutable, *part)
        return (mutable, jax.tree.map(jnp.add, total, new)), None

    parts = jax.tree.map(split, inputs)
    shapes = jax.eval_shape(differentiate, params, mutable, *jax.tree.map(lambda x: x[0], parts))[1]
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    # XLA's convolutions are slow inside loops on CPUs.
    unroll = count if jax.default_backend() == "cpu" else 1
    (mutable, total), _ = jax.lax.scan(add, (mutable, zeros), parts, unroll=unroll)
    return mutable, jax.tree.map(lambda x: x / count, total)


def random_crops(features: Features, keys: Array, frames: int) -> Features:
    """Returns a random crop of every example, with its mask and per-frame conditions.

    Args:
      features: examples [B, N, F].
      keys: random keys [B].
      frames: length of the crop; examples of at most this length are not cropped.
    """
    count = features.values.shape[1]
    if count <= frames:
        return features

    def crop(key: Array, example: Features) -> Features:
        start = jax.random.randint(jax.random.fold_in(key, 1), (), 0, count - frames + 1, jnp.int32)

        def cut(leaf: Array) -> Array:
            per_frame = jnp.ndim(leaf) > 0 and leaf.shape[0] == count
            return jax.lax.dynamic_slice_in_dim(leaf, start, frames) if per_frame else leaf

        return jax.tree.map(cut, example)

    return jax.vmap(crop)(keys, features)


def make_eval_step(model: TimbreModel) -> Callable[[Variables, Batch, Array, Array], Metrics]:
    """Returns the evaluation step: (variables, batch, key, kl_weight) -> sums of metrics.

    The batch has "weight" [B], which is 1 for an example and 0 for padding. Every metric is multiplied by it and summed over
    the batch. The metrics are those of `model.loss`; "loss", with one latent sample of a key that depends on the example alone
    and is equal in all evaluations; "mse" of the reconstruction by a space (`model.reconstruct`), unless the decoder is
    stochastic; and "weight".
    """

    def eval_step(variables: Variables, batch: Batch, key: Array, kl_weight: Array) -> Metrics:
        features = match_precision(batch_features(batch), variables["params"])
        keys = example_keys(key, batch["index"])[:, 0]
        loss, metrics = model.apply(
            variables, features, keys, kl_weight=kl_weight, train=False, **batch_labels(batch), method="loss"
        )
        metrics = {**metrics, "loss": loss, "weight": jnp.ones_like(loss)}
        if not model.stochastic_decoder:  # a sample of noise has a large MSE even if it sounds right
            reconstruction = model.reconstruct(variables, features)
            metrics["mse"] = jnp.mean(jnp.square(reconstruction.values - features.values), axis=(1, 2))
        return {name: jnp.sum(value * batch["weight"]) for name, value in metrics.items()}

    return eval_step


def example_keys(key: Array, index: Array | np.ndarray) -> Array:
    """Returns two random keys for each example, [B, 2], that depend on its index alone."""
    return jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i)))(index)
