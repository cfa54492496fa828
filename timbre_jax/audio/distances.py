"""Distances between feature images and between sounds, each with its definition."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from timbre_jax.audio.level import root
from timbre_jax.audio.stft import squared_magnitude, stft
from timbre_jax.types import Array


def mse(a: Array, b: Array, *, mask: Array | None = None) -> Array:
    """Mean squared error of each image, [B, N, F] twice -> [B]. `mask` [B, N]: frames at 0 do not count."""
    error = jnp.mean(jnp.square(a - b), axis=-1)
    if mask is None:
        return jnp.mean(error, axis=-1)
    return jnp.sum(error * mask, axis=-1) / jnp.maximum(jnp.sum(mask, axis=-1), 1.0)


def _box(image: Array, size: int) -> Array:
    """Mean over every size x size window that lies wholly inside, [B, N, F] -> [B, N - size + 1, F - size + 1]."""
    sums = jax.lax.reduce_window(image, 0.0, jax.lax.add, (1, size, 1), (1, 1, 1), "VALID")
    sums = jax.lax.reduce_window(sums, 0.0, jax.lax.add, (1, 1, size), (1, 1, 1), "VALID")
    return sums / (size * size)


def ssim(a: Array, b: Array, *, window: int = 7, data_range: float = 1.0) -> Array:
    """Structural similarity of each pair of images, [B, N, F] twice -> [B]; 1 where they are equal.

    Wang et al. 2004, eq. 13, with a uniform window x window box, means over the windows that lie wholly inside the
    image ("valid"), K1 = 0.01, K2 = 0.03 and sample (n - 1) variances: what `skimage.metrics.structural_similarity`
    computes with win_size=window, gaussian_weights=False.

    Raises ValueError where the window is larger than the image.
    """
    if a.shape != b.shape or a.ndim != 3:
        raise ValueError(f"ssim takes two batches of images [B, N, F] of one shape, got {a.shape} and {b.shape}")
    if min(a.shape[1:]) < window:
        raise ValueError(f"ssim window {window} is larger than the image {a.shape[1:]}")
    # Around a common center: variances as differences of means of squares lose less to rounding there.
    center = 0.5 * data_range
    mean_a, mean_b = _box(a - center, window), _box(b - center, window)
    unbias = window * window / (window * window - 1.0)
    var_a = unbias * (_box(jnp.square(a - center), window) - jnp.square(mean_a))
    var_b = unbias * (_box(jnp.square(b - center), window) - jnp.square(mean_b))
    covariance = unbias * (_box((a - center) * (b - center), window) - mean_a * mean_b)
    mean_a, mean_b = mean_a + center, mean_b + center
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (jnp.square(mean_a) + jnp.square(mean_b) + c1) * (var_a + var_b + c2)
    )
    return jnp.mean(similarity, axis=(1, 2))


def log_spectral_distance(
    waves: Array,
    reference: Array,
    *,
    lengths: Array | None = None,
    n_fft: int = 1024,
    hop: int = 256,
    floor_db: float = -80.0,
) -> Array:
    """Log-spectral distance of each pair of sounds in dB, [B, T] twice -> [B].

    Power spectra P of a centered STFT (periodic Hann window of n_fft, hop `hop`), in dB relative to the largest bin of
    the reference sound, everything under `floor_db` raised to it in both sounds:

        LSD = mean over frames n of sqrt(mean over bins k of (10 log10 P[n, k] - 10 log10 P_ref[n, k])^2)

    (Gray & Markel 1976, in the discrete form of Quackenbush et al. 1988). Without a floor, the distance would be ruled
    by bins that nobody can hear, so a figure means nothing without it. Two silent sounds have distance 0.

    `lengths` [B] in samples: only frames centered within the sound count; None: all of T, so that silence that pads both
    sounds draws the mean toward 0.
    """

    reference_power, wave_power = (squared_magnitude(stft(x, n_fft=n_fft, hop=hop)) for x in (reference, waves))
    loudest = jnp.max(reference_power, axis=(-2, -1), keepdims=True)
    smallest = jnp.maximum(loudest * 10.0 ** (floor_db / 10.0), 1e-20)
    ratio = jnp.maximum(wave_power, smallest) / jnp.maximum(reference_power, smallest)
    difference = jnp.log(ratio) * (10.0 / math.log(10.0))
    return frame_mean(root(jnp.mean(jnp.square(difference), axis=-1)), lengths, hop=hop)


def frame_mean(values: Array, lengths: Array | None, *, hop: int) -> Array:
    """Mean [B] over frames [B, N], centered every `hop` samples from 0, that lie within `lengths` [B]; None: over all."""
    if lengths is None:
        return jnp.mean(values, axis=-1)
    inside = (hop * jnp.arange(values.shape[-1]) < jnp.maximum(jnp.asarray(lengths), 1)[:, None]).astype(values.dtype)
    return jnp.sum(values * inside, axis=-1) / jnp.sum(inside, axis=-1)


def spectral_convergence(waves: Array, reference: Array, *, n_fft: int = 1024, hop: int = 256) -> Array:
    """Spectral convergence of each pair of sounds, [B, T] twice -> [B]; 0 where magnitudes are equal, 1 for silence.

    |S - S_ref| / |S_ref| in the Frobenius norm, S magnitudes of a centered STFT with a periodic Hann window (Sturmel &
    Daudet 2011). Ruled by the loudest partials; 20 log10 of it is the usual figure in dB. Two silent sounds have 0, a
    sound against silence the norm of its own spectra.
    """
    error, size = _convergence_terms(_magnitudes(waves, n_fft, hop), _magnitudes(reference, n_fft, hop))
    return error / jnp.where(size > 0, size, 1.0)


def multi_resolution_stft_distance(
    waves: Array,
    reference: Array,
    *,
    lengths: Array | None = None,
    n_ffts: tuple[int, ...] = (2048, 1024, 512),
    floor_db: float = -80.0,
) -> Array:
    """Multi-resolution STFT distance of each pair of sounds, [B, T] twice -> [B]; 0 where magnitudes are equal.

    Mean over the transform lengths (hop a quarter, periodic Hann window, centered) of spectral convergence plus the mean
    over frames and bins of |ln S - ln S_ref| (Yamamoto, Song & Kim 2020, eq. 4-6). Magnitudes under `floor_db` of the
    reference's largest are raised to it in the logarithm, or bins that nobody hears would rule. Differentiable where the
    sounds differ and the reference is not silent. `lengths` [B]: the logarithms' mean is over frames centered within the sound,
    as in `log_spectral_distance`; the convergence is no mean over frames, so padding does not change it.
    """
    total = jnp.zeros(waves.shape[:-1], jnp.float32)
    for n_fft in n_ffts:
        ours, theirs = (_magnitudes(x, n_fft, n_fft // 4) for x in (waves, reference))
        error, size = _convergence_terms(ours, theirs)
        smallest = jnp.maximum(jnp.max(theirs, axis=(-2, -1), keepdims=True) * 10.0 ** (floor_db / 20.0), 1e-10)
        logs = jnp.abs(jnp.log(jnp.maximum(ours, smallest)) - jnp.log(jnp.maximum(theirs, smallest)))
        total = total + error / jnp.where(size > 0, size, 1.0) + frame_mean(jnp.mean(logs, axis=-1), lengths, hop=n_fft // 4)
    return total / len(n_ffts)


def _magnitudes(waves: Array, n_fft: int, hop: int) -> Array:
    power = squared_magnitude(stft(waves, n_fft=n_fft, hop=hop))
    # The root has no slope at 0: a loss would send NaN back from silence.
    return jnp.sqrt(jnp.maximum(power, 1e-24)) * (power > 0)


def _convergence_terms(ours: Array, theirs: Array) -> tuple[Array, Array]:
    def norm(x):
        square = jnp.sum(jnp.square(x), axis=(-2, -1))
        return jnp.sqrt(jnp.maximum(square, 1e-30)) * (square > 0)

    return norm(ours - theirs), norm(theirs)
