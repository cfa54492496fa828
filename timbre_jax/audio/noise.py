"""Synthesis of noise that is filtered by magnitudes that vary over time.

The noise of a hop depends only on the key and on the absolute number of the hop, so that chunks of a sound join to the sound
synthesized at once. An STFT and its inverse apply the filter with zero phase:

    y = istft(H[n, k] * stft(u)[n, k]),    with u uniform in [-1, 1)

(Bitton, Esling & Harada 2020, arXiv 2007.06349, after DDSP, Engel et al. 2020, section 3.5). Frames are centered on n * hop;
H = 1 gives y = u. The synthesis is differentiable with respect to H.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.stft import frame, istft_inner, overlap_ratio, window_samples
from timbre_jax.types import Array

NOISE_POWER = 1.0 / 3.0
"""Mean square of noise that is uniform in [-1, 1)."""
BEFORE = 4096
"""Hops before the start of a sound for which noise is defined."""


def noise_hops(keys: Array, first: Array | int, *, count: int, hop: int) -> Array:
    """Draws the noise of consecutive hops, uniform in [-1, 1).

    Hop b is drawn from fold_in(key, b + `BEFORE`).

    Args:
      keys: [B] random keys.
      first: number of the first hop, at least -`BEFORE`; it may be traced.
      count: number of hops.
      hop: samples per hop.

    Returns:
      [B, count, hop] float32.
    """
    numbers = jnp.asarray(first, jnp.int32) + jnp.arange(count, dtype=jnp.int32) + BEFORE

    def hops_of(key):
        draw = jax.vmap(lambda n: jax.random.uniform(jax.random.fold_in(key, n), (hop,), jnp.float32, -1.0, 1.0))
        return draw(numbers)

    return jax.vmap(hops_of)(keys)


@functools.partial(jax.jit, static_argnames=("hop", "context"))
def filtered_noise(magnitudes: Array, key: Array, *, hop: int, first: Array | int = 0, context: bool = False) -> Array:
    """Filters noise by the magnitudes of each frame.

    Hop b of the sound is between frames b and b + 1. Frames b - R/2 + 1 to b + R/2 contribute to it, with R = n_fft / hop.

    Args:
      magnitudes: [B, N, K] of the filters at k * sample_rate / n_fft Hz, n_fft = 2 (K - 1). Constant magnitudes of 1 return the
        noise itself, of mean square 1/3; `filtered_noise_power` gives the mean square for others.
      key: one key, which gives all sounds the same noise, or [B] keys.
      hop: samples between frames; n_fft is 4, 6, 8 ... times the hop.
      first: absolute number of the first returned frame; together with the key, it determines the noise.
      context: whether the magnitudes are [B, N + R - 1, K] and include R/2 - 1 frames before and R/2 frames after, for an exact
        chunk of a longer sound. If False, the first and last filters are repeated beyond the ends.

    Returns:
      [B, N * hop].

    Raises:
      ValueError: the shapes do not fit.
    """
    if magnitudes.ndim != 3:
        raise ValueError(f"magnitudes: must be [B, N, K] (got {magnitudes.shape})")
    ratio = overlap_ratio(2 * (magnitudes.shape[-1] - 1), hop)
    if not context:
        magnitudes = with_context(magnitudes, ratio)
    count = magnitudes.shape[1] - ratio + 1
    if count < 1:
        raise ValueError(f"magnitudes: must have at least {ratio} frames with context (got {magnitudes.shape[1]})")
    n_fft = ratio * hop
    window = window_samples("hann", n_fft)
    keys = jnp.broadcast_to(key, magnitudes.shape[:1]) if key.ndim == 0 else key
    # The first frame has the number first - R/2 + 1 and starts R/2 hops before its center.
    hops = noise_hops(keys, jnp.asarray(first) - ratio + 1, count=count + 2 * ratio - 2, hop=hop)
    frames = frame(hops.reshape(hops.shape[0], -1), n_fft, hop) * window
    return istft_inner(jnp.fft.rfft(frames) * magnitudes, hop=hop)


def with_context(magnitudes: Array, overlap: int) -> Array:
    """Repeats the first and last frames beyond the ends: [B, N, K] -> [B, N + overlap - 1, K]."""
    return jnp.pad(magnitudes, ((0, 0), (overlap // 2 - 1, overlap // 2), (0, 0)), mode="edge")


@functools.lru_cache(maxsize=16)
def _lag_weights(n_fft: int, hop: int) -> np.ndarray:
    """Returns the weight of each sample of a squared impulse response in the noise power.

    The weight of lag tau is g[tau]^2 + g[tau - n_fft]^2, where g is the normalized autocorrelation of the window.
    """
    window = window_samples("hann", n_fft).astype(np.float64)
    spectrum = np.fft.rfft(window, 2 * n_fft)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, 2 * n_fft)
    correlation = np.square(correlation / correlation[0])
    weights = correlation[:n_fft].copy()
    weights[1:] += correlation[n_fft + 1 :]  # lag tau - n_fft
    return weights.astype(np.float32)


@functools.partial(jax.jit, static_argnames="hop")
def filtered_noise_power(magnitudes: Array, *, hop: int) -> Array:
    """Returns the mean square of `filtered_noise` for filters that are constant over time.

    The filtering is a convolution with h[tau mod n_fft] r[tau] / r[0], where h is the inverse transform of the filter and r the
    autocorrelation of the window, because products of overlapping windows sum to a constant at every lag. The result is the
    power of the noise times the sum of the squares of this response. It is exact for any filter, not only for smooth ones.

    Args:
      magnitudes: [..., K] magnitudes of the filters.
      hop: samples between frames.

    Returns:
      [...].
    """
    n_fft = 2 * (magnitudes.shape[-1] - 1)
    overlap_ratio(n_fft, hop)
    response = jnp.fft.irfft(magnitudes, n_fft)
    return NOISE_POWER * jnp.sum(jnp.square(response) * _lag_weights(n_fft, hop), axis=-1)
