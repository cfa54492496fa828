"""Regressors of conditions from latent series, and scaling of conditions by quantiles.

A table of quantiles in the training set maps measured conditions (loudness in dB) to a uniform distribution.
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from timbre_jax.models.layers.frame_layers import FrameStack
from timbre_jax.types import Array

QUANTILES = 257
"""Number of entries of a quantile table, at levels 0, 1/256, ..., 1."""


def to_uniform(x: Array, table: Array) -> Array:
    """Maps x to its level 0..1 in the distribution of a quantile table.

    A value that spans several quantiles (such as the floor of silence) gets the mean of their levels.

    Args:
      x: array of any shape.
      table: [Q] quantiles in ascending order.
    """
    places = jnp.linspace(0.0, 1.0, table.shape[0])
    step = 1e-4 * jnp.maximum(table[-1] - table[0], 1e-6)
    below, above = (jnp.interp(x + side, table, places) for side in (-step, step))
    return 0.5 * (below + above)


def to_standard_uniform(x: Array, table: Array) -> Array:
    """Returns `to_uniform` scaled to mean 0 and variance 1, the target of the regressors."""
    return (to_uniform(x, table) - 0.5) * math.sqrt(12.0)


def standardize(x: Array, table: Array) -> Array:
    """Scales x linearly to mean 0 and variance 1 in the distribution of a quantile table."""
    return (x - jnp.mean(table)) / jnp.maximum(jnp.std(table), 1e-6)


def quantile_table(values: np.ndarray) -> np.ndarray:
    """Returns the quantiles of the finite values [n], float32 [QUANTILES].

    Raises:
      ValueError: no value is finite.
    """
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        raise ValueError("quantile table: needs at least one finite value (got none)")
    return np.quantile(values, np.linspace(0.0, 1.0, QUANTILES)).astype(np.float32)


class FrameRegressor(nn.Module):
    """Network that predicts a condition from latents and their neighbors.

    It maps [B, M, D] to [B, M, outputs]. The defaults are those of the public code of Caillon et al. 2020 (acids-ircam/wavae at
    f73cf0a): two convolutions (64 and 256 channels, kernel 5) and dense layers 256-64-2.

    Attributes:
      outputs: 2 (mean and log-variance) for a measured condition, or the number of labels.
      convolutions: channels of the convolutions.
      dense: units of the hidden dense layers.
      kernel: kernel size of the convolutions.
    """

    outputs: int = 2
    convolutions: tuple[int, ...] = (64, 256)
    dense: tuple[int, ...] = (64,)
    kernel: int = 5

    @nn.compact
    def __call__(self, z: Array, mask: Array) -> Array:
        """Returns predictions [B, M, outputs] of latents [B, M, D] with mask [B, M]."""
        x = z
        for features in self.convolutions:
            x = FrameStack((features,), kernel=self.kernel)(x, mask)[0]
            x = nn.leaky_relu(x, 0.2)
        for features in self.dense:
            x = nn.leaky_relu(nn.Dense(features)(x), 0.2)
        return nn.Dense(self.outputs)(x)


def regression_nll(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """Returns Gaussian negative log-likelihood in nats and squared error, [B, M] each.

    Args:
      outputs: [B, M, 2] mean and raw log-variance, bounded softly to [-4, 4], since overconfident regressors make gradients
        explode.
      targets: [B, M].
    """
    mean, log_variance = outputs[..., 0], 4.0 * jnp.tanh(0.25 * outputs[..., 1])
    error = jnp.square(targets - mean)
    return 0.5 * (math.log(2.0 * math.pi) + log_variance + error * jnp.exp(-log_variance)), error
