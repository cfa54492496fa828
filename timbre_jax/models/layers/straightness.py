"""Whether brightness moves straight between sounds: what a decoder makes of latents half-way, beside what it makes of both."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.types import Array


def band_moments(values: Array, frequencies: tuple[float, ...], range_db: float) -> tuple[Array, Array]:
    """Logarithms of centroid and bandwidth (Hz) of spectra in bands, [..., F] -> two of [...]; differentiable.

    sum_k w_k f_k / sum_k w_k and the root of the spread around it, where w is magnitude times the band's width: what
    `audio.descriptors` measures on spectra, but for what lies within a band.

    Args:
      values: dB over `range_db`, 1 being full scale (`LogMel` with a fixed reference).
      frequencies: of the bands' middles in Hz, rising.
    """
    middle = np.asarray(frequencies, np.float32)
    width = np.gradient(middle)
    weights = jnp.exp((values - 1.0) * (range_db * math.log(10.0) / 20.0)) * width
    total = jnp.maximum(jnp.sum(weights, -1), 1e-12)
    centroid = jnp.matmul(weights, middle, precision="highest") / total
    spread = jnp.sum(weights * jnp.square(middle - centroid[..., None]), -1) / total
    return jnp.log(jnp.maximum(centroid, 1.0)), 0.5 * jnp.log(jnp.maximum(spread, 1.0))


def following(x: Array, axis_name: str | None = None) -> Array:
    """x [B, ...] of each sound's next in the batch; after the last comes the first. `axis_name`: of `pmap`, or None."""
    first = x[:1]
    if axis_name is not None:
        count = jax.lax.axis_size(axis_name)
        first = jax.lax.ppermute(first, axis_name, [((i + 1) % count, i) for i in range(count)])
    return jnp.concatenate([x[1:], first])


def detour(ends: Array, between: Array, share: Array) -> Array:
    """Squared distance of what lies between from the straight line, [B, N].

    Args:
      ends: [2, B, N] of two sounds. between: [B, N]. share: [B], of the second.
    """
    share = share[:, None]
    return jnp.square(between - ((1.0 - share) * ends[0] + share * ends[1]))
