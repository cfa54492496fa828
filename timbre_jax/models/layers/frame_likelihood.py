"""Gaussian likelihood of frames with predicted variances, plain or as beta-NLL."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from timbre_jax.types import Array, Features


class FrameNLL(NamedTuple):
    """Negative log-likelihood of sounds in nats per frame.

    Attributes:
      plain: [B], -log p(x | z).
      weighted: [B], with bins weighted by stop_gradient(sigma^(2 beta)) and a mean weight of 1 per sound (Seitzer et al. 2022).
      mean: [B, N, F] means of the prediction.
      mse: [B] mean squared error within the mask.
    """

    plain: Array
    weighted: Array
    mean: Array
    mse: Array


def frame_nll(outputs: Array, features: Features, beta: float) -> FrameNLL:
    """Computes the negative log-likelihood of features.

    Args:
      outputs: [B, N, 2 F] outputs of the decoder, means and raw log-variances.
      features: features with a mask.
      beta: exponent of the variance weighting; 0 for none.
    """
    mean, raw = jnp.split(outputs, 2, axis=-1)
    mask, count = features.mask[..., None], features.values.shape[1]
    log_variance = log_variance_of(raw)
    squares = jnp.square(features.values - mean) * mask
    terms = 0.5 * (squares * jnp.exp(-log_variance) + (log_variance + math.log(2.0 * math.pi)) * mask)
    plain = jnp.sum(terms, (1, 2)) / count
    frames = jnp.maximum(jnp.sum(features.mask, 1), 1.0)
    weighted = plain
    if beta:
        weights = jnp.exp(beta * jax.lax.stop_gradient(log_variance)) * mask
        size = jnp.maximum(jnp.sum(weights, (1, 2)), 1e-12) / (frames * features.values.shape[2])
        weighted = jnp.sum(terms * weights, (1, 2)) / (size * count)
    return FrameNLL(plain, weighted, mean, jnp.sum(jnp.mean(squares, -1), 1) / frames)


def log_variance_of(raw: Array) -> Array:
    """Maps raw outputs to log-variances in [-10, 0].

    -10 sigmoid(raw - 0.85) is a soft bound whose gradient never vanishes. A raw output of 0 gives -3, a typical value after a
    short training.
    """
    return -10.0 * jax.nn.sigmoid(raw - 0.8473)
