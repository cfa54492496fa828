"""Estimation of the fundamental frequency: YIN, refinement and smoothing."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.harmonics import harmonic_peaks
from timbre_jax.types import Array


def _fast_fft_length(least: int) -> int:
    """Returns the smallest FFT length 2^a 3^b >= `least` with b <= 2."""
    lengths = (2**a * 3**b for a in range(2, 24) for b in range(3))
    return min(n for n in lengths if n >= least)


@functools.lru_cache(maxsize=8)
def _triangle(size: int) -> np.ndarray:
    """Returns an upper triangular matrix of ones, [size, size]."""
    return np.triu(np.ones((size, size), np.float32))


def difference_function(waves: Array, *, hop: int, max_lag: int, window_hops: int = 3) -> Array:
    """Computes the difference function of YIN (de Cheveigné & Kawahara 2002, eq. 6).

    d_n(tau) = sum_j (x[j] - x[j + tau])^2 over the window_hops * hop samples that start at (n - ceil(window_hops / 2)) * hop.
    With the default of 3 hops, window and lag together are centered on about n * hop, the center of the frame. The wave is zero
    beyond its ends.

    1e-5 of the energy of both windows is added, so that differences below the rounding of float32 (such as those of a constant
    offset) count as noise and not as a periodic signal.

    Each block of one hop is transformed once and correlated with the following blocks, and the correlations of the blocks of a
    window are summed. This takes two FFTs of about (2 + max_lag / hop) * hop samples per frame.

    Args:
      waves: [B, T] samples.
      hop: samples between frames.
      max_lag: largest tau in samples.
      window_hops: length of the window in hops.

    Returns:
      [B, N, max_lag + 1], N = 1 + T // hop.
    """
    batch, length = waves.shape
    count = 1 + length // hop
    before = -(-window_hops // 2)
    reach = 1 + -(-max_lag // hop)  # blocks that x[j + tau] can be in
    blocks_needed = count + window_hops + reach - 2
    padded = jnp.pad(waves, ((0, 0), (before * hop, max(0, blocks_needed * hop - before * hop - length))))
    blocks = padded[:, : blocks_needed * hop].reshape(batch, blocks_needed, hop)
    n_fft = _fast_fft_length(max(reach * hop, hop + max_lag))

    # Each block is correlated with itself and the following blocks; a delay by k blocks is a phase in the spectrum.
    spectra = jnp.fft.rfft(blocks, n_fft)
    delays = np.exp(-2j * np.pi * np.outer(np.arange(reach) * hop, np.arange(n_fft // 2 + 1)) / n_fft)
    usable = blocks_needed - reach + 1
    ahead = sum(spectra[:, k : k + usable] * delays[k].astype(np.complex64) for k in range(reach))
    correlation = jnp.fft.irfft(jnp.conj(spectra[:, :usable]) * ahead, n_fft)[..., : max_lag + 1]
    correlation = sum(correlation[:, k : k + count] for k in range(window_hops))

    # The energy of the shifted window is that of the window minus the samples that leave it plus those that enter it.
    powers = jnp.square(blocks)
    runs = jnp.concatenate([powers[:, k : k + count + window_hops] for k in range(reach - 1)], axis=-1)
    energy = jnp.sum(powers, axis=-1)
    start = sum(energy[:, k : k + count] for k in range(window_hops))
    moved = runs[:, window_hops : window_hops + count, :max_lag] - runs[:, :count, :max_lag]
    shifted = start[..., None] + jnp.pad(running_sum(moved), ((0, 0), (0, 0), (1, 0)))
    energies = start[..., None] + shifted
    return jnp.maximum(energies - 2.0 * correlation, 0.0) + 1e-5 * energies


def running_sum(x: Array) -> Array:
    """Returns the cumulative sum over the last axis.

    A product with a triangular matrix is fast for a few hundred entries.
    """
    return jnp.matmul(x, _triangle(x.shape[-1]), precision=jax.lax.Precision.HIGHEST)


def cumulative_mean_normalized(difference: Array) -> Array:
    """Normalizes a difference function by its cumulative mean.

    d'(tau) = d(tau) tau / sum_{1..tau} d(j), d'(0) = 1 (de Cheveigné & Kawahara 2002, eq. 8). The result for
    silence, whose differences are all 0, is 1: not periodic.

    Args:
      difference: [..., L] difference function over lags.

    Returns:
      [..., L].
    """
    total = jnp.pad(running_sum(difference[..., 1:]), [(0, 0)] * (difference.ndim - 1) + [(1, 0)])
    lags = np.arange(difference.shape[-1], dtype=np.float32)
    audible = total > 1e-12
    return jnp.where(audible, difference * lags / jnp.where(audible, total, 1.0), 1.0)


def yin(
    waves: Array,
    *,
    sample_rate: int,
    hop: int,
    f_min: float = 80.0,
    f_max: float = 2100.0,
    threshold: float = 0.1,
    window_hops: int | None = None,
) -> tuple[Array, Array]:
    """Estimates f0 of centered frames by YIN (de Cheveigné & Kawahara 2002, section II).

    The lag of a frame is the first trough of the normalized difference function below `threshold`, or the deepest trough if
    none is below. A parabola through three lags refines its position and depth. Every frame gets an f0, even noise and
    silence; the aperiodicity says whether it can be trusted.

    Args:
      waves: [B, T] samples.
      sample_rate: sample rate in Hz.
      hop: samples between frames.
      f_min: lowest f0 in Hz.
      f_max: highest f0 in Hz; lags from sample_rate / f_max to sample_rate / f_min are searched (7 to 200 at 16 kHz).
      threshold: depth below which a trough counts.
      window_hops: length of the window in hops; None: at least 2.5 periods of f_min (3 hops of 172 at 16 kHz).

    Returns:
      (f0, aperiodicity), [B, N] each, N = 1 + T // hop: f0 in Hz, and the depth of the trough, 0 for a periodic frame and about
      1 for noise and silence.

    Raises:
      ValueError: the range is empty or exceeds half the sample rate.
    """
    if not 0.0 < f_min < f_max <= 0.5 * sample_rate:
        raise ValueError(f"f_min={f_min:g}, f_max={f_max:g}: must be 0 < f_min < f_max <= {0.5 * sample_rate:g} Hz")
    first, last = math.floor(sample_rate / f_max), math.ceil(sample_rate / f_min)
    if window_hops is None:
        window_hops = math.ceil(2.5 * last / hop)
    difference = difference_function(waves, hop=hop, max_lag=last + 1, window_hops=window_hops)
    curve = cumulative_mean_normalized(difference)
    before, here, after = curve[..., first - 1 : -2], curve[..., first:-1], curve[..., first + 1 :]
    lags = np.arange(first, last + 1, dtype=np.float32)
    # The depth is interpolated, because a trough at 8.4 samples (a high note) is much deeper than its value at lag 8.
    bend = before - 2.0 * here + after
    trough = (here < before) & (here <= after)
    depth = here - jnp.where(trough, 0.125 * jnp.square(after - before) / jnp.where(trough, bend, 1.0), 0.0)
    deepest = jnp.min(jnp.where(trough, depth, 1e6), axis=-1, keepdims=True)
    candidate = trough & (depth <= jnp.maximum(deepest, threshold))
    # A minimum over lags is a plain reduction, faster than an argmax. Without a candidate, take the deepest lag.
    chosen = jnp.min(jnp.where(candidate, lags, np.float32(1e6)), axis=-1)
    fallback = jnp.min(jnp.where(here <= jnp.min(here, axis=-1, keepdims=True), lags, np.float32(1e6)), axis=-1)
    chosen = jnp.where(chosen < 1e6, chosen, fallback)

    index = jnp.clip(chosen.astype(jnp.int32), first, last)[..., None] + np.arange(-1, 2, dtype=np.int32)
    left, middle, right = jnp.moveaxis(jnp.take_along_axis(curve, index, axis=-1, mode="clip"), -1, 0)
    bend = left - 2.0 * middle + right
    curved = bend > 1e-9
    offset = jnp.clip(jnp.where(curved, 0.5 * (left - right) / jnp.where(curved, bend, 1.0), 0.0), -0.5, 0.5)
    f0 = jnp.clip(sample_rate / (chosen + offset), f_min, f_max)
    return f0, jnp.clip(middle - 0.25 * (left - right) * offset, 0.0, 1.0)


def refine_f0(
    power: Array,
    f0: Array,
    *,
    sample_rate: int,
    max_change: float = 0.03,
    faint: float = 0.01,
    reach: int = 4,
) -> Array:
    """Refines f0 by the spectral peaks of its harmonics, and corrects subharmonics.

    The lags of YIN have errors of up to 11 cents at the top of the range. A spectral peak is accurate to a fraction of a bin,
    and the peak of the n-th harmonic gives f0 n times more accurately. The refined f0 is the geometric mean of f_n / n over the
    peaks of the first six harmonics within `max_change` of n * f0, weighted by power. Without any such peak, f0 is unchanged.

    YIN returns two or three periods for sounds that vary slightly from period to period. Then only every second (third)
    multiple of f0 has power: if the others have less than the share `faint` of the power of the six multiples, f0 is multiplied
    by 2 (3). The result may exceed the range of YIN.

    Args:
      power: [B, N, K] power spectra.
      f0: [B, N] fundamental frequency in Hz.
      sample_rate: sample rate in Hz.
      max_change: largest relative distance of a peak from n * f0.
      faint: share of the power below which multiples are missing, see above.
      reach: number of bins searched on each side of a multiple (`harmonic_peaks`).

    Returns:
      [B, N] in Hz.
    """
    bin_width = sample_rate / (2 * (power.shape[-1] - 1))
    order = np.arange(1, 7, dtype=np.float32)
    peaks = harmonic_peaks(power, f0, n_harmonics=6, bin_width=bin_width, reach=reach)
    present = f0[..., None] * order < 0.5 * sample_rate
    height = jnp.where(present, peaks.log_power, -jnp.inf)
    strength = jnp.exp(height - jnp.max(height, axis=-1, keepdims=True))

    change = jnp.log(jnp.maximum(peaks.frequency, 1.0) / (f0[..., None] * order))
    weight = jnp.where(peaks.is_peak & (jnp.abs(change) < max_change), strength, 0.0)
    total = jnp.sum(weight, axis=-1)
    refined = f0 * jnp.exp(jnp.sum(weight * change, axis=-1) / jnp.where(total > 0, total, 1.0))

    everything = jnp.sum(strength, axis=-1)
    for factor in (2, 3):
        between = jnp.sum(strength * (order % factor != 0), axis=-1)
        refined = jnp.where(between < faint * everything, refined * factor, refined)
    return refined


def masked_median(x: Array, valid: Array) -> Array:
    """Returns the lower median of the valid entries, [B, N] -> [B]; inf if there is none."""
    ordered = jnp.sort(jnp.where(valid, x, jnp.inf), axis=-1)
    middle = jnp.maximum(jnp.sum(valid, axis=-1) - 1, 0) // 2
    return jnp.take_along_axis(ordered, middle[:, None], axis=-1)[:, 0]


def smooth_f0(f0: Array, voiced: Array, level_db: Array, *, max_change: float = 0.03, max_jump: float = 0.2) -> Array:
    """Smooths f0 to a curve that changes by at most `max_change` per frame.

    The 3 % rule of Natsiou et al. 2023 (section 3). The curve starts at the loudest voiced frame whose f0 is within
    `max_change` of the median of voiced frames, and continues from there in both directions. In each frame:

    - the estimate is first moved by whole octaves toward the curve;
    - a voiced estimate within `max_jump` octaves moves the curve, by at most `max_change`;
    - for any other estimate, the curve keeps its last value.

    Without voiced frames, the curve is constant at the f0 of the loudest frame.

    Args:
      f0: [B, N] fundamental frequency in Hz.
      voiced: [B, N] bool, whether to trust the estimate.
      level_db: [B, N] level of each frame in dB.
      max_change: largest relative change per frame, 0.03 = 3 %.
      max_jump: largest distance of an estimate from the curve in octaves.

    Returns:
      [B, N] in Hz.
    """
    any_voiced = jnp.any(voiced, axis=-1)
    log_f0 = jnp.log2(f0)
    median = masked_median(log_f0, voiced)
    largest = math.log2(1.0 + max_change)
    agrees = voiced & (jnp.abs(log_f0 - median[:, None]) <= largest)
    candidates = jnp.where(any_voiced[:, None], agrees, True)
    start = jnp.argmax(jnp.where(candidates, level_db, -jnp.inf), axis=-1)
    seed = jnp.take_along_axis(log_f0, start[:, None], axis=-1)[:, 0]

    # One loop runs both directions: backward is forward through the reversed sound.
    both = jnp.concatenate([log_f0, log_f0[:, ::-1]])
    frames = np.arange(f0.shape[-1], dtype=np.int32)
    behind = jnp.concatenate([frames > start[:, None], frames > (f0.shape[-1] - 1 - start)[:, None]])
    follow = behind & jnp.concatenate([voiced, voiced[:, ::-1]])

    def walk(current, inputs):
        estimate, trusted = inputs
        change = estimate - current
        change = change - jnp.round(change)
        trusted = trusted & (jnp.abs(change) <= max_jump)
        current = current + jnp.where(trusted, jnp.clip(change, -largest, largest), 0.0)
        return current, current

    _, walked = jax.lax.scan(walk, jnp.concatenate([seed, seed]), (both.T, follow.T), unroll=4)
    forward, backward = jnp.split(walked.T, 2)
    return jnp.exp2(jnp.where(frames >= start[:, None], forward, backward[:, ::-1]))
