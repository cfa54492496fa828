"""Resampling and delay of condition curves [B, N] between the rates of frames and latents."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from timbre_jax.types import Array, Features


def is_curve(value: Array, count: int) -> bool:
    """Returns whether a condition has one value per frame, not one per sound."""
    return jnp.ndim(value) == 2 and value.shape[1] == count


def pool_curves(features: Features, stride: int) -> dict[str, Array]:
    """Returns conditions with curves averaged over the unmasked frames of each latent."""
    frames = features.values.shape[1]
    weight = features.mask.reshape(features.mask.shape[0], -1, stride)
    # Latents without a frame within the mask get the mean of their masked frames.
    weight = jnp.where(jnp.sum(weight, -1, keepdims=True) > 0, weight, 1.0)

    def pooled(curve: Array) -> Array:
        return jnp.sum(curve.reshape(weight.shape) * weight, -1) / jnp.sum(weight, -1)

    return {name: pooled(x) if is_curve(x, frames) else x for name, x in features.conditions.items()}


def repeat_curves(conditions: Mapping[str, Array], count: int, stride: int) -> dict[str, Array]:
    """Returns conditions of `count` latents with the values of curves repeated."""
    return {name: jnp.repeat(x, stride, axis=1) if is_curve(x, count) else x for name, x in conditions.items()}


def delay_curves(
    waiting: Mapping[str, Array], new: Mapping[str, Array], defaults: Mapping[str, Array], shape: tuple[int, int]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Delays the curves of a stream by K frames.

    Args:
      waiting: curves [B, K] of the previous blocks, by name.
      new: conditions of this block; those that are not in `waiting` are ignored.
      defaults: values of the conditions that the block may lack.
      shape: (B, N) of the block.

    Returns:
      The delayed curves [B, N] and the curves [B, K] that wait for the next block.
    """
    curves, later = {}, {}
    for name, kept in waiting.items():
        value = new.get(name, defaults[name] * jnp.ones(shape))
        joined = jnp.concatenate([kept, jnp.broadcast_to(value.reshape(shape[0], -1), shape)], axis=1)
        curves[name], later[name] = joined[:, : shape[1]], joined[:, shape[1] :]
    return curves, later


def missing_condition_message(name: str, setting: str, conditions: Mapping[str, Array]) -> str:
    """Returns the message for a condition that a setting names and the features lack."""
    present = ", ".join(sorted(conditions)) or "none"
    return (
        f"model 'frame_vae': {setting} names {name!r}, which is no condition of the features (they have: {present}); "
        "config.representation.loudness=True adds loudness, config.data.labels adds labels"
    )
