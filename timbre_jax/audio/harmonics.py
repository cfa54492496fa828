"""Amplitudes of the harmonics of a sound, and the sound of a set of harmonics."""

from __future__ import annotations

import math

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.level import FLOOR_DB
from timbre_jax.types import Array

# Power under which a bin says nothing: far below -100 dB, far above the smallest normal float32.
_TINY = 1e-30


@flax.struct.dataclass
class Peaks:
    """Spectral peaks next to the multiples of a fundamental, each [B, N, H].

    Attributes:
      frequency: Hz; the multiple itself where no peak was found.
      log_power: natural logarithm of the interpolated power |X|^2.
      found: True where a local maximum lies next to the multiple.
    """

    frequency: Array
    log_power: Array
    found: Array


def harmonic_peaks(power: Array, f0: Array, *, n_harmonics: int, bin_width: float, reach: int = 4) -> Peaks:
    """The largest local maximum near each multiple of f0, with its place between the bins.

    Looked for within `reach` bins of n * f0 and no further than half an f0 away, so that no harmonic is counted twice.
    Place and height are those of the parabola through the logarithms of three bins (Smith & Serra 1987, PARSHL), which
    for a zero-padded Blackman window is right within 0.1 dB. Where no local maximum is in reach (a gap between
    harmonics, the slope of a louder neighbor), the height is that of the spectrum at n * f0 itself.

    Args:
      power: [B, N, K] power spectra.
      f0: [B, N] Hz.
      n_harmonics: H.
      bin_width: Hz between bins.
      reach: bins; half the window's main lobe (3 * n_fft / window_length bins for a Blackman window).

    Multiples beyond the last bin are reported as not found; their height has no meaning.
    """
    n_bins = power.shape[-1]
    order = np.arange(1, n_harmonics + 1, dtype=np.float32)
    target = f0[..., None] * (order / np.float32(bin_width))  # [B, N, H] in bins
    nearest = jnp.clip(jnp.round(target), 1, n_bins - 2).astype(jnp.int32)
    offsets = np.arange(-reach, reach + 1, dtype=np.int32)
    bins = nearest[..., None] + offsets
    limit = jnp.minimum(0.5 * f0 / bin_width, reach)[..., None, None]
    allowed = (jnp.abs(bins - target[..., None]) <= limit) & (bins >= 1) & (bins <= n_bins - 2)
    around = jnp.where(allowed, _pick(power, bins), -1.0)
    best = nearest - reach + jnp.argmax(around, axis=-1).astype(jnp.int32)
    best = jnp.clip(best, 1, n_bins - 2)

    left, middle, right = _log_triple(power, best)
    inside = target < n_bins - 1
    found = (middle >= left) & (middle > right) & inside & jnp.any(allowed, axis=-1)
    curvature = left - 2.0 * middle + right
    offset = jnp.where(found, 0.5 * (left - right) / jnp.where(found, jnp.minimum(curvature, -1e-6), -1.0), 0.0)
    offset = jnp.clip(offset, -0.5, 0.5)
    peak = middle - 0.25 * (left - right) * offset

    left, middle, right = _log_triple(power, nearest)
    away = jnp.clip(target - nearest, -0.5, 0.5)
    between = middle + away * (0.5 * (right - left) + 0.5 * away * (left - 2.0 * middle + right))
    return Peaks(
        frequency=jnp.where(found, best + offset, target) * bin_width,
        log_power=jnp.where(found, peak, between),
        found=found,
    )


def _pick(power: Array, bins: Array) -> Array:
    """power [B, N, K] at bins [B, N, ...] of the same frame; out of range reads the edge."""
    flat = bins.reshape(*bins.shape[:2], math.prod(bins.shape[2:]))
    return jnp.take_along_axis(power, flat, axis=-1, mode="clip").reshape(bins.shape)


def _log_triple(power: Array, bins: Array) -> tuple[Array, Array, Array]:
    triple = jnp.log(jnp.maximum(_pick(power, bins[..., None] + np.arange(-1, 2, dtype=np.int32)), _TINY))
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
    """Amplitude of each harmonic in dB, [B, N, K] power spectra and [B, N] f0 in Hz -> [B, N, H].

    Interpolated peak picking near n * f0 (`harmonic_peaks`), corrected for the window's gain: a sine of amplitude a
    gives 20 log10(a). At least `floor_db`; harmonics at or above half the sample rate are at the floor.

    Args:
      window_sum: the sum of the analysis window's samples.
      reach: as of `harmonic_peaks`.
    """
    bin_width = sample_rate / (2 * (power.shape[-1] - 1))
    peaks = harmonic_peaks(power, f0, n_harmonics=n_harmonics, bin_width=bin_width, reach=reach)
    db = peaks.log_power * np.float32(10.0 / math.log(10.0)) - np.float32(20.0 * math.log10(window_sum / 2.0))
    order = np.arange(1, n_harmonics + 1, dtype=np.float32)
    below_nyquist = f0[..., None] * order < 0.5 * sample_rate
    return jnp.where(below_nyquist, jnp.maximum(db, floor_db), floor_db)


def _wrap(turns: Array) -> Array:
    return turns - jnp.floor(turns)


def _sample_phase(f0: Array, hop: int) -> Array:
    """Phase of the fundamental in turns [0, 1), [B, S + 1] turns a sample at hop rate -> [B, S, hop].

    f0 runs linearly from frame to frame, so its integral has a closed form within a hop; whole turns are dropped on the
    way, so that float32 is as good at the end of a long sound as at its start.
    """
    start, end = f0[:, :-1], f0[:, 1:]
    steps = _wrap(0.5 * hop * (start + end))
    reached = jax.lax.associative_scan(lambda a, b: _wrap(a + b), steps, axis=1)
    begin = jnp.pad(reached[:, :-1], ((0, 0), (1, 0)))
    t = np.arange(hop, dtype=np.float32)
    within = start[..., None] * t + (end - start)[..., None] * (t * t / np.float32(2 * hop))
    return _wrap(begin[..., None] + within)


def additive_synthesis(f0: Array, amplitudes: Array, *, hop: int, sample_rate: int, length: int, group: int = 10) -> Array:
    """Sum of harmonic sines with continuous phase, [B, N] and [B, N, H] -> [B, length].

    x[t] = sum_n a_n[t] sin(2 pi n phi[t]), phi the integral of f0; f0 and the linear amplitudes a_n run linearly from
    frame to frame (frame k at sample k * hop) and are held after the last. A harmonic is silent in every hop in which
    it touches half the sample rate, so nothing folds back.

    Args:
      f0: Hz. amplitudes: linear, 1 is full scale.
      hop, length: samples.
      group: harmonics a pass: each starts from its own sine and cosine and turns on from harmonic to harmonic by a
        complex rotation, so two trigonometric functions serve `group` harmonics. Memory is about 5 * length floats a
        sound, whatever H.
    """
    batch, _, n_harmonics = amplitudes.shape
    segments = -(-length // hop)
    f0, amplitudes = _hold(f0, segments + 1), _hold(amplitudes, segments + 1)
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


def _hold(x: Array, frames: int) -> Array:
    """Cut x [B, N, ...] to `frames`, or hold its last frame."""
    missing = max(0, frames - x.shape[1])
    return jnp.pad(x[:, :frames], [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2), mode="edge")
