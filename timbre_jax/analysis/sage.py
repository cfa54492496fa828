"""SAGE: how much a decoder relies on each latent over a whole set of sounds."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.analysis.attribution import antithetic_orders, share_table
from timbre_jax.analysis.decoding import decoded_images
from timbre_jax.inference.batched import default_batch, encode_features, map_batches, take
from timbre_jax.metrics.reconstruction import common_values
from timbre_jax.metrics.table import Table
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Features, Latent


@dataclasses.dataclass(frozen=True)
class Sage:
    """Global importance of the latents.

    Attributes:
      values: [D]: by how much knowing latent d lowers the expected MSE, shared out fairly; they sum to
        loss(no latent known) - loss(all known).
      errors: [D], standard errors of the sampling.
      shares: [M, D], every note's own mean over its orders: for intervals over instruments.
      none, full: expected MSE with no latent known (the mean of decoded random latents) and with all.
      background: draws that stand for an unknown latent.
    """

    values: np.ndarray
    errors: np.ndarray
    shares: np.ndarray
    none: float
    full: float
    background: int

    def table(self, groups: np.ndarray | None = None) -> Table:
        """One row a latent, with intervals over groups (instruments)."""
        caption = f"Expected MSE falls from {self.none:.5g} (no latent known) to {self.full:.5g} (all known)."
        return share_table("sage", self.shares, self.none - self.full, self.errors, groups, caption)


def sage(
    space: TimbreSpace,
    features: Features,
    *,
    background: np.ndarray | None = None,
    draws: int = 16,
    orders: int = 2,
    seed: int = 0,
    batch_size: int | None = None,
) -> Sage:
    """SAGE values by sampled permutations with marginal sampling (Covert, Lundberg & Lee 2020, algorithm 1).

    v(S) = - E over notes of MSE(mean over draws of decode(z_S, z'_rest), note), where the unknown latents z' are drawn
    whole from other notes. Unlike a baseline at 0 or at the mean, the decoder is only asked about combinations of
    values that occur, and what it says is averaged before it is compared, as the definition wants. With K draws, the
    variance of that mean adds to the loss: shares are up to 1 / K too large, of all latents alike.

    Args:
      space: a static space.
      features: of M notes.
      background: [P, D] latents to draw from; None: those of the notes themselves.
      draws: K draws averaged for each prediction.
      orders: random orders a note, each followed by its reverse.
      batch_size: sounds decoded at once, `draws` of them for every prediction.
    """
    notes = encode_features(space, features)
    count, size = notes.values.shape
    pool = np.asarray(notes.values if background is None else background, np.float32)
    generator = np.random.default_rng(seed)
    target = jax.tree.map(np.asarray, features)

    rank, on = antithetic_orders(generator, count, orders, size)
    # The same strangers through all steps of an order: the noise of the draws cancels in the differences.
    strangers = pool[generator.integers(len(pool), size=(count, orders, 1, 1, draws))]
    strangers = np.broadcast_to(strangers, (count, orders, 2, size + 1, draws, size))
    known = notes.values[:, None, None, None, None, :]
    values = np.where(on[..., None, :], known, strangers).reshape(-1, draws, size)
    rows = np.repeat(np.arange(count), len(values) // count)

    def losses_of(row: np.ndarray, mixed: np.ndarray) -> Array:
        some = take(notes, np.repeat(row, draws)).replace(values=mixed.reshape(-1, size))
        return _mean_prediction_loss(space, some, target.values[row], target.mask[row])

    together = max(1, (batch_size or default_batch()) // draws)
    losses = map_batches(losses_of, rows, values, batch_size=together)
    loss = losses.astype(np.float64).reshape(count, orders, 2, size + 1)
    gain = np.take_along_axis(-np.diff(loss, axis=-1), rank, axis=-1).mean(2)
    pairs = gain.reshape(-1, size)
    errors = pairs.std(0, ddof=1) / math.sqrt(len(pairs)) if len(pairs) > 1 else np.full(size, np.nan)
    return Sage(pairs.mean(0), errors, gain.mean(1), float(loss[..., 0].mean()), float(loss[..., -1].mean()), draws)


@jax.jit
def _mean_prediction_loss(space: TimbreSpace, latent: Latent, target: Array, mask: Array) -> Array:
    decoded = decoded_images(space, latent)
    mean = jnp.mean(decoded.reshape(len(target), -1, *decoded.shape[1:]), axis=1)
    wanted = common_values(space.representation, target)
    error = jnp.mean(jnp.square(mean - wanted), axis=-1)
    return jnp.sum(error * mask, axis=-1) / jnp.maximum(jnp.sum(mask, axis=-1), 1.0)
