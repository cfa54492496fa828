"""Measures the straightness of brightness along interpolations between sounds."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.types import Array


def log_band_moments(values: Array, frequencies: tuple[float, ...], range_db: float) -> tuple[Array, Array]:
    """Returns the logarithms of spectral centroid and bandwidth in Hz, [...] each.

    The centroid is sum_k w_k f_k / sum_k w_k, the bandwidth the root of the mean squared distance from it, with weights of
    magnitude times width of the band. `audio.descriptors` measures the same on spectra, with a finer resolution.

    Args:
      values: [..., F] features of `LogMel` with a fixed reference, dB / `range_db` with 1 for full scale.
      frequencies: [F] center frequencies of the bands in Hz, ascending.
      range_db: dB per unit of the values.
    """
    middle = np.asarray(frequencies, np.float32)
    width = np.gradient(middle)
    weights = jnp.exp((values - 1.0) * (range_db * math.log(10.0) / 20.0)) * width
    total = jnp.maximum(jnp.sum(weights, -1), 1e-12)
    centroid = jnp.matmul(weights, middle, precision="highest") / total
    spread = jnp.sum(weights * jnp.square(middle - centroid[..., None]), -1) / total
    return jnp.log(jnp.maximum(centroid, 1.0)), 0.5 * jnp.log(jnp.maximum(spread, 1.0))


def next_in_batch(x: Array, axis_name: str | None = None) -> Array:
    """Returns x of the next sound in the batch; the first sound follows the last.

    Args:
      x: [B, ...].
      axis_name: axis of `pmap` that splits the batch, or None.
    """
    first = x[:1]
    if axis_name is not None:
        count = jax.lax.axis_size(axis_name)
        first = jax.lax.ppermute(first, axis_name, [((i + 1) % count, i) for i in range(count)])
    return jnp.concatenate([x[1:], first])


def squared_detour(ends: Array, between: Array, share: Array) -> Array:
    """Returns the squared deviation from the linear interpolation between two sounds, [B, N].

    Args:
      ends: [2, B, N] values of both sounds.
      between: [B, N] values at interpolated latents.
      share: [B] share of the second sound, 0..1.
    """
    share = share[:, None]
    return jnp.square(between - ((1.0 - share) * ends[0] + share * ends[1]))
