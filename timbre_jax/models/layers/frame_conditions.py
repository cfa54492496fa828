"""Conditions of a frame-wise model at the rate of its latents: curves [B, N] are pooled, repeated and delayed; [B] stay."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from timbre_jax.types import Array, Features


def is_curve(value: Array, count: int) -> bool:
    """Returns whether a condition has one value for each of `count` frames, not one for the whole sound."""
    return jnp.ndim(value) == 2 and value.shape[1] == count


def pool_curves(features: Features, stride: int) -> dict[str, Array]:
    """Returns the conditions with curves averaged over the frames of each latent, those within the mask only."""
    frames = features.values.shape[1]
    weight = features.mask.reshape(features.mask.shape[0], -1, stride)
    # Where a latent has no frame within the mask, the mean of what lies there.
    weight = jnp.where(jnp.sum(weight, -1, keepdims=True) > 0, weight, 1.0)

    def pooled(curve: Array) -> Array:
        return jnp.sum(curve.reshape(weight.shape) * weight, -1) / jnp.sum(weight, -1)

    return {name: pooled(x) if is_curve(x, frames) else x for name, x in features.conditions.items()}


def repeat_curves(conditions: Mapping[str, Array], count: int, stride: int) -> dict[str, Array]:
    """Returns the conditions of `count` latents with every value of a curve repeated for the `stride` frames of its latent."""
    return {name: jnp.repeat(x, stride, axis=1) if is_curve(x, count) else x for name, x in conditions.items()}


def delay_curves(
    waiting: Mapping[str, Array], new: Mapping[str, Array], defaults: Mapping[str, Array], shape: tuple[int, int]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Delays curves of a stream by as many frames as wait.

    Args:
      waiting: curves [B, K] of the blocks before, by name.
      new: conditions of this block; others than those in `waiting` are left out.
      defaults: value of each condition that the block lacks.
      shape: (B, N) of the block.

    Returns:
      Curves [B, N] that leave with this block, and the curves [B, K] that wait for the next.
    """
    curves, later = {}, {}
    for name, kept in waiting.items():
        value = new.get(name, defaults[name] * jnp.ones(shape))
        joined = jnp.concatenate([kept, jnp.broadcast_to(value.reshape(shape[0], -1), shape)], axis=1)
        curves[name], later[name] = joined[:, : shape[1]], joined[:, shape[1] :]
    return curves, later
