"""Fundamental frequency: YIN for all frames at once, sharpened by spectral peaks, smoothed by the paper's 3 % rule."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.harmonics import harmonic_peaks
from timbre_jax.types import Array


def _fast_fft_length(least: int) -> int:
    """The smallest 2^a 3^b >= least with at most two threes: lengths that every FFT library does quickly."""
    lengths = (2**a * 3**b for a in range(2, 24) for b in range(3))
    return min(n for n in lengths if n >= least)


@functools.lru_cache(maxsize=8)
def _triangle(size: int) -> np.ndarray:
    return np.triu(np.ones((size, size), np.float32))


def difference_function(waves: Array, *, hop: int, max_lag: int, window_hops: int = 3) -> Array:
    """YIN's difference function, [B, T] -> [B, N, max_lag + 1] with N = 1 + T // hop.

    d_n(tau) = sum_j (x[j] - x[j + tau])^2 over the window_hops * hop samples that begin at
    (n - ceil(window_hops / 2)) * hop (de Cheveigne & Kawahara 2002, eq. 6): with the default 3 hops, window and lag
    together lie about the frame's center n * hop. Beyond the ends of the wave there is silence.

    A thousandth of a percent of both windows' energy is added: differences under float32's rounding (those of a
    constant offset) then look like noise, not like something periodic.

    A window is a whole number of hops, so each hop-long block is transformed once and correlated with what follows it,
    and the blocks' correlations are summed: two FFTs of about (2 + max_lag / hop) * hop samples a frame.
    """
    batch, length = waves.shape
    count = 1 + length // hop
    before = -(-window_hops // 2)
    reach = 1 + -(-max_lag // hop)  # blocks in which x[j + tau] can lie
    blocks_needed = count + window_hops + reach - 2
    padded = jnp.pad(waves, ((0, 0), (before * hop, max(0, blocks_needed * hop - before * hop - length))))
    blocks = padded[:, : blocks_needed * hop].reshape(batch, blocks_needed, hop)
    n_fft = _fast_fft_length(max(reach * hop, hop + max_lag))

    # Correlation of each block with itself and the blocks behind it: a delay by k blocks is a turn in frequency.
    spectra = jnp.fft.rfft(blocks, n_fft)
    turns = np.exp(-2j * np.pi * np.outer(np.arange(reach) * hop, np.arange(n_fft // 2 + 1)) / n_fft)
    usable = blocks_needed - reach + 1
    ahead = sum(spectra[:, k : k + usable] * turns[k].astype(np.complex64) for k in range(reach))
    correlation = jnp.fft.irfft(jnp.conj(spectra[:, :usable]) * ahead, n_fft)[..., : max_lag + 1]
    correlation = sum(correlation[:, k : k + count] for k in range(window_hops))

    # Energy of the window, and of the window moved by tau: what leaves at the front, what enters at the back.
    powers = jnp.square(blocks)
    runs = jnp.concatenate([powers[:, k : k + count + window_hops] for k in range(reach - 1)], axis=-1)
    energy = jnp.sum(powers, axis=-1)
    start = sum(energy[:, k : k + count] for k in range(window_hops))
    moved = runs[:, window_hops : window_hops + count, :max_lag] - runs[:, :count, :max_lag]
    shifted = start[..., None] + jnp.pad(running_sum(moved), ((0, 0), (0, 0), (1, 0)))
    energies = start[..., None] + shifted
    return jnp.maximum(energies - 2.0 * correlation, 0.0) + 1e-5 * energies


def running_sum(x: Array) -> Array:
    """Cumulative sum over the last axis as a product with a triangle: one matmul, quick for a few hundred entries."""
    return jnp.matmul(x, _triangle(x.shape[-1]), precision=jax.lax.Precision.HIGHEST)


def cumulative_mean_normalized(difference: Array) -> Array:
    """d'(tau) = d(tau) tau / sum_{1..tau} d(j), d'(0) = 1 (de Cheveigne & Kawahara 2002, eq. 8); same shape [..., L].

    Silence (all differences 0) gives 1 everywhere: nothing periodic.
    """
    total = jnp.pad(running_sum(difference[..., 1:]), [(0, 0)] * (difference.ndim - 1) + [(1, 0)])
    lags = np.arange(difference.shape[-1], dtype=np.float32)
    heard = total > 1e-12
    return jnp.where(heard, difference * lags / jnp.where(heard, total, 1.0), 1.0)


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
    """f0 of centered frames by YIN, [B, T] -> (f0 [B, N] in Hz, aperiodicity [B, N]), N = 1 + T // hop.

    de Cheveigne & Kawahara 2002, section II: the first trough of the cumulative-mean-normalized difference that is
    under `threshold`, or the deepest where none is; its place and depth by a parabola through three lags. Every frame
    gets an f0, noise and silence too: the aperiodicity (the trough's depth: 0 perfectly periodic, about 1 noise or
    silence) says what it is worth.

    Only lags from sample_rate / f_max to sample_rate / f_min are looked at (7..200 at 16 kHz). The window is
    `window_hops` hops; None takes as many as hold 2.5 periods of f_min (3 hops of 172 at 16 kHz).

    Raises ValueError where the range is empty or above half the sample rate.
    """
    if not 0.0 < f_min < f_max <= 0.5 * sample_rate:
        raise ValueError(f"need 0 < f_min < f_max <= {0.5 * sample_rate:g} Hz, got f_min={f_min:g}, f_max={f_max:g}")
    first, last = math.floor(sample_rate / f_max), math.ceil(sample_rate / f_min)
    if window_hops is None:
        window_hops = math.ceil(2.5 * last / hop)
    difference = difference_function(waves, hop=hop, max_lag=last + 1, window_hops=window_hops)
    curve = cumulative_mean_normalized(difference)
    before, here, after = curve[..., first - 1 : -2], curve[..., first:-1], curve[..., first + 1 :]
    lags = np.arange(first, last + 1, dtype=np.float32)
    # Depth between the lags: a bright note's trough at 8.4 samples is far from its nearest lag's value.
    bend = before - 2.0 * here + after
    trough = (here < before) & (here <= after)
    depth = here - jnp.where(trough, 0.125 * jnp.square(after - before) / jnp.where(trough, bend, 1.0), 0.0)
    deepest = jnp.min(jnp.where(trough, depth, 1e6), axis=-1, keepdims=True)
    wanted = trough & (depth <= jnp.maximum(deepest, threshold))
    # A minimum over lags is a plain reduction, quicker than an argmax: where nothing qualifies, the deepest point.
    chosen = jnp.min(jnp.where(wanted, lags, np.float32(1e6)), axis=-1)
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
    """Sharpen f0 by its harmonics' spectral peaks and lift it out of subharmonics, [B, N, K], [B, N] Hz -> [B, N] Hz.

    YIN's lag grid errs by up to 11 cents at the top of the range; a peak's place is good to a fraction of a bin, and
    the n-th harmonic's is n times finer. The mean of log(f_n / n) of the first six harmonics, weighted by their power,
    over the peaks within `max_change` of n * f0; without any, f0 stays.

    YIN answers with two or three periods where the sound is a little unsteady from period to period. It shows in the
    spectrum: only every second (third) multiple carries power. Where the others hold less than the share `faint` of the
    six multiples' power, f0 is multiplied by 2 (3): above YIN's range too, where the sound itself lies above it.
    """
    bin_width = sample_rate / (2 * (power.shape[-1] - 1))
    order = np.arange(1, 7, dtype=np.float32)
    peaks = harmonic_peaks(power, f0, n_harmonics=6, bin_width=bin_width, reach=reach)
    present = f0[..., None] * order < 0.5 * sample_rate
    height = jnp.where(present, peaks.log_power, -jnp.inf)
    strength = jnp.exp(height - jnp.max(height, axis=-1, keepdims=True))

    change = jnp.log(jnp.maximum(peaks.frequency, 1.0) / (f0[..., None] * order))
    weight = jnp.where(peaks.found & (jnp.abs(change) < max_change), strength, 0.0)
    total = jnp.sum(weight, axis=-1)
    refined = f0 * jnp.exp(jnp.sum(weight * change, axis=-1) / jnp.where(total > 0, total, 1.0))

    everything = jnp.sum(strength, axis=-1)
    for factor in (2, 3):
        between = jnp.sum(strength * (order % factor != 0), axis=-1)
        refined = jnp.where(between < faint * everything, refined * factor, refined)
    return refined


def masked_median(x: Array, valid: Array) -> Array:
    """Lower median of the valid entries, [B, N] -> [B]; inf where none is."""
    ordered = jnp.sort(jnp.where(valid, x, jnp.inf), axis=-1)
    middle = jnp.maximum(jnp.sum(valid, axis=-1) - 1, 0) // 2
    return jnp.take_along_axis(ordered, middle[:, None], axis=-1)[:, 0]


def smooth_f0(f0: Array, voiced: Array, level_db: Array, *, max_change: float = 0.03, max_jump: float = 0.2) -> Array:
    """One steady f0 line through a note, [B, N] each -> [B, N] Hz: moves at most `max_change` a frame.

    The 3 % rule of Natsiou et al. 2023 (section 3), begun where it can be trusted: at the loudest voiced frame whose f0
    lies within `max_change` of the median of the voiced ones, and walked from there both ways. At each frame:

    - an estimate off by whole octaves is folded back first;
    - a voiced estimate within `max_jump` octaves is followed, by at most `max_change` (0.03 = 3 %) a frame;
    - anything else (an unvoiced or released frame, a wrong estimate) holds the last f0.

    Args:
      f0: estimates in Hz.
      voiced: bool, whether the estimate is to be believed.
      level_db: level of each frame.

    A sound without any voiced frame holds the f0 of its loudest frame.
    """
    any_voiced = jnp.any(voiced, axis=-1)
    log_f0 = jnp.log2(f0)
    median = masked_median(log_f0, voiced)
    largest = math.log2(1.0 + max_change)
    agrees = voiced & (jnp.abs(log_f0 - median[:, None]) <= largest)
    candidates = jnp.where(any_voiced[:, None], agrees, True)
    start = jnp.argmax(jnp.where(candidates, level_db, -jnp.inf), axis=-1)
    seed = jnp.take_along_axis(log_f0, start[:, None], axis=-1)[:, 0]

    # Both walks in one loop: the way back is the way forth through the reversed sound.
    both = jnp.concatenate([log_f0, log_f0[:, ::-1]])
    frames = np.arange(f0.shape[-1], dtype=np.int32)
    behind = jnp.concatenate([frames > start[:, None], frames > (f0.shape[-1] - 1 - start)[:, None]])
    follow = behind & jnp.concatenate([voiced, voiced[:, ::-1]])

    def walk(current, inputs):
        estimate, believed = inputs
        change = estimate - current
        change = change - jnp.round(change)
        believed = believed & (jnp.abs(change) <= max_jump)
        current = current + jnp.where(believed, jnp.clip(change, -largest, largest), 0.0)
        return current, current

    _, walked = jax.lax.scan(walk, jnp.concatenate([seed, seed]), (both.T, follow.T), unroll=4)
    forth, back = jnp.split(walked.T, 2)
    return jnp.exp2(jnp.where(frames >= start[:, None], forth, back[:, ::-1]))
