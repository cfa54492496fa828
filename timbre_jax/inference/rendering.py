"""Renders latents and features to waves, and adjusts the length and peak of waves."""

from __future__ import annotations

import numpy as np

from timbre_jax.inference.batched import decode_features, decode_values, encode_features, map_batches
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features


def render_values(space: TimbreSpace, values: np.ndarray) -> np.ndarray:
    """Renders latents [V, D] to waves [V, T]."""
    return synthesize_values(space, decode_values(space, space.latent(np.asarray(values, np.float32))))


def synthesize_values(space: TimbreSpace, values: np.ndarray) -> np.ndarray:
    """Synthesizes feature values [V, N, F] of whole length to waves [V, T]."""
    mask = np.ones(values.shape[:2], np.float32)
    return synthesize_features(space, Features(values=values, mask=mask, rate=space.representation.rate))


def synthesize_features(space: TimbreSpace, features: Features) -> np.ndarray:
    """Synthesizes any number of features to waves [M, T], in batches of equal size."""
    return map_batches(space.synthesize, features, batch_size=16)


def resynthesize(space: TimbreSpace, features: Features) -> dict[str, np.ndarray]:
    """Synthesizes sounds from their features, with and without the model.

    Both waves have the level and length of the sounds.

    Returns:
      Waves [M, T] by name: "reconstruction" from the decoded latents, and "representation" from the features themselves, the
      upper bound of all models on this representation.
    """
    latents = encode_features(space, features, kind=None)
    decoded = decode_features(space, latents, frames=features.values.shape[1])
    return {"reconstruction": synthesize_features(space, decoded), "representation": synthesize_features(space, features)}


def without_clipping(waves: np.ndarray) -> np.ndarray:
    """Scales waves [..., T] with a peak above 1 to a peak of 1, and keeps the others."""
    return waves / np.maximum(np.abs(waves).max(axis=-1, keepdims=True, initial=0.0), 1.0)


def fit_length(waves: np.ndarray, samples: int) -> np.ndarray:
    """Cuts waves [M, T] to a number of samples, or pads them with silence."""
    return np.pad(waves[:, :samples], ((0, 0), (0, max(0, samples - waves.shape[1]))))
