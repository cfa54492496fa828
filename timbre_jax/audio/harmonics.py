"""Analysis of the harmonics of a sound, and additive synthesis from harmonics."""

from __future__ import annotations

import math

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.level import FLOOR_DB
from timbre_jax.types import Array

# Smallest power of a bin. It is far below -100 dB and far above the smallest normal float32.
_TINY = 1e-30


@flax.struct.dataclass
class Peaks:
    """Spectral peaks near the multiples of a fundamental, [B, N, H] each.

    Attributes:
      frequency: frequency in Hz; the multiple itself if it has no peak.
      log_power: natural logarithm of the interpolated power |X|^2.
      is_peak: whether there is a local maximum near the multiple.
    """

    frequency: Array
    log_power: Array
    is_peak: Array


def harmonic_peaks(power: Array, f0: Array, *, n_harmonics: int, bin_width: float, reach: int = 4) -> Peaks:
    """Finds the largest spectral peak near each multiple of f0, interpolated between bins.

    The search covers `reach` bins around n * f0, but at most half an f0, so that no peak counts for two harmonics. Frequency
    and power are those of the parabola through the logarithms of three bins (Smith & Serra 1987, PARSHL), accurate to 0.1 dB
    for a zero-padded Blackman window. Without a local maximum (between harmonics, or on the slope of a louder one), the power
    is that of the spectrum at n * f0.

    Args:
      power: [B, N, K] power spectra.
      f0: [B, N] fundamental frequency in Hz.
      n_harmonics: number H of harmonics.
      bin_width: distance of bins in Hz.
      reach: number of bins on each side; half the main lobe of the window (3 * n_fft / window_length for a Blackman window).

    Returns:
      Peaks; for multiples beyond the last bin, `is_peak` is False and the power is meaningless.
    """
    n_bins = power.shape[-1]
    order = np.arange(1, n_harmonics + 1, dtype=np.float32)
    target = f0[..., None] * (order / np.float32(bin_width))  # [B, N, H] in bins
    nearest = jnp.clip(jnp.round(target), 1, n_bins - 2).astype(jnp.int32)
    offsets = np.arange(-reach, reach + 1, dtype=np.int32)
    bins = nearest[..., None] + offsets
    limit = jnp.minimum(0.5 * f0 / bin_width, reach)[..., None, None]
    allowed = (jnp.abs(bins - target[..., None]) <= limit) & (bins >= 1) & (bins <= n_bins - 2)
    around = jnp.where(allowed, _power_at(power, bins), -1.0)
    best = nearest - reach + jnp.argmax(around, axis=-1).astype(jnp.int32)
    best = jnp.clip(best, 1, n_bins - 2)

    left, middle, right = _log_power_around(power, best)
    inside = target < n_bins - 1
    is_peak = (middle >= left) & (middle > right) & inside & jnp.any(allowed, axis=-1)
    curvature = left - 2.0 * middle + right
    offset = jnp.where(is_peak, 0.5 * (left - right) / jnp.where(is_peak, jnp.minimum(curvature, -1e-6), -1.0), 0.0)
    offset = jnp.clip(offset, -0.5, 0.5)
    peak = middle - 0.25 * (left - right) * offset

    left, middle, right = _log_power_around(power, nearest)
    away = jnp.clip(target - nearest, -0.5, 0.5)
    between = middle + away * (0.5 * (right - left) + 0.5 * away * (left - 2.0 * middle + right))
    return Peaks(
        frequency=jnp.where(is_peak, best + offset, target) * bin_width,
        log_power=jnp.where(is_peak, peak, between),
        is_peak=is_peak,
    )


def _power_at(power: Array, bins: Array) -> Array:
    """Returns power [B, N, K] at bins [B, N, ...]; bins out of range are clipped to it."""
    flat = bins.reshape(*bins.shape[:2], math.prod(bins.shape[2:]))
    return jnp.take_along_axis(power, flat, axis=-1, mode="clip").reshape(bins.shape)


def _log_power_around(power: Array, bins: Array) -> tuple[Array, Array, Array]:
    """Returns the logarithm of the power at the bins before, at the bins, and after them."""
    triple = jnp.log(jnp.maximum(_power_at(power, bins[..., None] + np.arange(-1, 2, dtype=np.int32)), _TINY))
    return triple[..., 0], triple[..., 1], triple[..., 2]


def harmonic_amplitudes(
    power: Array,
    f0: Array,
    *,
    n_harmonics: int,
    sample_rate: int,
    window_sum: float,
    floor_db: float = FLOOR_DB,
    reach: int = 4,
) -> Array:
    """Measures the amplitudes of harmonics in dB by interpolated peak picking.

    They are those of `harmonic_peaks`, corrected for the gain of the window: a sine of amplitude a has 20 log10(a) dB.

    Args:
      power: [B, N, K] power spectra.
      f0: [B, N] fundamental frequency in Hz.
      n_harmonics: number H of harmonics.
      sample_rate: sample rate in Hz.
      window_sum: sum of the samples of the analysis window.
      floor_db: lowest amplitude returned, in dB; harmonics at or above half the sample rate have it.
      reach: number of bins searched on each side (`harmonic_peaks`).

    Returns:
      [B, N, H] in dB.
    """
    bin_width = sample_rate / (2 * (power.shape[-1] - 1))
    peaks = harmonic_peaks(power, f0, n_harmonics=n_harmonics, bin_width=bin_width, reach=reach)
    db = peaks.log_power * np.float32(10.0 / math.log(10.0)) - np.float32(20.0 * math.log10(window_sum / 2.0))
    order = np.arange(1, n_harmonics + 1, dtype=np.float32)
    below_nyquist = f0[..., None] * order < 0.5 * sample_rate
    return jnp.where(below_nyquist, jnp.maximum(db, floor_db), floor_db)


def _wrap(turns: Array) -> Array:
    """Wraps phases in turns to [0, 1)."""
    return turns - jnp.floor(turns)


def _sample_phase(f0: Array, hop: int) -> Array:
    """Integrates f0 to the phase of each sample in turns, [B, S + 1] -> [B, S, hop].

    f0, in turns per sample, is linear between frames, so its integral has a closed form within a hop. Phases are wrapped to
    [0, 1), so that float32 is as accurate at the end of a long sound as at its start.
    """
    start, end = f0[:, :-1], f0[:, 1:]
    steps = _wrap(0.5 * hop * (start + end))
    reached = jax.lax.associative_scan(lambda a, b: _wrap(a + b), steps, axis=1)
    begin = jnp.pad(reached[:, :-1], ((0, 0), (1, 0)))
    t = np.arange(hop, dtype=np.float32)
    within = start[..., None] * t + (end - start)[..., None] * (t * t / np.float32(2 * hop))
    return _wrap(begin[..., None] + within)


def additive_synthesis(f0: Array, amplitudes: Array, *, hop: int, sample_rate: int, length: int, group: int = 10) -> Array:
    """Sums harmonic sines with continuous phase.

    x[t] = sum_n a_n[t] sin(2 pi n phi[t]), where phi is the integral of f0 in turns. f0 and amplitudes are linear between
    frames (frame k at sample k * hop) and held after the last frame. A harmonic is silent in hops in which it reaches half the
    sample rate, so that nothing aliases.

    Args:
      f0: [B, N] fundamental frequency in Hz.
      amplitudes: [B, N, H], linear; 1 is full scale.
      hop: samples between frames.
      sample_rate: sample rate in Hz.
      length: number of samples of the result.
      group: number of harmonics computed from one sine and cosine by complex rotation. Memory is about 5 * length floats per
        sound for any H.

    Returns:
      [B, length].
    """
    batch, _, n_harmonics = amplitudes.shape
    segments = -(-length // hop)
    f0, amplitudes = _fit_frames(f0, segments + 1), _fit_frames(amplitudes, segments + 1)
    highest = jnp.maximum(f0, jnp.maximum(jnp.pad(f0, ((0, 0), (1, 0)))[:, :-1], jnp.pad(f0, ((0, 0), (0, 1)))[:, 1:]))
    order = np.arange(1, n_harmonics + 1, dtype=np.float32)
    amplitudes = jnp.where(highest[..., None] * order < 0.5 * sample_rate, amplitudes, 0.0)

    turns = _sample_phase(f0 / sample_rate, hop)
    step_cos, step_sin = jnp.cos(2.0 * jnp.pi * turns), jnp.sin(2.0 * jnp.pi * turns)
    fraction = np.arange(hop, dtype=np.float32) / np.float32(hop)

    group = min(group, n_harmonics)
    passes = -(-n_harmonics // group)
    amplitudes = jnp.pad(amplitudes, ((0, 0), (0, 0), (0, passes * group - n_harmonics)))
    amplitudes = jnp.moveaxis(amplitudes.reshape(batch, segments + 1, passes, group), 2, 0)

    @jax.checkpoint
    def add_group(total, inputs):
        first, levels = inputs
        angle = 2.0 * jnp.pi * _wrap(first * turns)
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        for k in range(group):
            a = levels[:, :-1, k, None] + (levels[:, 1:, k] - levels[:, :-1, k])[..., None] * fraction
            total = total + a * sin
            cos, sin = cos * step_cos - sin * step_sin, sin * step_cos + cos * step_sin
        return total, None

    firsts = jnp.arange(passes, dtype=jnp.float32) * group + 1.0
    total, _ = jax.lax.scan(add_group, jnp.zeros_like(turns), (firsts, amplitudes))
    return total.reshape(batch, segments * hop)[:, :length]


def _fit_frames(x: Array, frames: int) -> Array:
    """Cuts x [B, N, ...] to a number of frames, or extends it by repeating its last frame."""
    missing = max(0, frames - x.shape[1])
    return jnp.pad(x[:, :frames], [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2), mode="edge")
