"""Sample playback of a SoundFont 2 voice: loop, interpolation, sample pitch and filter."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from timbre_jax.soundfont import parser
from timbre_jax.soundfont.modulation import RATE
from timbre_jax.soundfont.parser import SoundFont, Voice
from timbre_jax.soundfont.tuning import autocorrelation_pitch

BLOCK = 64
"""Samples between two values of a modulated pitch or cutoff."""
# The pitch of a sample is measured well after the attack, over this number of samples of the pool.
MEASURE_SECONDS, _MEASURE_SAMPLES = 0.5, 16384


class Pool:
    """Sample pool of a bank as a hashable argument of cached functions.

    Two pools are equal if they hold the same array.
    """

    def __init__(self, values: np.ndarray):
        self.values = values

    def __hash__(self) -> int:
        return id(self.values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pool) and self.values is other.values


@functools.lru_cache(maxsize=256)
def _padded_sample(pool: Pool, start: int, loop_start: int, stop: int, looped: bool) -> np.ndarray:
    """Returns a sample as float32, padded for interpolation.

    One zero precedes the sample, and three samples of the loop or of silence follow it.
    """
    body = pool.values[start:stop].astype(np.float32) / 32768
    tail = np.resize(body[loop_start - start :], 3) if looped else np.zeros(3, np.float32)
    return np.concatenate([np.zeros(1, np.float32), body, tail])


class PlayedRange(NamedTuple):
    """Part of the pool that a voice plays; `until_off` ends its loop at note-off."""

    start: int
    end: int
    loop_start: int
    loop_end: int
    looped: bool
    until_off: bool


def played_range(bank: SoundFont, voice: Voice) -> PlayedRange:
    """Returns the part of the pool that a voice plays (section 8.1.2, 0-4, 12, 45, 50, 54)."""
    sample, base = voice.sample, voice.generators.tolist()
    size = len(bank.pool)
    start = sample.start + base[parser.START_OFFSET] + 32768 * base[parser.START_COARSE]
    end = sample.end + base[parser.END_OFFSET] + 32768 * base[parser.END_COARSE]
    start = int(np.clip(start, 0, size - 1))
    end = int(np.clip(end, start + 1, size))
    loop_start = sample.loop_start + base[parser.LOOP_START_OFFSET] + 32768 * base[parser.LOOP_START_COARSE]
    loop_end = sample.loop_end + base[parser.LOOP_END_OFFSET] + 32768 * base[parser.LOOP_END_COARSE]
    loop_start, loop_end = int(loop_start), int(min(loop_end, end))
    mode = int(base[parser.SAMPLE_MODES]) & 3
    looped = mode in (1, 3) and start <= loop_start < loop_end
    return PlayedRange(start, end, loop_start, loop_end, looped, mode == 3)


@functools.lru_cache(maxsize=4096)
def sample_pitch(pool: Pool, played: PlayedRange, rate: int, nominal: float) -> float:
    """Returns the pitch of a held sample in cycles per sample, or 0."""
    samples, first = pool.values, int(MEASURE_SECONDS * rate)
    if played.looped:
        positions = played.start + first + np.arange(_MEASURE_SAMPLES)
        period = played.loop_end - played.loop_start
        positions = np.where(positions < played.loop_end, positions, played.loop_start + (positions - played.loop_end) % period)
        return autocorrelation_pitch(samples[positions], nominal=nominal)
    first = min(first, (played.end - played.start) // 4)  # a short sound is measured before it ends
    wave = samples[played.start + first : min(played.end, played.start + first + _MEASURE_SAMPLES)]
    return autocorrelation_pitch(wave, nominal=nominal) if len(wave) >= 512 else 0.0


def oscillate(pool: Pool, played: PlayedRange, ratio: float, pitch: np.ndarray, length: int, note_off: int) -> np.ndarray:
    """Plays a sample at the pitch of a note, [<= length].

    `ratio` is the playback speed in samples of the pool per sample, `pitch` the cents added to it: one value, or one per
    `BLOCK` samples. The sample is looped for the whole note, until note-off, or not at all (sampleModes).
    """
    start, end, loop_start, loop_end, looped, until_off = played
    if len(pitch) == 1:
        position = ratio * 2.0 ** (float(pitch[0]) / 1200) * np.arange(length, dtype=np.float64)
    else:
        steps = np.repeat(ratio * 2.0 ** (pitch / 1200), BLOCK)[:length]
        position = np.cumsum(steps) - steps
    if not looped:
        position = position[: int(np.searchsorted(position, end - start))]
        return _interpolate(_padded_sample(pool, start, start, end, False), position)
    # The loop is shifted by one sample to [loop_start + 1, loop_end + 1), where the sample at loop_end is that at loop_start.
    # Every position then has the right neighbors, without a special case at the seam.
    period, top = loop_end - loop_start, loop_end - start + 1
    held = position if not until_off else position[:note_off]
    wraps = int(np.searchsorted(held, top))
    held[wraps:] = (held[wraps:] - top) % period + (top - period)
    wave = _interpolate(_padded_sample(pool, start, loop_start, loop_end, True), held)
    if until_off and length > note_off:
        rest = position[note_off:]
        rest = rest - rest[0] + (held[-1] + ratio if len(held) else 0.0)
        rest = rest[: int(np.searchsorted(rest, end - start))]
        tail = _interpolate(_padded_sample(pool, start, start, end, False), rest)
        wave = np.concatenate([wave, tail])
    return wave


def _interpolate(samples: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Interpolates samples by Catmull-Rom splines; samples[1] is position 0."""
    whole = position.astype(np.int32)
    t = (position - whole).astype(np.float32)
    a, b, c, d = (samples[whole + k] for k in range(4))
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


def low_pass(wave: np.ndarray, cutoff: np.ndarray, q_centibels: float) -> np.ndarray:
    """Filters a wave [T] with a two-pole resonant low-pass filter.

    The cutoff is in absolute cents: one value, or one per `BLOCK` samples. The resonance is the height above DC in cB; the gain
    is lowered by half of it (section 8.1.2, initialFilterQ). At 20 kHz and above without resonance the filter is open.
    """
    from scipy.signal import lfilter

    q_centibels = float(np.clip(q_centibels, 0, 960))
    cutoff = np.clip(cutoff, 1500, 13500)
    if (cutoff >= 13499).all() and q_centibels < 1:
        return wave
    quality = 10 ** ((q_centibels / 10 - 3.01) / 20)
    # Steps below 10 cents are inaudible: the filter is kept until the cutoff has moved by that much.
    starts, held = [0], cutoff[0]
    for block in range(1, len(cutoff)):
        if abs(cutoff[block] - held) >= 10:
            starts.append(block)
            held = cutoff[block]
    state = np.zeros(2, np.float32)
    pieces = []
    for start, stop in zip(starts, [*starts[1:], None], strict=True):
        piece = wave[start * BLOCK : None if stop is None else stop * BLOCK]
        omega = 2 * np.pi * min(8.176 * 2.0 ** (cutoff[start] / 1200), 0.45 * RATE) / RATE
        alpha, cosine = np.sin(omega) / (2 * quality), np.cos(omega)
        gain = 1 / np.sqrt(quality * np.sqrt(2)) if q_centibels >= 1 else 1.0
        b = np.array([0.5, 1.0, 0.5]) * (1 - cosine) / (1 + alpha) * gain
        a = np.array([1.0, -2 * cosine / (1 + alpha), (1 - alpha) / (1 + alpha)])
        filtered, state = lfilter(b.astype(np.float32), a.astype(np.float32), piece, zi=state)
        pieces.append(filtered)
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
