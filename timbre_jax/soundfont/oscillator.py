"""Sample playback of a SoundFont 2 voice: looping, interpolation at any pitch, the sample's own pitch, and the filter."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from timbre_jax.soundfont import parser
from timbre_jax.soundfont.modulation import RATE
from timbre_jax.soundfont.parser import SoundFont, Voice
from timbre_jax.soundfont.tuning import autocorrelation_pitch

BLOCK = 64
"""Samples between two values of a modulation_offsets pitch or filter cutoff."""
# Where a sample's pitch is measured: well after the attack, and so many samples of the pool from there.
MEASURE_SECONDS, _MEASURE_SAMPLES = 0.5, 16384


class Pool:
    """A bank's sample pool as an argument for caches: equal where it is the same array."""

    def __init__(self, values: np.ndarray):
        self.values = values

    def __hash__(self) -> int:
        return id(self.values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pool) and self.values is other.values


@functools.lru_cache(maxsize=256)
def _floats(pool: Pool, start: int, loop_start: int, stop: int, looped: bool) -> np.ndarray:
    """Returns one zero, the sample as float32, then three samples that go on with the loop or with silence."""
    body = pool.values[start:stop].astype(np.float32) / 32768
    tail = np.resize(body[loop_start - start :], 3) if looped else np.zeros(3, np.float32)
    return np.concatenate([np.zeros(1, np.float32), body, tail])


class Shape(NamedTuple):
    """Part of the pool that a voice plays: from start to end, or from start and then round the loop."""

    start: int
    end: int
    loop_start: int
    loop_end: int
    looped: bool
    until_off: bool  # the loop ends at note-off, and the rest of the sample follows


def sample_shape(bank: SoundFont, voice: Voice) -> Shape:
    """Returns a sample's positions with the voice's offsets, kept within the pool (section 8.1.2, 0-4, 12, 45, 50, 54)."""
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
    return Shape(start, end, loop_start, loop_end, looped, mode == 3)


@functools.lru_cache(maxsize=4096)
def sample_pitch(held: Pool, shape: Shape, rate: int, nominal: float) -> float:
    """Returns a sample's pitch in cycles a sample where a note holds it, or 0 where it has none."""
    pool, first = held.values, int(MEASURE_SECONDS * rate)
    if shape.looped:
        places = shape.start + first + np.arange(_MEASURE_SAMPLES)
        period = shape.loop_end - shape.loop_start
        places = np.where(places < shape.loop_end, places, shape.loop_start + (places - shape.loop_end) % period)
        return autocorrelation_pitch(pool[places], nominal=nominal)
    first = min(first, (shape.end - shape.start) // 4)  # a short sound is measured where it is still there
    wave = pool[shape.start + first : min(shape.end, shape.start + first + _MEASURE_SAMPLES)]
    return autocorrelation_pitch(wave, nominal=nominal) if len(wave) >= 512 else 0.0


def oscillate(pool: Pool, shape: Shape, ratio: float, pitch: np.ndarray, length: int, note_off: int) -> np.ndarray:
    """Returns the sample at the note's pitch, [<= length]; looped for the whole note, until note-off, or not (sampleModes)."""
    start, end, loop_start, loop_end, looped, until_off = shape
    if len(pitch) == 1:
        position = ratio * 2.0 ** (float(pitch[0]) / 1200) * np.arange(length, dtype=np.float64)
    else:
        steps = np.repeat(ratio * 2.0 ** (pitch / 1200), BLOCK)[:length]
        position = np.cumsum(steps) - steps
    if not looped:
        position = position[: int(np.searchsorted(position, end - start))]
        return _interpolate(_floats(pool, start, start, end, False), position)
    # The loop is taken one sample late, [loop_start + 1, loop_end + 1), with the sample at loop_end being the one at
    # loop_start: so the neighbors of every position are the right ones without a special case at the seam.
    period, top = loop_end - loop_start, loop_end - start + 1
    held = position if not until_off else position[:note_off]
    wraps = int(np.searchsorted(held, top))
    held[wraps:] = (held[wraps:] - top) % period + (top - period)
    wave = _interpolate(_floats(pool, start, loop_start, loop_end, True), held)
    if until_off and length > note_off:
        rest = position[note_off:]
        rest = rest - rest[0] + (held[-1] + ratio if len(held) else 0.0)
        rest = rest[: int(np.searchsorted(rest, end - start))]
        tail = _interpolate(_floats(pool, start, start, end, False), rest)
        wave = np.concatenate([wave, tail])
    return wave


def _interpolate(samples: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Interpolates by Catmull-Rom; samples[1] is position 0."""
    whole = position.astype(np.int32)
    t = (position - whole).astype(np.float32)
    a, b, c, d = (samples[whole + k] for k in range(4))
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


def low_pass(wave: np.ndarray, cutoff: np.ndarray, q_centibels: float) -> np.ndarray:
    """Filters by a two-pole resonant low-pass; `cutoff` in absolute cents, one value or one every `BLOCK` samples.

    Q is in cB over the height at DC, with a flat response at 0; the gain is lowered by half the resonance (section 8.1.2,
    initialFilterQ). At 20 kHz and above without resonance it is open.
    """
    from scipy.signal import lfilter

    q_centibels = float(np.clip(q_centibels, 0, 960))
    cutoff = np.clip(cutoff, 1500, 13500)
    if (cutoff >= 13499).all() and q_centibels < 1:
        return wave
    quality = 10 ** ((q_centibels / 10 - 3.01) / 20)
    # Steps under 10 cents are not heard: the filter goes on unchanged until the cutoff has moved by that much.
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
