"""Filtered noise: sound from the magnitudes of a filter that changes from frame to frame (subtractive synthesis).

The noise is one signal, drawn hop by hop: what is drawn for a hop depends on the key and on its absolute number alone, so
a sound made in chunks is the sound made at once. It is shaped between an STFT and its inverse, with zero phase:

    y = istft(H[n, k] * stft(u)[n, k]),    u uniform in [-1, 1)

(as in Bitton, Esling & Harada 2020, arXiv 2007.06349; the thought is that of DDSP, Engel et al. 2020, section 3.5). Frames
are centered on n * hop, as everywhere in this library; with H = 1, y is u. Differentiable in H.
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
"""Hops before the beginning of a sound whose noise can be asked for."""


def noise_hops(keys: Array, first: Array | int, *, count: int, hop: int) -> Array:
    """Noise of the hops number first .. first + count - 1, keys [B] -> [B, count, hop], uniform in [-1, 1).

    Hop b is drawn from fold_in(key, b + `BEFORE`), so `first` may be as low as -BEFORE; it may be traced.
    """
    numbers = jnp.asarray(first, jnp.int32) + jnp.arange(count, dtype=jnp.int32) + BEFORE

    def drawn(key):
        draw = jax.vmap(lambda n: jax.random.uniform(jax.random.fold_in(key, n), (hop,), jnp.float32, -1.0, 1.0))
        return draw(numbers)

    return jax.vmap(drawn)(keys)


@functools.partial(jax.jit, static_argnames=("hop", "context"))
def filtered_noise(magnitudes: Array, key: Array, *, hop: int, first: Array | int = 0, context: bool = False) -> Array:
    """Noise through filters, [B, N, K] -> [B, N * hop].

    Hop b of the sound lies between frames b and b + 1 and is covered by frames b - R/2 + 1 .. b + R/2, R = 2 (K - 1) / hop.

    Args:
      magnitudes: of the filters at k * sample_rate / n_fft, n_fft = 2 (K - 1). At constant magnitudes 1 the sound is the
        noise itself, of mean square 1/3; `filtered_noise_power` says it for any others.
      key: one, and then every sound has the same noise, or [B].
      hop: samples between frames; n_fft is a multiple of it, 4 times or more.
      first: absolute number of the first frame (of those that come out), which with the key decides the noise.
      context: False: beyond their ends the filters hold their first and last value. True: the magnitudes are
        [B, N + R - 1, K], with the R/2 - 1 frames before and the R/2 frames after: a chunk of a longer sound, exactly.

    Raises:
      ValueError: shapes that do not fit.
    """
    if magnitudes.ndim != 3:
        raise ValueError(f"magnitudes are [B, N, K], not {magnitudes.shape}")
    ratio = overlap_ratio(2 * (magnitudes.shape[-1] - 1), hop)
    if not context:
        magnitudes = with_context(magnitudes, ratio)
    count = magnitudes.shape[1] - ratio + 1
    if count < 1:
        raise ValueError(f"{magnitudes.shape[1]} frames with context are less than the {ratio} that one hop of sound takes")
    n_fft = ratio * hop
    window = window_samples("hann", n_fft)
    keys = jnp.broadcast_to(key, magnitudes.shape[:1]) if key.ndim == 0 else key
    # The first frame, number first - R/2 + 1, begins R/2 hops before its own.
    drawn = noise_hops(keys, jnp.asarray(first) - ratio + 1, count=count + 2 * ratio - 2, hop=hop)
    frames = frame(drawn.reshape(drawn.shape[0], -1), n_fft, hop) * window
    return istft_inner(jnp.fft.rfft(frames) * magnitudes, hop=hop)


def with_context(magnitudes: Array, overlap: int) -> Array:
    """Frames with their first and last held over the ends: [B, N, K] -> [B, N + R - 1, K]."""
    return jnp.pad(magnitudes, ((0, 0), (overlap // 2 - 1, overlap // 2), (0, 0)), mode="edge")


@functools.lru_cache(maxsize=16)
def _lag_weights(n_fft: int, hop: int) -> np.ndarray:
    """g[tau]^2 over lags 0..n_fft - 1, both turns of a lag added: what of h[tau]^2 comes through the two windows."""
    window = window_samples("hann", n_fft).astype(np.float64)
    spectrum = np.fft.rfft(window, 2 * n_fft)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, 2 * n_fft)
    correlation = np.square(correlation / correlation[0])
    weights = correlation[:n_fft].copy()
    weights[1:] += correlation[n_fft + 1 :]  # lag tau - n_fft
    return weights.astype(np.float32)


@functools.partial(jax.jit, static_argnames="hop")
def filtered_noise_power(magnitudes: Array, *, hop: int) -> Array:
    """Mean square of the sound that `filtered_noise` makes of filters that stay as they are, [..., K] -> [...].

    Between two windows whose products at any lag sum to a constant, the shaping is a convolution with
    h[tau mod n_fft] r[tau] / r[0], h the inverse transform of the filter and r the window's autocorrelation. So the power
    is that of white noise times the sum of its squares: exact, not only for smooth filters.
    """
    n_fft = 2 * (magnitudes.shape[-1] - 1)
    overlap_ratio(n_fft, hop)
    response = jnp.fft.irfft(magnitudes, n_fft)
    return NOISE_POWER * jnp.sum(jnp.square(response) * _lag_weights(n_fft, hop), axis=-1)
