"""Renders latents and features to waves in batches, and fits waves to a length and to full scale."""

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
    """Synthesizes any number of features to waves [M, T]."""
    return map_batches(space.synthesize, features, batch_size=16)


def resynthesize(space: TimbreSpace, features: Features) -> dict[str, np.ndarray]:
    """Synthesizes sounds from their features with and without the model; level and length are kept.

    Returns:
      Waves [M, T] by name. "reconstruction": through the latents. "representation": without the model, the upper bound of
      every model of this representation.
    """
    latents = encode_features(space, features, kind=None)
    decoded = decode_features(space, latents, frames=features.values.shape[1])
    return {"reconstruction": synthesize_features(space, decoded), "representation": synthesize_features(space, features)}


def without_clipping(waves: np.ndarray) -> np.ndarray:
    """Returns waves [..., T] with those that exceed [-1, 1] scaled to a peak of 1, the others unchanged."""
    return waves / np.maximum(np.abs(waves).max(axis=-1, keepdims=True, initial=0.0), 1.0)


def fit_length(waves: np.ndarray, samples: int) -> np.ndarray:
    """Returns waves [M, T] cut, or padded with silence, to `samples`."""
    return np.pad(waves[:, :samples], ((0, 0), (0, max(0, samples - waves.shape[1]))))
