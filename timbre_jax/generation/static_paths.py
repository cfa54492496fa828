"""Points of a static space: interpolation, sweeps, weighted sums and random points."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array

INTERPOLATIONS = ("linear", "spherical")


def interpolate(start: Array, end: Array, *, steps: int = 9, method: str = "linear") -> Array:
    """Interpolates between two points.

    Args:
      start: first point [D].
      end: last point [D].
      steps: number of points, including both ends.
      method: "linear" for a straight line; "spherical" for an arc around the origin whose radius changes linearly (slerp,
        White 2016), which keeps the typical radius of points of a Gaussian prior.

    Returns:
      Points [steps, D].

    Raises:
      ValueError: there are fewer than 2 steps, the points have different shapes, or the method is unknown.
    """
    start, end = np.asarray(start, np.float32), np.asarray(end, np.float32)
    if steps < 2:
        raise ValueError(f"interpolate: expected at least 2 steps (got {steps})")
    if start.ndim != 1 or start.shape != end.shape:
        raise ValueError(f"interpolate: expected two points [D] (got {start.shape} and {end.shape})")
    if method not in INTERPOLATIONS:
        raise ValueError(f"interpolate: method must be one of {', '.join(INTERPOLATIONS)} (got {method!r})")
    share = jnp.linspace(0.0, 1.0, steps, dtype=jnp.float32)[:, None]
    if method == "linear":
        return (1.0 - share) * start + share * end
    return jnp.asarray(along_arc(start, end, np.asarray(share)), jnp.float32)


def along_arc(start: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Returns points on arcs around the origin (slerp, White 2016).

    The radius changes linearly. Opposite, parallel and zero vectors do not define an arc; for them, points are on the line.

    Args:
      start: points [..., D].
      end: points [..., D].
      share: position [..., 1] between `start` (0) and `end` (1).
    """
    start, end, share = (np.asarray(x, np.float64) for x in (start, end, share))
    radius_start, radius_end = (np.linalg.norm(x, axis=-1, keepdims=True) for x in (start, end))
    cosine = np.sum(start * end, -1, keepdims=True) / np.maximum(radius_start * radius_end, 1e-12)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    sine = np.sin(angle)
    usable = (sine > 1e-3) & (radius_start > 1e-6) & (radius_end > 1e-6)
    safe = np.where(usable, sine, 1.0)
    direction = np.sin((1.0 - share) * angle) / safe * start / np.maximum(radius_start, 1e-12)
    direction = direction + np.sin(share * angle) / safe * end / np.maximum(radius_end, 1e-12)
    arc = direction * ((1.0 - share) * radius_start + share * radius_end)
    return np.where(usable, arc, (1.0 - share) * start + share * end)


def sweep(
    space: TimbreSpace,
    point: Array,
    latent: int,
    *,
    steps: int = 9,
    low: float | None = None,
    high: float | None = None,
) -> Array:
    """Moves one latent of a point in even steps.

    Args:
      space: static space.
      point: point [D].
      latent: index of the latent.
      steps: number of points, including both ends.
      low: first value of the latent; None for its 1st percentile over the training set.
      high: last value of the latent; None for its 99th percentile over the training set.

    Returns:
      Points [steps, D].

    Raises:
      ValueError: the space does not have the latent, or there are fewer than 2 steps.
    """
    if not 0 <= latent < space.latent_size:
        raise ValueError(f"sweep: expected a latent from 0 to {space.latent_size - 1} (got {latent})")
    if steps < 2:
        raise ValueError(f"sweep: expected at least 2 steps (got {steps})")
    low = float(space.statistics["latent_low"][latent]) if low is None else low
    high = float(space.statistics["latent_high"][latent]) if high is None else high
    points = jnp.broadcast_to(jnp.asarray(point, jnp.float32), (steps, space.latent_size))
    return points.at[:, latent].set(jnp.linspace(low, high, steps, dtype=jnp.float32))


def combine(space: TimbreSpace, points: Array, weights: Array) -> Array:
    """Returns the weighted sum [D] of points around the training mean.

    It is m + sum_i w_i (z_i - m) with the training mean m. If the weights sum to 1 (an average, a + b - c), m cancels and this
    is the plain sum. Otherwise (a - b) the plain sum would move toward or away from the origin, which may be far from all
    sounds.

    Args:
      space: static space.
      points: points [M, D].
      weights: weights [M].

    Raises:
      ValueError: there are no points, or not one weight for each point.
    """
    points, weights = jnp.asarray(points, jnp.float32), jnp.asarray(weights, jnp.float32)
    if points.ndim != 2 or not len(points) or weights.shape != points.shape[:1]:
        raise ValueError(f"combine: expected points [M, D] and weights [M] (got {points.shape} and {weights.shape})")
    mean = jnp.asarray(space.statistics["latent_mean"], jnp.float32)
    return mean + weights @ (points - mean)


def vary(space: TimbreSpace, point: Array, number: int, *, key: Array, spread: float = 0.5) -> Array:
    """Draws random points around a point.

    Args:
      space: static space.
      point: point [D].
      number: number of points.
      key: random key. The i-th point depends only on the key and i.
      spread: standard deviation of the points, in training deviations.

    Returns:
      Points [number, D].

    Raises:
      ValueError: `number` is below 1.
    """
    deviation = jnp.asarray(space.statistics["latent_std"], jnp.float32)
    return jnp.asarray(point, jnp.float32) + jnp.float32(spread) * deviation * _random_normal(space, number, key)


def sample_prior(space: TimbreSpace, number: int, *, key: Array) -> Array:
    """Draws points [number, D] from the standard normal prior.

    Args:
      space: static space.
      number: number of points.
      key: random key. The i-th point depends only on the key and i.

    Raises:
      ValueError: `number` is below 1.
    """
    return _random_normal(space, number, key)


def sample_aggregate(space: TimbreSpace, number: int, *, key: Array, spread: float = 1.0) -> Array:
    """Draws points [number, D] from a Gaussian fitted to the training latents.

    If the KL weight of training was low, the latents of real sounds are distributed differently from the prior (with a mean of
    3 and a deviation of 0.3, for example). Points of this distribution sound like the training set; points of the prior may
    not.

    Args:
      space: static space.
      number: number of points.
      key: random key. The i-th point depends only on the key and i.
      spread: factor on the standard deviation.

    Raises:
      ValueError: `number` is below 1.
    """
    mean = jnp.asarray(space.statistics["latent_mean"], jnp.float32)
    deviation = jnp.asarray(space.statistics["latent_std"], jnp.float32)
    return mean + jnp.float32(spread) * deviation * _random_normal(space, number, key)


def _random_normal(space: TimbreSpace, number: int, key: Array) -> Array:
    if number < 1:
        raise ValueError(f"number={number}: must be at least 1")
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(np.arange(number))
    return jax.vmap(lambda k: jax.random.normal(k, (space.latent_size,), jnp.float32))(keys)
