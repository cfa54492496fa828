"""Ways through a static space: lines between sounds, sums of sounds, sweeps of one latent, random points."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array

INTERPOLATIONS = ("linear", "spherical")


def interpolate(start: Array, end: Array, *, steps: int = 9, method: str = "linear") -> Array:
    """Points [steps, D] from `start` [D] to `end` [D], both included.

    "linear": a straight line. "spherical": along the arc, the radius changing linearly (White 2016, slerp), which keeps
    to the shell on which points of a Gaussian prior lie; parallel or zero vectors fall back to the line.

    Raises:
      ValueError: fewer than 2 steps, shapes that differ, an unknown method.
    """
    start, end = np.asarray(start, np.float32), np.asarray(end, np.float32)
    if steps < 2:
        raise ValueError(f"an interpolation has at least 2 steps (its ends), not {steps}")
    if start.ndim != 1 or start.shape != end.shape:
        raise ValueError(f"interpolation goes between two points [D], not {start.shape} and {end.shape}")
    if method not in INTERPOLATIONS:
        raise ValueError(f"method is one of {', '.join(INTERPOLATIONS)}, not {method!r}")
    share = jnp.linspace(0.0, 1.0, steps, dtype=jnp.float32)[:, None]
    if method == "linear":
        return (1.0 - share) * start + share * end
    return jnp.asarray(along_arc(start, end, np.asarray(share)), jnp.float32)


def along_arc(start: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Returns points [..., D] on arcs about the origin, whose radius changes linearly (White 2016, slerp).

    Opposite, parallel and zero vectors have no arc and give points on the line.

    Args:
      start: points [..., D].
      end: points [..., D].
      share: part [..., 1] of the way to `end`, 0 to 1.
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
    """Points [steps, D] that differ from `point` [D] in one latent only, evenly from `low` to `high`.

    Default ends are the 1st and the 99th percentile of that latent over the training set.

    Raises:
      ValueError: the space has no such latent, or fewer than 2 steps.
    """
    if not 0 <= latent < space.latent_size:
        raise ValueError(f"latent {latent} is not one of 0..{space.latent_size - 1}")
    if steps < 2:
        raise ValueError(f"a sweep has at least 2 steps, not {steps}")
    low = float(space.statistics["latent_low"][latent]) if low is None else low
    high = float(space.statistics["latent_high"][latent]) if high is None else high
    points = jnp.broadcast_to(jnp.asarray(point, jnp.float32), (steps, space.latent_size))
    return points.at[:, latent].set(jnp.linspace(low, high, steps, dtype=jnp.float32))


def combine(space: TimbreSpace, points: Array, weights: Array) -> Array:
    """Signed sum of sounds: m + sum_i w_i (z_i - m) [D] of points [M, D], weights [M], m the training latents' mean.

    Where the weights sum to 1 (an average; a + b - c) m cancels and it is sum_i w_i z_i. Where they do not (a - b), the
    plain sum would move toward or away from the origin, where no sound need be.

    Raises:
      ValueError: no points, or not one weight a point.
    """
    points, weights = jnp.asarray(points, jnp.float32), jnp.asarray(weights, jnp.float32)
    if points.ndim != 2 or not len(points) or weights.shape != points.shape[:1]:
        raise ValueError(f"sounds [M, D] are combined with weights [M], not {points.shape} with {weights.shape}")
    mean = jnp.asarray(space.statistics["latent_mean"], jnp.float32)
    return mean + weights @ (points - mean)


def vary(space: TimbreSpace, point: Array, number: int, *, key: Array, spread: float = 0.5) -> Array:
    """`number` points [number, D] around one [D]: `spread` training deviations of noise; the i-th depends on key and i only."""
    deviation = jnp.asarray(space.statistics["latent_std"], jnp.float32)
    return jnp.asarray(point, jnp.float32) + jnp.float32(spread) * deviation * _noise(space, number, key)


def sample_prior(space: TimbreSpace, number: int, *, key: Array) -> Array:
    """`number` points [number, D] of the standard normal prior; the i-th does not depend on how many are drawn."""
    return _noise(space, number, key)


def sample_aggregate(space: TimbreSpace, number: int, *, key: Array, spread: float = 1.0) -> Array:
    """`number` points [number, D] of a Gaussian with the training latents' mean and standard deviation.

    Where the KL weight was low, the latents of real sounds fill another region than the prior (a mean of 3, a spread of
    0.3): points from here sound like the training set, points from the prior may not.

    Args:
      spread: factor on the standard deviation, as a temperature.
    """
    mean = jnp.asarray(space.statistics["latent_mean"], jnp.float32)
    deviation = jnp.asarray(space.statistics["latent_std"], jnp.float32)
    return mean + jnp.float32(spread) * deviation * _noise(space, number, key)


def _noise(space: TimbreSpace, number: int, key: Array) -> Array:
    if number < 1:
        raise ValueError(f"at least 1 point is drawn, not {number}")
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(np.arange(number))
    return jax.vmap(lambda k: jax.random.normal(k, (space.latent_size,), jnp.float32))(keys)
