"""Playable axes of a space: latents rotated so that the first axes vary most.

The public code of Caillon et al. 2020 (acids-ircam/wavae at f73cf0a, make_wrapper.py) rotates latents by PCA; the paper does
not mention it. The latents of a network have no order, and most of them may have little effect. The rotation about the mean is
exactly invertible. A slider at 0.5 is near the mean, and moves over the range of the training sounds.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from timbre_jax.data.features import cached_features
from timbre_jax.data.store import JoinedStore, Store
from timbre_jax.inference.batched import map_batches
from timbre_jax.metrics.table import Table
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array

MAX_SOUNDS = 256
"""Largest number of sounds that axes are fitted to."""


@dataclasses.dataclass(frozen=True)
class Axes:
    """Rotation of latents about their mean, with axes in descending order of variance.

    Attributes:
      mean: mean [D] of the latents.
      directions: orthonormal axes [D, D], one per row; the largest entry of each is positive.
      deviation: standard deviation [D] along each axis.
      low: 1st percentile [D] along each axis, relative to the mean.
      high: 99th percentile [D] along each axis, relative to the mean.
    """

    mean: np.ndarray
    directions: np.ndarray
    deviation: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def share(self) -> np.ndarray:
        """Share [D] of the total variance along each axis."""
        variance = self.deviation.astype(np.float64) ** 2
        return variance / max(variance.sum(), 1e-30)

    def to_axes(self, values: Array) -> Array:
        """Converts latents [..., D] to coordinates on the axes, relative to the mean."""
        return (jnp.asarray(values) - self.mean) @ self.directions.T

    def from_axes(self, coordinates: Array) -> Array:
        """Converts coordinates [..., A] to latents [..., D], with axes beyond A at the mean.

        Raises:
          ValueError: there are more coordinates than axes, or none.
        """
        coordinates = jnp.asarray(coordinates)
        count = coordinates.shape[-1]
        if not 1 <= count <= len(self.mean):
            raise ValueError(f"axes: expected 1 to {len(self.mean)} coordinates (got {count})")
        return coordinates @ self.directions[:count] + self.mean

    def from_sliders(self, sliders: Array) -> Array:
        """Converts slider values [..., A] to latents [..., D]; 0 and 1 are the ends of each axis."""
        sliders = jnp.asarray(sliders)
        low, high = self.low[: sliders.shape[-1]], self.high[: sliders.shape[-1]]
        return self.from_axes(low + sliders * (high - low))

    def to_sliders(self, latents: Array) -> Array:
        """Converts latents [..., D] to slider values [..., D]; constant axes are at 0.5."""
        width = self.high - self.low
        sliders = (self.to_axes(latents) - self.low) / np.where(width > 0, width, 1.0)
        return jnp.where(width > 0, sliders, 0.5)

    def table(self) -> Table:
        """Returns a table with one row per axis."""
        rows = zip(
            range(len(self.mean)),
            *(x.astype(float).tolist() for x in (self.share, np.cumsum(self.share), self.deviation, self.low, self.high)),
            strict=True,
        )
        columns = ("axis", "share", "sum_of_shares", "std", "low", "high")
        caption = "Latent axes: share of the variance of the latents, and 1st and 99th percentile along each axis."
        return Table("axes", columns, tuple(rows), caption)


def fit_axes(latents: np.ndarray) -> Axes:
    """Fits axes to latents [K, D] of frames or sounds by PCA; ignores non-finite latents.

    Raises:
      ValueError: the latents have another shape, or fewer than two are finite.
    """
    latents = np.asarray(latents, np.float64)
    if latents.ndim != 2:
        raise ValueError(f"axes: expected latents [K, D] (got {latents.shape})")
    latents = latents[np.isfinite(latents).all(1)]
    if len(latents) < 2:
        raise ValueError(f"axes: expected at least 2 finite latents (got {len(latents)})")
    mean = latents.mean(0)
    centered = latents - mean
    variance, vectors = np.linalg.eigh(centered.T @ centered / len(latents))
    directions = vectors[:, ::-1].T
    # A direction and its opposite are the same axis, so the sign is fixed to give the same result on every machine.
    largest = directions[np.arange(len(directions)), np.abs(directions).argmax(1)]
    directions = directions * np.sign(largest)[:, None]
    low, high = np.percentile(centered @ directions.T, [1, 99], axis=0, method="hazen")
    deviation = np.sqrt(np.maximum(variance[::-1], 0.0))
    return Axes(*(np.asarray(x, np.float32) for x in (mean, directions, deviation, low, high)))


def measure_axes(space: TimbreSpace, store: Store | JoinedStore, split: str) -> Axes:
    """Fits the axes of a series space to the latents of a split of a store.

    At most `MAX_SOUNDS` sounds are used.

    Args:
      space: series space.
      store: store of the sounds.
      split: split of the sounds.

    Raises:
      ValueError: the store does not have the split, or has another sample rate.
    """
    source = cached_features(store, split, space.representation, progress=False)
    positions = np.unique(np.linspace(0, len(source) - 1, min(len(source), MAX_SOUNDS)).round().astype(int))
    latent = map_batches(lambda rows: space.encode(source.read(rows)), positions, batch_size=16)
    return fit_axes(latent.values[latent.mask > 0])
