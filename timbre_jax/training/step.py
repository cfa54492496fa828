"""Training step and evaluation step as pure functions; nothing else computes a gradient of the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from timbre_jax.data.example_source import LABEL_PREFIX
from timbre_jax.models.base import TimbreModel, Variables
from timbre_jax.training.precision import in_bfloat16, like
from timbre_jax.training.state import TrainState, update_average
from timbre_jax.types import Array, Features

Batch = Mapping[str, Any]
"""{"values" [B, N, F], "mask" [B, N], "index" [B] int32, labels as "label_NAME" [B] int32, and conditions by name}."""
Metrics = dict[str, Array]

_RESERVED = ("values", "mask", "index", "weight")


def batch_features(batch: Batch) -> Features:
    """Returns the `Features` of a batch."""
    conditions = {k: v for k, v in batch.items() if k not in _RESERVED and not k.startswith(LABEL_PREFIX)}
    return Features(values=batch["values"], mask=batch["mask"], conditions=conditions)


def batch_labels(batch: Batch) -> dict[str, Any]:
    """Returns the further arguments of `loss`: {"labels": {name: [B] int32}} if the batch has labels."""
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
    """Returns the pure function (state, batch, key) -> (state, metrics), not compiled.

    The randomness of an example comes from fold_in(fold_in(key, step), index), so that neither its place in the batch nor the
    number of devices matters, and `key` is the same for all steps.

    Args:
      model: with `loss`.
      optimizer: gives directions at learning rate 1 (`make_optimizer`).
      schedule: step -> fraction of the peak learning rate; None is always 1.
      clip: largest global norm of the gradient; 0 does not clip.
      average_decay: of the averaged parameters; 0 keeps none.
      augment: (keys [B], values [B, N, F], mask [B, N]) -> values, on training examples only.
      axis_name: under `pmap`, the axis over which gradients and metrics are averaged. Under `jit` the compiler does it.
      total_steps: of the run, for models conditioned on its progress; 0 gives them the end.
      crop_frames: length of a random crop of every example to train on; 0 takes the whole.
      precision: see `training.precision`.
      accumulate: parts of a batch whose gradients are computed one after another and averaged, so that only a part has to fit
        into memory; example j is in part j mod `accumulate`. Losses and noise are those of the whole batch; batch statistics,
        codebooks and neighbors are those of each part, and running averages are updated once a part.

    Returns:
      The step. Metrics are float32 scalars: "loss", those of `model.loss`, "grad_norm" before clipping, "learning_rate".
    """

    def train_step(state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, Metrics]:
        keys = example_keys(jax.random.fold_in(key, state.step), batch["index"])
        features = batch_features(batch)
        if augment is not None:
            features = features.replace(values=augment(keys[:, 1], features.values, features.mask))
        if crop_frames:
            features = cropped(features, keys[:, 1], crop_frames)
        options: dict[str, Any] = {"kl_weight": state.hyper["kl_weight"]}
        if model.uses_axis:
            options["axis_name"] = axis_name
        if model.uses_progress:
            options["progress"] = state.step / total_steps if total_steps else jnp.ones(())
        differentiate = _loss_gradient(model, options)
        if precision == "bfloat16":
            differentiate = in_bfloat16(differentiate)
        inputs = like(features, state.params), keys[:, 0], batch_labels(batch)
        if accumulate == 1:
            mutable, (gradient, metrics) = differentiate(state.params, state.mutable, *inputs)
        else:
            mutable, (gradient, metrics) = _in_parts(differentiate, accumulate, state.params, state.mutable, inputs)
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
    """Returns the function (params, mutable, features, keys, labels) -> (mutable, (gradient, metrics)) of the mean loss."""

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


def _in_parts(differentiate: Callable, count: int, params: Variables, mutable: Variables, inputs: tuple) -> tuple:
    """Computes the gradient of `count` parts of the inputs [B, ...] one after another.

    Returns:
      The last mutable variables, and the means of gradients and metrics.
    """

    def cut(x: Array) -> Array:
        # Every part has some of every device's examples, so none has to be moved.
        return jnp.swapaxes(x.reshape(x.shape[0] // count, count, *x.shape[1:]), 0, 1)

    def add(carried, part):
        mutable, total = carried
        mutable, new = differentiate(params, mutable, *part)
        return (mutable, jax.tree.map(jnp.add, total, new)), None

    parts = jax.tree.map(cut, inputs)
    shapes = jax.eval_shape(differentiate, params, mutable, *jax.tree.map(lambda x: x[0], parts))[1]
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    # XLA's convolutions are slow within loops on CPUs, where memory is plenty.
    unroll = count if jax.default_backend() == "cpu" else 1
    (mutable, total), _ = jax.lax.scan(add, (mutable, nothing), parts, unroll=unroll)
    return mutable, jax.tree.map(lambda x: x / count, total)


def cropped(features: Features, keys: Array, frames: int) -> Features:
    """Returns a random crop of every example [B, N, F] with its part of the mask and the curves [B, N]; keys are [B].

    Examples that are not longer stay as they are.
    """
    count = features.values.shape[1]
    if count <= frames:
        return features

    def piece(key: Array, record: Features) -> Features:
        start = jax.random.randint(jax.random.fold_in(key, 1), (), 0, count - frames + 1, jnp.int32)

        def cut(leaf: Array) -> Array:
            along = jnp.ndim(leaf) > 0 and leaf.shape[0] == count
            return jax.lax.dynamic_slice_in_dim(leaf, start, frames) if along else leaf

        return jax.tree.map(cut, record)

    return jax.vmap(piece)(keys, features)


def make_eval_step(model: TimbreModel) -> Callable[[Variables, Batch, Array, Array], Metrics]:
    """A pure function (variables, batch, key, kl_weight) -> sums over the batch of each metric times "weight" [B].

    "weight" is 1 for an example, 0 for what fills up the last batch; its sum comes along as "weight". Besides what
    `model.loss` gives, "mse" is of the reconstruction as a space makes it (`model.reconstruct`; not of models that draw
    noise), and "loss" the loss with one sample of z, of a key that belongs to the example: the same at every evaluation.
    """

    def eval_step(variables: Variables, batch: Batch, key: Array, kl_weight: Array) -> Metrics:
        features = like(batch_features(batch), variables["params"])
        keys = example_keys(key, batch["index"])[:, 0]
        loss, metrics = model.apply(
            variables, features, keys, kl_weight=kl_weight, train=False, **batch_labels(batch), method="loss"
        )
        metrics = {**metrics, "loss": loss, "weight": jnp.ones_like(loss)}
        if not model.stochastic_decoder:  # Drawn noise has its own samples, however right it sounds.
            again = model.reconstruct(variables, features)
            metrics["mse"] = jnp.mean(jnp.square(again.values - features.values), axis=(1, 2))
        return {name: jnp.sum(value * batch["weight"]) for name, value in metrics.items()}

    return eval_step


def example_keys(key: Array, index: Array | np.ndarray) -> Array:
    """Returns two keys for each example, [B, 2], that depend on its index alone."""
    return jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i)))(index)
