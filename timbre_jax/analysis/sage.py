"""SAGE: global importance of the latents for the decoder over a set of sounds."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.analysis.attribution import antithetic_orders, share_table
from timbre_jax.analysis.decoding import decoded_images
from timbre_jax.inference.batched import default_batch_size, encode_features, map_batches, take
from timbre_jax.metrics.reconstruction import common_values
from timbre_jax.metrics.table import Table
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Features, Latent


@dataclasses.dataclass(frozen=True)
class Sage:
    """Global importance of the latents.

    Attributes:
      values: SAGE values [D], the decrease of the expected MSE when latent d is known; they sum to `none` - `full`.
      errors: standard errors [D] of the sampling.
      shares: values [M, D] of each sound, for intervals over instruments.
      none: expected MSE with no latent known (the mean of decoded background latents).
      full: expected MSE with all latents known.
      background: background samples that replace an unknown latent.
    """

    values: np.ndarray
    errors: np.ndarray
    shares: np.ndarray
    none: float
    full: float
    background: int

    def table(self, groups: np.ndarray | None = None) -> Table:
        """Returns the value of every latent with its interval over groups [M] (instruments)."""
        caption = (
            f"Decrease of the expected MSE by each latent, from {self.none:.4g} (no latent known) to {self.full:.4g} (all "
            "known); higher is more important."
        )
        return share_table("sage", self.shares, self.none - self.full, self.errors, groups, caption)


def sage(
    space: TimbreSpace,
    features: Features,
    *,
    background: np.ndarray | None = None,
    samples: int = 16,
    orders: int = 2,
    seed: int = 0,
    batch_size: int | None = None,
) -> Sage:
    """Returns SAGE values by permutation sampling (Covert, Lundberg & Lee 2020, algorithm 1).

        v(S) = -E over sounds of MSE(mean over samples of decode(z_S, z'_rest), sound)

    The unknown latents z' are those of a random background sound. Unlike a baseline of 0 or the mean, they are a combination
    that occurs in the data, and the predictions are averaged before the comparison. With K samples, the variance of that mean
    adds up to 1 / K of the share of each latent.

    Args:
      space: a static space.
      features: features of M sounds in the representation of the space.
      background: latents [P, D] to sample from; None: the latents of the sounds themselves.
      samples: K, background sounds averaged in each prediction.
      orders: random orders for each sound, each followed by its reverse.
      seed: random seed of orders and background.
      batch_size: sounds decoded at once, K of them for each prediction; None: `inference.batched.default_batch_size`.
    """
    latent = encode_features(space, features)
    count, size = latent.values.shape
    pool = np.asarray(latent.values if background is None else background, np.float32)
    generator = np.random.default_rng(seed)
    target = jax.tree.map(np.asarray, features)

    rank, present = antithetic_orders(generator, count, orders, size)
    # All steps of an order share their background sounds, so that the sampling noise cancels in the differences.
    unknown = pool[generator.integers(len(pool), size=(count, orders, 1, 1, samples))]
    unknown = np.broadcast_to(unknown, (count, orders, 2, size + 1, samples, size))
    known = latent.values[:, None, None, None, None, :]
    values = np.where(present[..., None, :], known, unknown).reshape(-1, samples, size)
    rows = np.repeat(np.arange(count), len(values) // count)

    def losses_of(row: np.ndarray, mixed: np.ndarray) -> Array:
        batch = take(latent, np.repeat(row, samples)).replace(values=mixed.reshape(-1, size))
        return _mean_prediction_loss(space, batch, target.values[row], target.mask[row])

    together = max(1, (batch_size or default_batch_size()) // samples)
    losses = map_batches(losses_of, rows, values, batch_size=together)
    loss = losses.astype(np.float64).reshape(count, orders, 2, size + 1)
    gain = np.take_along_axis(-np.diff(loss, axis=-1), rank, axis=-1).mean(2)
    pairs = gain.reshape(-1, size)
    errors = pairs.std(0, ddof=1) / math.sqrt(len(pairs)) if len(pairs) > 1 else np.full(size, np.nan)
    return Sage(pairs.mean(0), errors, gain.mean(1), float(loss[..., 0].mean()), float(loss[..., -1].mean()), samples)


@jax.jit
def _mean_prediction_loss(space: TimbreSpace, latent: Latent, target: Array, mask: Array) -> Array:
    decoded = decoded_images(space, latent)
    mean = jnp.mean(decoded.reshape(len(target), -1, *decoded.shape[1:]), axis=1)
    error = jnp.mean(jnp.square(mean - common_values(space.representation, target)), axis=-1)
    return jnp.sum(error * mask, axis=-1) / jnp.maximum(jnp.sum(mask, axis=-1), 1.0)
