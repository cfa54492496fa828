"""The way back from a map to the latents: any point of the plane to a latent, fast, and back at a sound its own.

Coordinates of maps are in [0, 1] here, as pages and pictures show them (`unit_square`).
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
"""How far outside [0, 1] a point is taken as it is; beyond it is moved onto that border."""


class _AnyInverse:
    """Base class of inverses; subclasses have `coordinates` [P, 2], `holder` [P] and `latents_at`."""

    holder: Any

    def __call__(self, xy) -> tuple[np.ndarray, np.ndarray]:
        """Points [M, 2] of the map to latents [M, D] and their distances [M] to the nearest sound, in map units.

        A point outside [-0.5, 1.5] is moved to the border of that square first (the distance is still its own); there the
        answer is in effect the nearest sound's.

        Raises:
          ValueError: not [M, 2], or a coordinate that is not finite.
        """
        latents, distances, _ = self._answers(xy)
        return latents, distances

    def nearest(self, xy) -> np.ndarray:
        """The sound [M] (row of `coordinates`) that lies nearest to each point [M, 2]; of several at one place the first."""
        return self._answers(xy)[2]

    @property
    def shared(self) -> dict[int, list[int]]:
        """Places with several sounds: the sound that answers there -> the others."""
        groups: dict[int, list[int]] = {}
        for sound, first in enumerate(np.asarray(self.holder).tolist()):
            if first != sound:
                groups.setdefault(first, []).append(sound)
        return groups

    def _answers(self, xy) -> tuple[np.ndarray, ...]:
        return map_batches(lambda points: _answer(self, points), map_points(xy), batch_size=1024)


@flax.struct.dataclass
class KernelInverse(_AnyInverse):
    """Kernel regression between the sounds, exact at every one of them. A pytree of arrays, deterministic.

        f(x) = m(x) + b(|x - x_n| / r_n) (z_n - m(x_n)),   x_n the sound nearest to x,   b(t) = (1 - t^2)^2 for t < 1, else 0
        m(x) = sum_i k_i(x) z_i / sum_i k_i(x),            k_i(x) = exp(-|(x - x_i) / width|^2 / 2)

    m is Nadaraya and Watson's estimate; the second part corrects it within a small disc around each sound, whose radius r_n
    is half the way to the next sound and at most half a width, so that discs do not meet and f is continuous and
    differentiable wherever m is. Far from all sounds m becomes the nearest sound's latent: outside the cloud the answer
    stays within what the library holds, it never runs away.

    Where several sounds share one place, the first of them is given back there: `holder` says for each sound which one.

    Attributes:
      coordinates: [P, 2] in [0, 1]. latents: [P, D].
      widths: [2], of the kernel along both axes, in map units.
      corrections: [P, D], z_i - m(x_i). radii: [P], in widths.
      holder: [P] int32, the sound that a click on sound i gives back (i itself, or the first at the same place).
    """

    coordinates: Array
    latents: Array
    widths: Array
    corrections: Array
    radii: Array
    holder: Array

    def latents_at(self, xy: Array) -> Array:
        """[M, 2] -> [M, D], pure: can be jitted and differentiated (but at a sound itself). Not checked for NaN."""
        squared = _squared(xy, self.coordinates, self.widths)
        smooth = _regress(squared, self.latents)
        nearest = self.holder[jnp.argmin(squared, axis=1)]
        least = jnp.min(squared, axis=1)
        share = least / jnp.square(self.radii[nearest])
        bump = jnp.where(share < 1.0, jnp.square(1.0 - share), 0.0)
        corrected = smooth + bump[:, None] * self.corrections[nearest]
        # Exactly the sound's own numbers at its place: the sum above may round.
        return jnp.where((least == 0.0)[:, None], self.latents[nearest], corrected)


@flax.struct.dataclass
class LinearInverse(_AnyInverse):
    """PCA's way back: z = mean + (low + x (high - low)) directions. Exact for no sound, but for a space of two dimensions.

    Attributes:
      coordinates: [P, 2] in [0, 1], of the sounds; for distances only.
      low, high: [2], what 0 and 1 of the map are on the two axes.
      directions: [2, D]. mean: [D].
    """

    coordinates: Array
    low: Array
    high: Array
    directions: Array
    mean: Array

    @property
    def holder(self) -> np.ndarray:
        """[P] int32, the sound that a click on each sound gives back: itself."""
        return np.arange(len(self.coordinates), dtype=np.int32)

    def latents_at(self, xy: Array) -> Array:
        """[M, 2] -> [M, D]."""
        return (self.low + xy * (self.high - self.low)) @ self.directions + self.mean


InverseMap = KernelInverse | LinearInverse


def map_points(xy) -> np.ndarray:
    """[M, 2] float32.

    Raises:
      ValueError: another shape, no point, or a coordinate that is not finite.
    """
    try:
        xy = np.atleast_2d(np.asarray(xy, np.float64))
    except (TypeError, ValueError):
        raise ValueError("points of a map are pairs of numbers x, y") from None
    if xy.ndim != 2 or xy.shape[1] != 2 or not len(xy):
        raise ValueError(f"points of a map are [M, 2] (x, y), not {xy.shape}")
    if not np.isfinite(xy).all():
        bad = xy[~np.isfinite(xy).all(1)][0]
        raise ValueError(f"a point of a map is two finite numbers, the map itself lies in 0..1, not ({bad[0]}, {bad[1]})")
    # Beyond this float32 has no room for the square of a distance.
    return np.clip(xy, -1e6, 1e6).astype(np.float32)


def unit_square(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points [M, 2] min-max scaled to [0, 1] along each axis (as in Rebnord 2022), and the low and high [2] it was done with.

    An axis along which nothing varies becomes 0.5: its low and high then lie half a unit to both sides.
    """
    points = np.asarray(points, np.float64)
    low, high = points.min(0), points.max(0)
    flat = high - low <= 1e-12 * np.maximum(np.abs(high), 1e-30)
    low, high = np.where(flat, low - 0.5, low), np.where(flat, high + 0.5, high)
    return ((points - low) / (high - low)).astype(np.float32), low, high


def kernel_inverse(coordinates: np.ndarray, latents: np.ndarray, *, widths: np.ndarray | float | None = None) -> KernelInverse:
    """The way back for any map of sounds: coordinates [P, 2] in [0, 1] and latents [P, D].

    Args:
      widths: of the kernel, in map units, one number or one for each axis; None: `best_width`.

    Raises:
      ValueError: shapes that do not fit, no sounds, or numbers that are not finite.
    """
    coordinates, latents = map_points(coordinates), np.asarray(latents, np.float32)
    if latents.ndim != 2 or len(latents) != len(coordinates):
        raise ValueError(f"{len(coordinates)} points of a map need latents [{len(coordinates)}, D], not {latents.shape}")
    if not np.isfinite(latents).all():
        raise ValueError(f"latents of {np.count_nonzero(~np.isfinite(latents).all(1))} sounds are not finite")
    if widths is None:
        widths = best_width(coordinates, latents)
    widths = np.broadcast_to(np.asarray(widths, np.float32), (2,)).copy()
    if not (np.isfinite(widths).all() and (widths > 0).all()):
        raise ValueError(f"a kernel's width is more than 0, not {widths.tolist()}")
    _, first, group = np.unique(coordinates, axis=0, return_index=True, return_inverse=True)
    holder = first[group.reshape(-1)].astype(np.int32)
    smooth, nearest = np.empty_like(latents), np.empty(len(latents), np.float32)
    for rows in _chunks(len(latents)):
        smooth[rows], nearest[rows] = (np.asarray(x) for x in _at_sounds(coordinates[rows], coordinates, latents, widths))
    radii = np.minimum(0.5 * np.sqrt(nearest), 0.5)
    return KernelInverse(
        *(jnp.asarray(x) for x in (coordinates, latents, widths, latents - smooth, np.maximum(radii, 1e-20), holder))
    )


def best_width(coordinates: np.ndarray, latents: np.ndarray, *, most: int = 2000) -> float:
    """The kernel width, in map units, with which latents follow best from the *other* sounds on the map (leave one out).

    Twelve widths from a quarter to sixteen times the median distance to the next sound are tried, on at most `most` sounds
    evenly taken.
    """
    coordinates, latents = np.asarray(coordinates, np.float32), np.asarray(latents, np.float32)
    distinct = np.unique(coordinates, axis=0)
    if len(distinct) < 2:
        return 1.0
    rows = np.unique(np.linspace(0, len(coordinates) - 1, min(most, len(coordinates))).astype(np.int64))
    steps = [
        np.sqrt(np.asarray(_at_sounds(distinct[part], distinct, distinct, np.ones(2, np.float32))[1]))
        for part in _chunks(len(distinct))
    ]
    candidates = float(np.median(np.concatenate(steps))) * np.geomspace(0.25, 16.0, 12)
    errors = np.zeros(len(candidates))
    for part in _chunks(len(rows)):
        chosen = rows[part]
        for i, width in enumerate(candidates):
            errors[i] += float(_left_out_error(chosen, coordinates, latents, np.float32(width)))
    return float(candidates[int(np.argmin(errors))])


def linear_inverse(coordinates: np.ndarray, low, high, directions: np.ndarray, mean: np.ndarray) -> LinearInverse:
    """PCA's way back, from what `unit_square` and `projection.pca_map` gave."""
    return LinearInverse(*(jnp.asarray(np.asarray(x, np.float32)) for x in (coordinates, low, high, directions, mean)))


def place(inverse: InverseMap, latents: np.ndarray, *, resolution: int = 96) -> np.ndarray:
    """Where on the map other sounds belong: for latents [Q, D] the points [Q, 2] whose way back comes nearest to them.

    The same question that PCA answers by projecting. Answered by looking: at every sound of the map, at a grid of
    resolution x resolution points over [0, 1], then three times around the best, each time three times finer.
    Deterministic; a sound of the map finds its own place (or an equal sound's).

    Raises:
      ValueError: latents that do not fit or are not finite.
    """
    latents = np.asarray(latents, np.float32)
    size = np.asarray(inverse.latents_at(inverse.coordinates[:1])).shape[1]
    if latents.ndim != 2 or latents.shape[1] != size or not np.isfinite(latents).all():
        raise ValueError(f"sounds are placed by finite latents [Q, {size}], not {latents.shape}")
    axis = np.linspace(0.0, 1.0, resolution, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    candidates = np.concatenate([np.asarray(inverse.coordinates), grid])
    known = _latents_of(inverse, candidates)
    # In parts, so that a large library placed on a large map fits into memory.
    return np.concatenate(
        [_place_some(inverse, latents[rows], candidates, known, resolution) for rows in _chunks(len(latents))]
    )


def _place_some(inverse, latents, candidates, known, resolution) -> np.ndarray:
    nearest = np.asarray(_closest(latents, known))
    best, error = candidates[nearest], np.linalg.norm(known[nearest] - latents, axis=1)
    offsets = np.stack(np.meshgrid(*2 * [np.linspace(-1, 1, 7, dtype=np.float32)], indexing="ij"), -1).reshape(-1, 2)
    step = 1.0 / (resolution - 1)
    for _ in range(3):
        around = np.clip(best[:, None] + step * offsets, 0.0, 1.0)
        tried = _latents_of(inverse, around.reshape(-1, 2)).reshape(*around.shape[:2], -1)
        errors = np.linalg.norm(tried - latents[:, None], axis=2)
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


def _squared(xy: Array, coordinates: Array, widths: Array) -> Array:
    """Squared distances [M, P] in widths. Differences come first: a sound's distance to itself is exactly 0."""
    x, y = (jnp.square((xy[:, axis, None] - coordinates[None, :, axis]) / widths[axis]) for axis in (0, 1))
    return x + y


def _regress(squared: Array, latents: Array) -> Array:
    return jax.nn.softmax(-0.5 * squared, axis=1) @ latents


@jax.jit
def _answer(inverse: InverseMap, xy: Array):
    latents = inverse.latents_at(jnp.clip(xy, -REACH, 1.0 + REACH))
    squared = _squared(xy, inverse.coordinates, jnp.ones(2))
    return latents, jnp.sqrt(jnp.min(squared, axis=1)), jnp.argmin(squared, axis=1)


_latents_at = jax.jit(lambda inverse, xy: inverse.latents_at(xy))


@jax.jit
def _closest(latents: Array, known: Array) -> Array:
    return jnp.argmin(jnp.sum(jnp.square(known), 1)[None] - 2.0 * latents @ known.T, axis=1)


@jax.jit
def _at_sounds(part: Array, coordinates: Array, latents: Array, widths: Array):
    """The regression at some of the sounds, and the squared distance to the nearest sound at another place."""
    squared = _squared(part, coordinates, widths)
    return _regress(squared, latents), jnp.min(jnp.where(squared > 0, squared, jnp.inf), axis=1)


@jax.jit
def _left_out_error(rows: Array, coordinates: Array, latents: Array, width: Array) -> Array:
    squared = _squared(coordinates[rows], coordinates, jnp.full(2, width))
    others = jnp.arange(len(coordinates))[None, :] != rows[:, None]
    return jnp.sum(jnp.square(_regress(jnp.where(others, squared, jnp.inf), latents) - latents[rows]))
