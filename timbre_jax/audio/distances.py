"""Distances between pairs of feature images and between pairs of sounds."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from timbre_jax.audio.level import safe_sqrt
from timbre_jax.audio.stft import squared_magnitude, stft
from timbre_jax.types import Array


def mse(a: Array, b: Array, *, mask: Array | None = None) -> Array:
    """Returns the mean squared error of each pair of images.

    Args:
      a: [B, N, F] images.
      b: [B, N, F] images.
      mask: [B, N]; frames with 0 do not count. None: all do.

    Returns:
      [B].
    """
    error = jnp.mean(jnp.square(a - b), axis=-1)
    if mask is None:
        return jnp.mean(error, axis=-1)
    return jnp.sum(error * mask, axis=-1) / jnp.maximum(jnp.sum(mask, axis=-1), 1.0)


def _window_mean(image: Array, size: int) -> Array:
    """Averages images over square windows, [B, N, F] -> [B, N - size + 1, F - size + 1]."""
    sums = jax.lax.reduce_window(image, 0.0, jax.lax.add, (1, size, 1), (1, 1, 1), "VALID")
    sums = jax.lax.reduce_window(sums, 0.0, jax.lax.add, (1, 1, size), (1, 1, 1), "VALID")
    return sums / (size * size)


def ssim(a: Array, b: Array, *, window: int = 7, data_range: float = 1.0) -> Array:
    """Returns the structural similarity of each pair of images (Wang et al. 2004, eq. 13).

    The mean over all uniform windows that are entirely inside the image ("valid"), with K1 = 0.01, K2 = 0.03 and sample
    variances (n - 1). Equal to `skimage.metrics.structural_similarity` with win_size=window and gaussian_weights=False.

    Args:
      a: [B, N, F] images.
      b: [B, N, F] images.
      window: size of the window in frames and in rows.
      data_range: largest value of the images; the smallest is 0.

    Returns:
      [B], at most 1; equal images have 1.

    Raises:
      ValueError: the shapes differ, or the window is larger than the image.
    """
    if a.shape != b.shape or a.ndim != 3:
        raise ValueError(f"ssim: images must be [B, N, F] of one shape (got {a.shape} and {b.shape})")
    if min(a.shape[1:]) < window:
        raise ValueError(f"ssim: window={window} is larger than the image (got {a.shape[1:]}); use a smaller window")
    # Values are centered, because variances computed as differences of mean squares then lose less to rounding.
    center = 0.5 * data_range
    mean_a, mean_b = _window_mean(a - center, window), _window_mean(b - center, window)
    unbias = window * window / (window * window - 1.0)
    var_a = unbias * (_window_mean(jnp.square(a - center), window) - jnp.square(mean_a))
    var_b = unbias * (_window_mean(jnp.square(b - center), window) - jnp.square(mean_b))
    covariance = unbias * (_window_mean((a - center) * (b - center), window) - mean_a * mean_b)
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
    """Returns the log-spectral distance of each pair of sounds in dB.

    With power spectra P of a centered STFT (periodic Hann window of n_fft samples), in which values lower than `floor_db`
    relative to the largest bin of the reference are raised to this floor:

        LSD = mean over frames n of sqrt(mean over bins k of (10 log10 P[n, k] - 10 log10 P_ref[n, k])^2)

    (Gray & Markel 1976, in the discrete form of Quackenbush et al. 1988). Inaudible bins would dominate the distance without a
    floor, so values with different floors are not comparable.

    Args:
      waves: [B, T] samples.
      reference: [B, T] samples.
      lengths: [B] in samples; only frames centered within the sound count. None: all frames do, and silence that pads both
        sounds lowers the mean.
      n_fft: transform length in samples.
      hop: samples between frames.
      floor_db: floor in dB, relative to the largest bin of the reference.

    Returns:
      [B] in dB; 0 for two silent sounds.
    """
    reference_power, wave_power = (squared_magnitude(stft(x, n_fft=n_fft, hop=hop)) for x in (reference, waves))
    loudest = jnp.max(reference_power, axis=(-2, -1), keepdims=True)
    smallest = jnp.maximum(loudest * 10.0 ** (floor_db / 10.0), 1e-20)
    ratio = jnp.maximum(wave_power, smallest) / jnp.maximum(reference_power, smallest)
    difference = jnp.log(ratio) * (10.0 / math.log(10.0))
    return frame_mean(safe_sqrt(jnp.mean(jnp.square(difference), axis=-1)), lengths, hop=hop)


def frame_mean(values: Array, lengths: Array | None, *, hop: int) -> Array:
    """Averages values over the frames within each sound.

    Args:
      values: [B, N]; frame n is centered on sample n * hop.
      lengths: [B] in samples; None: all frames count.
      hop: samples between frames.

    Returns:
      [B].
    """
    if lengths is None:
        return jnp.mean(values, axis=-1)
    inside = (hop * jnp.arange(values.shape[-1]) < jnp.maximum(jnp.asarray(lengths), 1)[:, None]).astype(values.dtype)
    return jnp.sum(values * inside, axis=-1) / jnp.sum(inside, axis=-1)


def spectral_convergence(waves: Array, reference: Array, *, n_fft: int = 1024, hop: int = 256) -> Array:
    """Returns the spectral convergence of each pair of sounds (Sturmel & Daudet 2011).

    |S - S_ref| / |S_ref| in the Frobenius norm, where S are the magnitudes of a centered STFT with a periodic Hann window. The
    loudest partials dominate it. It is often given in dB, as 20 log10.

    Args:
      waves: [B, T] samples.
      reference: [B, T] samples.
      n_fft: transform length in samples.
      hop: samples between frames.

    Returns:
      [B]; 0 for equal magnitudes, 1 for silent waves. The norm of S if the reference is silent.
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
    """Returns the multi-resolution STFT distance of each pair of sounds.

    The mean over transform lengths (hop n_fft / 4, periodic Hann window, centered) of the spectral convergence plus the mean
    over frames and bins of |ln S - ln S_ref| (Yamamoto, Song & Kim 2020, eq. 4-6). In the logarithm, magnitudes below
    `floor_db` relative to the largest of the reference are raised to this floor. Differentiable if the sounds differ and the
    reference is not silent.

    Args:
      waves: [B, T] samples.
      reference: [B, T] samples.
      lengths: [B] in samples; the mean of the logarithms is over frames centered within the sound. None: over all frames. The
        spectral convergence is always over all frames, because padding does not change it.
      n_ffts: transform lengths in samples.
      floor_db: floor in dB, relative to the largest bin of the reference.

    Returns:
      [B]; 0 for equal magnitudes.
    """
    total = jnp.zeros(waves.shape[:-1], jnp.float32)
    for n_fft in n_ffts:
        wave_magnitudes, reference_magnitudes = (_magnitudes(x, n_fft, n_fft // 4) for x in (waves, reference))
        error, size = _convergence_terms(wave_magnitudes, reference_magnitudes)
        smallest = jnp.maximum(jnp.max(reference_magnitudes, axis=(-2, -1), keepdims=True) * 10.0 ** (floor_db / 20.0), 1e-10)
        logs = jnp.abs(jnp.log(jnp.maximum(wave_magnitudes, smallest)) - jnp.log(jnp.maximum(reference_magnitudes, smallest)))
        total = total + error / jnp.where(size > 0, size, 1.0) + frame_mean(jnp.mean(logs, axis=-1), lengths, hop=n_fft // 4)
    return total / len(n_ffts)


def _magnitudes(waves: Array, n_fft: int, hop: int) -> Array:
    """Computes magnitudes of an STFT, with gradient 0 at magnitude 0."""
    power = squared_magnitude(stft(waves, n_fft=n_fft, hop=hop))
    # The gradient of the square root at 0 is infinite, so the loss of a silent sound would have NaN gradients.
    return jnp.sqrt(jnp.maximum(power, 1e-24)) * (power > 0)


def _convergence_terms(magnitudes: Array, reference: Array) -> tuple[Array, Array]:
    """Returns the Frobenius norms [B] of the difference and of the reference."""

    def norm(x):
        square = jnp.sum(jnp.square(x), axis=(-2, -1))
        return jnp.sqrt(jnp.maximum(square, 1e-30)) * (square > 0)

    return norm(magnitudes - reference), norm(reference)
