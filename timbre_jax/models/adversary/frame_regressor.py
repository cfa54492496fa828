"""What a series model removes from its latents by an adversary, and what its decoder is told instead.

Measured conditions (loudness in dB) are made uniform by their own distribution: a table of quantiles of the training set.
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from timbre_jax.models.layers.frame_layers import FrameStack
from timbre_jax.types import Array

QUANTILES = 257
"""Entries of a table: the 0th, 1/256th .. 256/256th quantile."""


def uniform(x: Array, table: Array) -> Array:
    """x of any shape to its place 0..1 in the distribution that a table [Q] of rising quantiles describes.

    A value that fills several quantiles (silence on the floor) gets the middle of its places.
    """
    places = jnp.linspace(0.0, 1.0, table.shape[0])
    step = 1e-4 * jnp.maximum(table[-1] - table[0], 1e-6)
    below, above = (jnp.interp(x + side, table, places) for side in (-step, step))
    return 0.5 * (below + above)


def standard_uniform(x: Array, table: Array) -> Array:
    """`uniform`, moved and scaled to mean 0 and variance 1: what the regressor predicts."""
    return (uniform(x, table) - 0.5) * math.sqrt(12.0)


def scaled(x: Array, table: Array) -> Array:
    """x less the mean of its distribution, over its standard deviation: linear, so that values beyond mean something too."""
    return (x - jnp.mean(table)) / jnp.maximum(jnp.std(table), 1e-6)


def quantile_table(values: np.ndarray) -> np.ndarray:
    """The table of values [n], float32 [QUANTILES]; those that are not finite are left out.

    Raises:
      ValueError: none is finite.
    """
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        raise ValueError("there are no values to take quantiles of")
    return np.quantile(values, np.linspace(0.0, 1.0, QUANTILES)).astype(np.float32)


class FrameRegressor(nn.Module):
    """Predicts something of every latent of a series from it and its neighbors: [B, M, D] to [B, M, outputs].

    Caillon et al. 2020: two convolutions over frames (64 and 256 channels, kernel 5), then dense 256-64-2, leaky ReLU between.

    Attributes:
      outputs: 2 for mean and log-variance; as many as there are classes for a label.
      convolutions, dense: channels.
      kernel: of the convolutions.
    """

    outputs: int = 2
    convolutions: tuple[int, ...] = (64, 256)
    dense: tuple[int, ...] = (64,)
    kernel: int = 5

    @nn.compact
    def __call__(self, z: Array, mask: Array) -> Array:
        x = z
        for features in self.convolutions:
            x = FrameStack((features,), kernel=self.kernel)(x, mask)[0]
            x = nn.leaky_relu(x, 0.2)
        for features in self.dense:
            x = nn.leaky_relu(nn.Dense(features)(x), 0.2)
        return nn.Dense(self.outputs)(x)


def regression_nll(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """-log N(target; mean, exp(log_variance)) of outputs [B, M, 2] in nats, and the squared error; [B, M] each.

    The log-variance lies in [-4, 4], bounded softly: a regressor that is too sure of itself makes gradients explode.
    """
    mean, log_variance = outputs[..., 0], 4.0 * jnp.tanh(0.25 * outputs[..., 1])
    error = jnp.square(targets - mean)
    return 0.5 * (math.log(2.0 * math.pi) + log_variance + error * jnp.exp(-log_variance)), error
