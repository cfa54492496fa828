"""Playable axes of a space: its latents turned so that the first axis varies most, with the range of each.

Caillon et al. 2020 turn the latents by a PCA for their interfaces: the network's own axes come in no order, and most of them
may say nothing. Here a turn is exact both ways (a rotation about the mean), whatever the number of axes, so that all that works
on latents works on axes; a slider at 0 is the mean, and runs over the range that the sounds themselves fill.
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

MOST_SOUNDS = 256


@dataclasses.dataclass(frozen=True)
class Axes:
    """A rotation of latents about their mean, ordered by variance.

    Attributes:
      mean: [D] of the latents.
      directions: [D, D] orthonormal, one axis a row. Each points where its largest entry is positive.
      deviation: [D] standard deviation along each axis, falling.
      low, high: [D] the 1st and 99th percentile along each axis, in the units of the latents, about 0.
    """

    mean: np.ndarray
    directions: np.ndarray
    deviation: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def share(self) -> np.ndarray:
        """[D] part of the latents' whole variance along each axis."""
        variance = self.deviation.astype(np.float64) ** 2
        return variance / max(variance.sum(), 1e-30)

    def to_axes(self, values: Array) -> Array:
        """Returns the coordinates of latents [..., D] on the axes; 0 is the mean."""
        return (jnp.asarray(values) - self.mean) @ self.directions.T

    def from_axes(self, coordinates: Array) -> Array:
        """Returns the latents of coordinates [..., A]; axes beyond the first A are at the mean.

        Raises:
          ValueError: more coordinates than axes.
        """
        coordinates = jnp.asarray(coordinates)
        count = coordinates.shape[-1]
        if not 1 <= count <= len(self.mean):
            raise ValueError(f"a space of {len(self.mean)} axes takes 1 to {len(self.mean)} coordinates, not {count}")
        return coordinates @ self.directions[:count] + self.mean

    def from_sliders(self, sliders: Array) -> Array:
        """Sliders [..., A] in 0..1 to latents: 0 and 1 are the ends of each axis' range. Beyond, the line goes on."""
        sliders = jnp.asarray(sliders)
        low, high = self.low[: sliders.shape[-1]], self.high[: sliders.shape[-1]]
        return self.from_axes(low + sliders * (high - low))

    def to_sliders(self, latents: Array) -> Array:
        """The way back, [..., D] each. An axis without any range is at 0.5."""
        width = self.high - self.low
        place = (self.to_axes(latents) - self.low) / np.where(width > 0, width, 1.0)
        return jnp.where(width > 0, place, 0.5)

    def table(self) -> Table:
        """One row an axis."""
        rows = zip(
            range(1, len(self.mean) + 1),
            *(x.astype(float).tolist() for x in (self.share, np.cumsum(self.share), self.deviation, self.low, self.high)),
            strict=True,
        )
        columns = ("axis", "share", "sum_of_shares", "std", "low", "high")
        caption = "Playable axes: part of the latents' variance, and the 1st to 99th percentile along each."
        return Table("axes", columns, tuple(rows), caption)


def fit_axes(latents: np.ndarray, *, weights: np.ndarray | None = None) -> Axes:
    """The axes of latents [K, D] (frames of a series, or sounds), each counted `weights` [K] times (None: once).

    Raises:
      ValueError: not [K, D], fewer than two latents, or none that is finite.
    """
    latents = np.asarray(latents, np.float64)
    if latents.ndim != 2:
        raise ValueError(f"axes are fitted to latents [K, D], not {latents.shape}")
    weights = np.ones(len(latents)) if weights is None else np.asarray(weights, np.float64)
    good = np.isfinite(latents).all(1) & (weights > 0)
    latents, weights = latents[good], weights[good]
    if len(latents) < 2:
        raise ValueError(f"axes need at least 2 finite latents, there are {len(latents)}")
    weights = weights / weights.sum()
    mean = weights @ latents
    centered = latents - mean
    variance, vectors = np.linalg.eigh((centered * weights[:, None]).T @ centered)
    directions = vectors[:, ::-1].T
    # A direction and its opposite are the same axis: one sign for every machine.
    largest = directions[np.arange(len(directions)), np.abs(directions).argmax(1)]
    directions = directions * np.sign(largest)[:, None]
    low, high = _percentiles(centered @ directions.T, weights)
    deviation = np.sqrt(np.maximum(variance[::-1], 0.0))
    return Axes(*(np.asarray(x, np.float32) for x in (mean, directions, deviation, low, high)))


def _percentiles(coordinates: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1st and 99th weighted percentile of every column."""
    ends = []
    for column in coordinates.T:
        order = np.argsort(column)
        places = np.cumsum(weights[order]) - 0.5 * weights[order]
        ends.append(np.interp([0.01, 0.99], places, column[order]))
    low, high = np.array(ends).T
    return low, high


def axes_of(space: TimbreSpace, store: Store | JoinedStore, split: str) -> Axes:
    """Fits the axes of a series space to the latents of at most 256 sounds of a split.

    Raises:
      ValueError: no such split, or features of another sample rate.
    """
    source = cached_features(store, split, space.representation, progress=False)
    positions = np.unique(np.linspace(0, len(source) - 1, min(len(source), MOST_SOUNDS)).round().astype(int))
    latent = map_batches(lambda rows: space.encode(source.read(rows)), positions, batch_size=16)
    return fit_axes(latent.values[latent.mask > 0])
