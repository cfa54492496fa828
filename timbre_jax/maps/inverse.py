"""Inverses of maps: functions from map points to latents, exact at the sounds.

Map coordinates are in [0, 1] (`unit_square`).
"""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.inference.batched import map_batches
from timbre_jax.types import Array

REACH = 0.5
"""Distance outside [0, 1] up to which points are evaluated; points farther away are clipped."""


class _BaseInverse:
    """Base class of inverses with `coordinates` [P, 2], `holder` [P] and `latents_at`."""

    holder: Any

    def __call__(self, xy) -> tuple[np.ndarray, np.ndarray]:
        """Returns latents [M, D] at points [M, 2], and distances [M] to the nearest sound.

        Points are clipped to [-0.5, 1.5] before evaluation, but not for the distances.

        Raises:
          ValueError: points of another shape, or not finite.
        """
        latents, distances, _ = self._evaluate(xy)
        return latents, distances

    def nearest(self, xy) -> np.ndarray:
        """Returns the row [M] of the sound nearest to each point [M, 2], the first of equal ones."""
        return self._evaluate(xy)[2]

    @property
    def shared(self) -> dict[int, list[int]]:
        """Sounds with equal coordinates: the first sound and the others."""
        groups: dict[int, list[int]] = {}
        for sound, first in enumerate(np.asarray(self.holder).tolist()):
            if first != sound:
                groups.setdefault(first, []).append(sound)
        return groups

    def _evaluate(self, xy) -> tuple[np.ndarray, ...]:
        return map_batches(lambda points: _evaluate_batch(self, points), map_points(xy), batch_size=1024)


@flax.struct.dataclass
class KernelInverse(_BaseInverse):
    """Kernel regression of latents that is exact at every sound. A pytree of arrays.

        f(x) = m(x) + b(|x - x_n| / r_n) (z_n - m(x_n)),   x_n the sound nearest to x,   b(t) = (1 - t^2)^2 for t < 1, else 0
        m(x) = sum_i k_i(x) z_i / sum_i k_i(x),            k_i(x) = exp(-|(x - x_i) / width|^2 / 2)

    m is the Nadaraya-Watson estimate. The second term corrects it within a disc around each sound. The radius r_n is half the
    distance to the next sound and at most half a width, so that discs do not overlap and f is as smooth as m. Far from all
    sounds, m approaches the latent of the nearest sound, so that f is bounded by the latents of the library.

    Attributes:
      coordinates: map coordinates [P, 2] of the sounds, in [0, 1].
      latents: latents [P, D] of the sounds.
      widths: widths [2] of the kernel along both axes, in map units.
      corrections: z_i - m(x_i), [P, D].
      radii: radii [P] of the discs, in widths.
      holder: int32 [P], the sound whose latent f returns at sound i: i itself, or the first sound with equal coordinates.
    """

    coordinates: Array
    latents: Array
    widths: Array
    corrections: Array
    radii: Array
    holder: Array

    def latents_at(self, xy: Array) -> Array:
        """Returns latents [M, D] at points [M, 2]; differentiable except at the sounds."""
        squared = _squared_distances(xy, self.coordinates, self.widths)
        smooth = _regress(squared, self.latents)
        nearest = self.holder[jnp.argmin(squared, axis=1)]
        least = jnp.min(squared, axis=1)
        share = least / jnp.square(self.radii[nearest])
        falloff = jnp.where(share < 1.0, jnp.square(1.0 - share), 0.0)
        corrected = smooth + falloff[:, None] * self.corrections[nearest]
        # The sum may round, so that a sound gets exactly its own latent.
        return jnp.where((least == 0.0)[:, None], self.latents[nearest], corrected)


@flax.struct.dataclass
class LinearInverse(_BaseInverse):
    """Inverse of PCA: z = mean + (low + x (high - low)) directions.

    It is exact only in spaces with two dimensions.

    Attributes:
      coordinates: map coordinates [P, 2] of the sounds, in [0, 1], for distances only.
      low: projections [2] at map coordinate 0.
      high: projections [2] at map coordinate 1.
      directions: [2, D].
      mean: [D].
    """

    coordinates: Array
    low: Array
    high: Array
    directions: Array
    mean: Array

    @property
    def holder(self) -> np.ndarray:
        """Index [P] of every sound, int32."""
        return np.arange(len(self.coordinates), dtype=np.int32)

    def latents_at(self, xy: Array) -> Array:
        """Returns latents [M, D] at points [M, 2]."""
        return (self.low + xy * (self.high - self.low)) @ self.directions + self.mean


InverseMap = KernelInverse | LinearInverse


def map_points(xy) -> np.ndarray:
    """Returns points as float32 [M, 2].

    Raises:
      ValueError: another shape, no point, or a coordinate that is not finite.
    """
    try:
        xy = np.atleast_2d(np.asarray(xy, np.float64))
    except (TypeError, ValueError):
        raise ValueError("map points: must be pairs of numbers x, y") from None
    if xy.ndim != 2 or xy.shape[1] != 2 or not len(xy):
        raise ValueError(f"map points: must be [M, 2] (got {xy.shape})")
    if not np.isfinite(xy).all():
        x, y = xy[~np.isfinite(xy).all(1)][0]
        raise ValueError(f"map points: must be finite, usually from 0 to 1 (got {x}, {y})")
    # The square of a larger distance overflows float32.
    return np.clip(xy, -1e6, 1e6).astype(np.float32)


def unit_square(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scales points [M, 2] to [0, 1] along each axis, as in Rebnord 2022.

    A constant axis becomes 0.5.

    Returns:
      The scaled points, and the values [2] that are mapped to 0 and to 1.
    """
    points = np.asarray(points, np.float64)
    low, high = points.min(0), points.max(0)
    flat = high - low <= 1e-12 * np.maximum(np.abs(high), 1e-30)
    low, high = np.where(flat, low - 0.5, low), np.where(flat, high + 0.5, high)
    return ((points - low) / (high - low)).astype(np.float32), low, high


def kernel_inverse(coordinates: np.ndarray, latents: np.ndarray, *, widths: np.ndarray | float | None = None) -> KernelInverse:
    """Fits the inverse of a map of sounds.

    Args:
      coordinates: [P, 2] in [0, 1].
      latents: [P, D].
      widths: widths of the kernel in map units, one number or one for each axis; None: `best_width`.

    Raises:
      ValueError: shapes that do not match, no sounds, numbers that are not finite, or widths that are not positive.
    """
    coordinates, latents = map_points(coordinates), np.asarray(latents, np.float32)
    if latents.ndim != 2 or len(latents) != len(coordinates):
        raise ValueError(f"latents: must be [{len(coordinates)}, D] for {len(coordinates)} sounds (got {latents.shape})")
    if not np.isfinite(latents).all():
        raise ValueError(f"latents: {np.count_nonzero(~np.isfinite(latents).all(1))} of {len(latents)} sounds are not finite")
    if widths is None:
        widths = best_width(coordinates, latents)
    widths = np.broadcast_to(np.asarray(widths, np.float32), (2,)).copy()
    if not (np.isfinite(widths).all() and (widths > 0).all()):
        raise ValueError(f"widths: must be positive (got {widths.tolist()})")
    _, first, group = np.unique(coordinates, axis=0, return_index=True, return_inverse=True)
    holder = first[group.reshape(-1)].astype(np.int32)
    smooth, nearest = np.empty_like(latents), np.empty(len(latents), np.float32)
    for rows in _chunks(len(latents)):
        smooth[rows], nearest[rows] = (
            np.asarray(x) for x in _regress_at_sounds(coordinates[rows], coordinates, latents, widths)
        )
    radii = np.minimum(0.5 * np.sqrt(nearest), 0.5)
    return KernelInverse(
        *(jnp.asarray(x) for x in (coordinates, latents, widths, latents - smooth, np.maximum(radii, 1e-20), holder))
    )


def best_width(coordinates: np.ndarray, latents: np.ndarray, *, most: int = 2000) -> float:
    """Selects the kernel width by leave-one-out cross-validation.

    Twelve widths are compared, from a quarter to sixteen times the median distance between neighboring sounds.

    Args:
      coordinates: [P, 2] in [0, 1].
      latents: [P, D].
      most: largest number of sounds to predict, evenly spaced.

    Returns:
      The width in map units.
    """
    coordinates, latents = np.asarray(coordinates, np.float32), np.asarray(latents, np.float32)
    distinct = np.unique(coordinates, axis=0)
    if len(distinct) < 2:
        return 1.0
    rows = np.unique(np.linspace(0, len(coordinates) - 1, min(most, len(coordinates))).astype(np.int64))
    steps = [
        np.sqrt(np.asarray(_regress_at_sounds(distinct[part], distinct, distinct, np.ones(2, np.float32))[1]))
        for part in _chunks(len(distinct))
    ]
    candidates = float(np.median(np.concatenate(steps))) * np.geomspace(0.25, 16.0, 12)
    errors = np.zeros(len(candidates))
    for part in _chunks(len(rows)):
        selected = rows[part]
        for i, width in enumerate(candidates):
            errors[i] += float(_left_out_error(selected, coordinates, latents, np.float32(width)))
    return float(candidates[int(np.argmin(errors))])


def linear_inverse(coordinates: np.ndarray, low, high, directions: np.ndarray, mean: np.ndarray) -> LinearInverse:
    """Returns the inverse of PCA from results of `unit_square` and `projection.pca_map`."""
    return LinearInverse(*(jnp.asarray(np.asarray(x, np.float32)) for x in (coordinates, low, high, directions, mean)))


def place(inverse: InverseMap, latents: np.ndarray, *, resolution: int = 96) -> np.ndarray:
    """Places other sounds on the map at the points whose latents are nearest to their own.

    The search compares the sounds of the map and a grid of points over [0, 1], and then refines the best point in three steps,
    each with a third of the previous spacing. It is deterministic; a sound of the map is placed at its own coordinates.

    Args:
      inverse: inverse of the map.
      latents: [Q, D].
      resolution: points of the grid along each axis.

    Returns:
      Map points [Q, 2].

    Raises:
      ValueError: latents of another shape, or not finite.
    """
    latents = np.asarray(latents, np.float32)
    size = np.asarray(inverse.latents_at(inverse.coordinates[:1])).shape[1]
    if latents.ndim != 2 or latents.shape[1] != size or not np.isfinite(latents).all():
        raise ValueError(f"latents: must be finite [Q, {size}] (got {latents.shape})")
    axis = np.linspace(0.0, 1.0, resolution, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    candidates = np.concatenate([np.asarray(inverse.coordinates), grid])
    candidate_latents = _latents_of(inverse, candidates)
    # In parts, to limit the memory for large libraries.
    return np.concatenate(
        [_place_part(inverse, latents[rows], candidates, candidate_latents, resolution) for rows in _chunks(len(latents))]
    )


def _place_part(inverse, latents, candidates, candidate_latents, resolution) -> np.ndarray:
    nearest = np.asarray(_closest(latents, candidate_latents))
    best, error = candidates[nearest], np.linalg.norm(candidate_latents[nearest] - latents, axis=1)
    offsets = np.stack(np.meshgrid(*2 * [np.linspace(-1, 1, 7, dtype=np.float32)], indexing="ij"), -1).reshape(-1, 2)
    step = 1.0 / (resolution - 1)
    for _ in range(3):
        around = np.clip(best[:, None] + step * offsets, 0.0, 1.0)
        candidates_around = _latents_of(inverse, around.reshape(-1, 2)).reshape(*around.shape[:2], -1)
        errors = np.linalg.norm(candidates_around - latents[:, None], axis=2)
        choice = errors.argmin(1)
        rows = np.arange(len(best))
        better = errors[rows, choice] < error
        best = np.where(better[:, None], around[rows, choice], best)
        error = np.minimum(error, errors[rows, choice])
        step /= 3.0
    return best.astype(np.float32)


def _latents_of(inverse: InverseMap, xy: np.ndarray) -> np.ndarray:
    return map_batches(lambda points: _latents_at(inverse, points), xy, batch_size=512)


def _chunks(count: int, size: int = 512):
    return [np.arange(start, min(start + size, count)) for start in range(0, count, size)]


def _squared_distances(xy: Array, coordinates: Array, widths: Array) -> Array:
    """Returns squared distances [M, P] in widths, exactly 0 from a sound to itself."""
    x, y = (jnp.square((xy[:, axis, None] - coordinates[None, :, axis]) / widths[axis]) for axis in (0, 1))
    return x + y


def _regress(squared: Array, latents: Array) -> Array:
    return jax.nn.softmax(-0.5 * squared, axis=1) @ latents


@jax.jit
def _evaluate_batch(inverse: InverseMap, xy: Array):
    latents = inverse.latents_at(jnp.clip(xy, -REACH, 1.0 + REACH))
    squared = _squared_distances(xy, inverse.coordinates, jnp.ones(2))
    return latents, jnp.sqrt(jnp.min(squared, axis=1)), jnp.argmin(squared, axis=1)


_latents_at = jax.jit(lambda inverse, xy: inverse.latents_at(xy))


@jax.jit
def _closest(latents: Array, candidate_latents: Array) -> Array:
    return jnp.argmin(jnp.sum(jnp.square(candidate_latents), 1)[None] - 2.0 * latents @ candidate_latents.T, axis=1)


@jax.jit
def _regress_at_sounds(part: Array, coordinates: Array, latents: Array, widths: Array):
    """Returns the regression at sounds, and squared distances to the nearest distinct sound."""
    squared = _squared_distances(part, coordinates, widths)
    return _regress(squared, latents), jnp.min(jnp.where(squared > 0, squared, jnp.inf), axis=1)


@jax.jit
def _left_out_error(rows: Array, coordinates: Array, latents: Array, width: Array) -> Array:
    squared = _squared_distances(coordinates[rows], coordinates, jnp.full(2, width))
    others = jnp.arange(len(coordinates))[None, :] != rows[:, None]
    return jnp.sum(jnp.square(_regress(jnp.where(others, squared, jnp.inf), latents) - latents[rows]))
