"""Phase reconstruction by integration of the phase gradient (PGHI)."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.chunked_map import map_sounds
from timbre_jax.audio.stft import impulse_phase, window_samples
from timbre_jax.types import Array


@functools.lru_cache(maxsize=64)
def gaussian_width(window: str, length: int) -> float:
    """Returns the width gamma in samples^2 of the Gaussian closest to a window.

    gamma is the least-squares fit of exp(-pi t^2 / gamma). The ratio gamma / length^2 is 0.258 for a Hann window, 0.304 for
    Hamming and 0.179 for Blackman; Průša et al. 2017 give 0.256, 0.298 and 0.180.

    Args:
      window: a name of `audio.stft.COSINE_WINDOWS`.
      length: length in samples.
    """
    samples = window_samples(window, length).astype(np.float64)
    square = np.square(np.arange(length) - length / 2)

    def error(gamma):
        return float(np.sum(np.square(samples - np.exp(-math.pi * square / gamma))))

    low, high, golden = 1e-3 * length**2, 2.0 * length**2, 0.5 * (math.sqrt(5.0) - 1.0)
    for _ in range(80):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if error(left) < error(right) else (left, high)
    return 0.5 * (low + high)


def phase_gradient(
    magnitudes: Array, *, hop: int, gamma: float, floor_db: float = -120.0, full_scale: Array | float | None = None
) -> tuple[Array, Array]:
    """Estimates the phase gradient over frames and over bins from magnitudes.

    For frames centered on n * hop, phases without the factor (-1)^k, and the logarithm s of the magnitude:

        d phase / dn = 2 pi hop k / n_fft + hop n_fft / gamma * ds/dk,    d phase / dk = -gamma / (hop n_fft) * ds/dn

    with central differences. This is exact for a Gaussian window of width gamma (Portnoff 1979; Průša, Balazs & Søndergaard
    2017, eq. 10-11). Whole turns of the first are removed.

    Args:
      magnitudes: [N, K] magnitude spectra.
      hop: samples between frames.
      gamma: width of the window in samples^2 (`gaussian_width`).
      floor_db: magnitudes below this level, relative to full scale, are raised to it.
      full_scale: magnitude at 0 dB; None: the largest magnitude of the sound.

    Returns:
      d phase / dn and d phase / dk in radians, [N, K] each.
    """
    bins = magnitudes.shape[-1]
    n_fft = 2 * (bins - 1)
    loudest = jnp.maximum(jnp.max(magnitudes), 1e-30) if full_scale is None else full_scale
    s = jnp.log(jnp.maximum(magnitudes / loudest, 10.0 ** (floor_db / 20.0)))
    padded = jnp.pad(s, 1, mode="edge")
    ratio = hop * n_fft / gamma
    own = 2.0 * np.pi * np.mod(hop * np.arange(bins) / n_fft, 1.0)
    across = jnp.asarray(own, jnp.float32) + np.float32(0.5 * ratio) * (padded[1:-1, 2:] - padded[1:-1, :-2])
    return across, np.float32(-0.5 / ratio) * (padded[2:, 1:-1] - padded[:-2, 1:-1])


@functools.partial(jax.jit, static_argnames=("hop", "window", "window_length"))
def integrate_phase(
    magnitudes: Array,
    *,
    hop: int,
    window: str = "hann",
    window_length: int | None = None,
    known: Array | None = None,
) -> Array:
    """Estimates phases from magnitudes of a centered transform (`audio.stft.stft`).

    Phase gradient heap integration (PGHI; Průša, Balazs & Søndergaard 2017, "A noniterative method for reconstruction of phase
    from STFT magnitude") in a form for accelerators. PGHI uses one heap over the time-frequency plane. Here, frames are
    integrated in order from the loudest one in both directions, as in the real-time form (Průša & Søndergaard 2016). Within a
    frame, each bin takes its phase along the path that the heap would choose: from its own bin in the previous frame, or from
    another bin along the frame. The chosen path is the one whose faintest point is loudest. The paths depend only on the
    magnitudes, so they are computed for all frames in parallel; only the sum runs from frame to frame.
    `tests/audio/test_phase.py` compares the result with the heap.

    Args:
      magnitudes: [B, N, K] magnitude spectra.
      hop: samples between frames.
      window: a name of `audio.stft.COSINE_WINDOWS`.
      window_length: length of the window in samples; None: n_fft.
      known: [B, P, K] phases of the first P frames in radians, which stay fixed; integration starts at the last of them.

    Returns:
      [B, N, K] in radians.
    """
    bins = magnitudes.shape[-1]
    window_length = 2 * (bins - 1) if window_length is None else window_length
    gamma = gaussian_width(window, window_length)
    impulse = impulse_phase(bins)

    def integrate(sound):
        magnitudes, known_phase = sound["magnitudes"], sound["known"]
        gradient = phase_gradient(magnitudes, hop=hop, gamma=gamma)
        if known_phase is not None:
            last = known_phase.shape[0] - 1
            following = _integrate_from(magnitudes, gradient, last, known_phase[-1] - impulse)[last + 1 :]
            return jnp.concatenate([known_phase, following + impulse])
        start = jnp.argmax(jnp.sum(jnp.square(magnitudes), axis=-1))
        return _integrate_from(magnitudes, gradient, start, None, back=True) + impulse

    return map_sounds(integrate, {"magnitudes": magnitudes, "known": known}, values_per_sound=4 * magnitudes.shape[-2] * bins)


@functools.partial(jax.jit, static_argnames=("hop", "window"))
def continue_phase(
    magnitudes: Array, phase: Array, start: Array | int, *, hop: int, window: str = "hann", full_scale: float = 1.0
) -> Array:
    """Extends phases to the next frames of a sound that arrives block by block.

    RTPGHI (Průša & Søndergaard 2016). The last frame has no phase yet: it is the look-ahead. Blocks equal the whole sound if
    each block starts with the last frame that has a phase.

    Args:
      magnitudes: [B, N, K] magnitude spectra.
      phase: [B, K] phase of frame `start` in radians.
      start: int32 scalar, which may be traced; results before this frame are meaningless.
      hop: samples between frames.
      window: a name of `audio.stft.COSINE_WINDOWS`; its length is n_fft.
      full_scale: magnitude at 0 dB, the same for all blocks; magnitudes below -120 dB count as silence.

    Returns:
      [B, N - 1, K] in radians.
    """
    bins = magnitudes.shape[-1]
    gamma = gaussian_width(window, 2 * (bins - 1))
    impulse = impulse_phase(bins)

    def integrate(sound):
        magnitudes = sound["magnitudes"]
        gradient = phase_gradient(magnitudes, hop=hop, gamma=gamma, full_scale=full_scale)
        return _integrate_from(magnitudes, gradient, start, sound["phase"] - impulse)[:-1] + impulse

    return map_sounds(integrate, {"magnitudes": magnitudes, "phase": phase}, values_per_sound=4 * magnitudes.shape[-2] * bins)


def _integrate_from(
    magnitudes: Array, gradient: tuple[Array, Array], start: Array | int, start_phase: Array | None, *, back: bool = False
) -> Array:
    """Integrates phases [N, K] from frame `start` onward and, with `back`, backward.

    `start_phase` [K] is the phase of that frame; if it is None, it is integrated along the frame.
    """
    across, along = gradient
    count, bins = magnitudes.shape
    frames = np.arange(count)[:, None]
    earlier = frames < start if back else np.zeros((count, 1), bool)

    def integrated_before(x):
        """Returns the neighbor of each frame that is integrated before it."""
        return jnp.where(earlier, jnp.roll(x, -1, axis=0), jnp.roll(x, 1, axis=0))

    step = 0.5 * (across + integrated_before(across)) * jnp.where(earlier, -1.0, 1.0)
    climb = jnp.cumsum(jnp.pad(0.5 * (along[:, 1:] + along[:, :-1]), ((0, 0), (1, 0))), axis=-1)
    source = _phase_source(magnitudes, jnp.where(frames == start, -1.0, integrated_before(magnitudes)))
    change = climb - jnp.take_along_axis(climb - step, source, axis=-1)
    change = jnp.where(frames == start, climb if start_phase is None else start_phase, change)

    def add(before, inputs):
        change, source, first = inputs
        phase = change + jnp.where(first, 0.0, jnp.take(before, source))
        phase = phase - 2.0 * jnp.pi * jnp.round(phase * (0.5 / jnp.pi))
        return phase, phase

    inputs = (change, source, frames[:, 0] == start)
    zeros = jnp.zeros(bins, jnp.float32)
    forward = jax.lax.scan(add, zeros, inputs)[1]
    return jnp.where(earlier, jax.lax.scan(add, zeros, inputs, reverse=True)[1], forward) if back else forward


def _phase_source(here: Array, before: Array) -> Array:
    """Returns the bin [N, K] of the previous frame from which each bin takes its phase.

    A path to bin k starts at a bin j of the previous frame and continues along the frame, bin by bin, to k. Its value is the
    magnitude of its faintest point, k itself excluded. The best path to k from below is therefore either its own bin of the
    previous frame, or the best path to k - 1 extended by one bin, so that a single pass over the bins computes all frames.
    """
    bins = here.shape[-1]
    # A path from above is a path from below in the reversed frame, so one pass over [K, 2 N] serves both.
    entries = jnp.concatenate([before, before[:, ::-1]]).T
    walked = jnp.concatenate([here, here[:, ::-1]]).T

    def step(path, inputs):
        best, source = path
        entry, own, loudness = inputs
        source = jnp.where(entry >= best, own, source)
        best = jnp.maximum(entry, best)
        return (jnp.minimum(best, loudness), source), (best, source)

    initial = (jnp.full(entries.shape[1], -2.0, entries.dtype), jnp.zeros(entries.shape[1], jnp.int32))
    inputs = (entries, jnp.arange(bins, dtype=jnp.int32), walked)
    _, (best, source) = jax.lax.scan(step, initial, inputs, unroll=2)
    (up, down), (from_below, from_above) = jnp.split(best.T, 2), jnp.split(source.T, 2)
    return jnp.where(up >= down[:, ::-1], from_below, bins - 1 - from_above[:, ::-1])
