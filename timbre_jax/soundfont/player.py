"""Plays notes of a SoundFont 2 bank offline with numpy.

A voice: four-point interpolation of the sample, low-pass filter, volume envelope, tremolo; pitch and filter are moved by the
modulation envelope and two LFOs (SoundFont Technical Specification 2.04, section 9.1). All controllers are at rest, without
reverb and chorus; a `Movement` bends pitch, level and brightness of a note as a player would. Voices are mixed to mono. Host
code, no JAX.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from timbre_jax.soundfont import parser
from timbre_jax.soundfont.parser import Modulator, Preset, SoundFont, Voice
from timbre_jax.soundfont.tuning import AUDIBLE, autocorrelation_pitch, common_fundamental

RATE = 44100
# E-mu's hardware, for which banks are made, applies initialAttenuation at 0.4 of what the specification says.
ATTENUATION_SCALE = 0.4
# One gain for every note of every bank (level and velocity stay comparable); leaves room for a few full-scale voices.
GAIN = 1.0
_BLOCK = 64  # samples between two values of a modulated pitch or filter cutoff
_SILENCE_DB = 100.0
# A pitch that moves less than this (peak, in cents) counts as steady, and voices nearer than this as in tune.
STEADY_CENTS = 10.0
# Where a voice's pitch is measured: well after the attack, and so many samples of the pool from there.
_MEASURE_AT, _MEASURE_SAMPLES = 0.5, 16384


@dataclasses.dataclass(frozen=True)
class Note:
    """A rendered note.

    Attributes:
      wave: [T] float32, mono, not normalised.
      f0: the player's own pitch in Hz half a second into the note: the sample's (measured, see `sf2_pitch`) times the speed
        at which it is played, modulation envelope included, LFOs at their centre; of several voices the fundamental that
        they have in common. Where a sample has no clear pitch, what key, root key and tuning mean.
      pitch_moves: the bank moves the pitch by more than 10 cents while the note is held (vibrato, modulation envelope), or
        sounds voices together that have no fundamental in common.
      voices: how many samples sounded.
    """

    wave: np.ndarray
    f0: float
    pitch_moves: bool
    voices: int


@dataclasses.dataclass(frozen=True)
class Movement:
    """What a player does with a note while it sounds; all at times after its beginning, held beyond the last.

    Attributes:
      times: [S] seconds, ascending.
      bend: [S] cents added to the pitch (pitch wheel, vibrato).
      level: [S] dB added to the level (expression pedal).
      cutoff: [S] the most that the low-pass filter lets through, in Hz; the bank's own where that is lower.
    """

    times: np.ndarray
    bend: np.ndarray
    level: np.ndarray
    cutoff: np.ndarray

    def at(self, values: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """One of the curves at sample times."""
        return np.interp(samples / RATE, self.times, values)


def render_note(
    bank: SoundFont, preset: Preset, key: int, velocity: int, *, held: float = 3.0, seconds: float = 4.0,
    movement: Movement | None = None,
) -> Note:  # fmt: skip
    """Plays one note at 44,100 Hz.

    Args:
      key, velocity: MIDI, 0-127 (velocity from 1).
      held: seconds until note-off.
      seconds: length of the result.
      movement: of pitch, level and brightness while it sounds; None leaves the controllers at rest.
    """
    total = round(seconds * RATE)
    mix = np.zeros(total, np.float32)
    pitches, energies, moving = [], [], []
    for voice in bank.voices(preset, key, velocity):
        wave, pitch, moves = _render_voice(bank, voice, key, velocity, round(held * RATE), total, movement)
        mix[: len(wave)] += wave
        pitches.append(pitch)
        energies.append(float(np.dot(wave, wave)))
        moving.append(moves)
    if not pitches:
        return Note(mix, 0.0, False, 0)
    f0, clash = common_fundamental(pitches, energies, cents=STEADY_CENTS)
    heard = [moves for moves, energy in zip(moving, energies, strict=True) if energy > AUDIBLE * max(energies)]
    return Note(mix, f0, clash or any(heard), len(pitches))


# Modulators (section 8.2). -----------------------------------------------------------------------------------------


def _shape(kind: int, x: float) -> float:
    """Linear, concave, convex, switch (section 8.2.1) for x in [0, 1]."""
    if kind == 0:
        return x * 127 / 128
    if kind == 1:
        return 1.0 if x >= 1 else min(1.0, -40 / 96 * np.log10(1 - x))
    if kind == 2:
        return 0.0 if x <= 0 else max(0.0, 1 + 40 / 96 * np.log10(x))
    return 1.0 if x >= 0.5 else 0.0


def _source(source: int, key: int, velocity: int) -> float:
    """Value of a modulator's source with all controllers at rest."""
    index, controller, kind = source & 0x7F, source & 0x80, source >> 10
    negative, bipolar = bool(source & 0x100), bool(source & 0x200)
    if controller:
        value = {7: 127, 11: 127, 10: 64}.get(index, 0)
    elif index == 0:
        return 1.0
    else:
        value = {2: velocity, 3: key, 14: 64, 16: 2}.get(index, 0)
    x = value / 127
    x = 1 - x if negative else x
    if not bipolar:
        return _shape(kind, x)
    if value == 64 and (controller or index == 14):
        return 0.0  # centre of a wheel or a pan
    return float(np.sign(2 * x - 1)) * _shape(kind, abs(2 * x - 1)) if kind in (1, 2) else 2 * _shape(kind, x) - 1


def _modulate(voice: Voice, key: int, velocity: int) -> np.ndarray:
    """What the modulators add to each generator, [61] float64."""
    added = np.zeros(parser.N_GENERATORS)
    for modulator in voice.modulators:
        if modulator.destination < parser.N_GENERATORS:
            added[modulator.destination] += _output(modulator, key, velocity)
    return added


def _output(modulator: Modulator, key: int, velocity: int) -> float:
    value = modulator.amount * _source(modulator.source, key, velocity)
    if modulator.amount_source:
        value *= _source(modulator.amount_source, key, velocity)
    return abs(value) if modulator.transform == 2 else value


# Envelopes and LFOs. -----------------------------------------------------------------------------------------------


def _time(timecents: float) -> float:
    """Seconds; the lowest value means at once."""
    return 0.0 if timecents <= -12000 else 2.0 ** (min(timecents, 8000) / 1200)


def _stages(values: np.ndarray, first: int, key: int) -> tuple[float, float, float, float, float]:
    """Delay, attack, hold, decay, release in seconds; hold and decay follow the key (sections 8.1.2, 31-32, 39-40)."""
    delay, attack, hold, decay, _, release = values[first : first + 6]
    to_hold, to_decay = values[first + 6 : first + 8]
    return (
        _time(delay), _time(attack), _time(hold + to_hold * (60 - key)), _time(decay + to_decay * (60 - key)),
        _time(release),
    )  # fmt: skip


def _volume_envelope(values: np.ndarray, key: int, note_off: int, total: int) -> np.ndarray:
    """Amplitude of each sample: linear attack; decay and release linear in dB, 100 dB in their time. Ends when silent."""
    delay, attack, hold, decay, release = _stages(values, parser.VOLUME_ENV, key)
    sustain = float(np.clip(values[parser.VOLUME_ENV + 4] / 10, 0, _SILENCE_DB))
    edges = np.round(np.cumsum([delay, attack, hold, sustain / _SILENCE_DB * decay]) * RATE).astype(np.int64)
    envelope = np.empty(note_off, np.float32)
    d, a, h, s = np.minimum(edges, note_off)
    envelope[:d] = 0
    envelope[d:a] = np.arange(1, a - d + 1, dtype=np.float32) / max(1, edges[1] - edges[0])
    envelope[a:h] = 1
    if s > h:
        step = _SILENCE_DB / max(decay * RATE, 1)
        envelope[h:s] = np.exp(np.arange(s - h, dtype=np.float32) * np.float32(-step * np.log(10) / 20))
    envelope[s:] = 10 ** (-sustain / 20) if sustain < _SILENCE_DB else 0
    level = float(envelope[-1]) if note_off else 0.0
    if level <= 10 ** (-_SILENCE_DB / 20):
        last = np.flatnonzero(envelope > 10 ** (-_SILENCE_DB / 20))
        return envelope[: last[-1] + 1] if len(last) else envelope[:0]
    # From the level reached at note-off; at least 5 ms, as every player does, against clicks.
    step = _SILENCE_DB / (max(release, 0.005) * RATE)
    count = int(min(total - note_off, (_SILENCE_DB + 20 * np.log10(level)) / step))
    tail = level * np.exp(np.arange(1, count + 1, dtype=np.float32) * np.float32(-step * np.log(10) / 20))
    return np.concatenate([envelope, tail.astype(np.float32)])


def _modulation_envelope(values: np.ndarray, key: int, note_off: int, times: np.ndarray) -> np.ndarray:
    """Value in [0, 1] at sample times: convex attack, linear decay and release."""
    delay, attack, hold, decay, release = _stages(values, parser.MOD_ENV, key)
    sustain = 1 - float(np.clip(values[parser.MOD_ENV + 4] / 1000, 0, 1))

    def held(seconds):
        rise = np.clip((seconds - delay) / max(attack, 1e-9), 0, 1)
        rise = np.clip(1 + 40 / 96 * np.log10(np.maximum(rise, 1e-9)), 0, 1)
        fall = 1 - np.maximum(seconds - delay - attack - hold, 0) / max(decay, 1e-9)
        return np.where(seconds < delay + attack, rise, np.maximum(fall, sustain))

    off = note_off / RATE
    seconds = times / RATE
    released = held(np.float64(off)) - (seconds - off) / max(release, 1e-9)
    return np.where(seconds < off, held(seconds), np.maximum(released, 0))


def _lfo(delay: float, frequency: float, times: np.ndarray) -> np.ndarray:
    """Triangle in [-1, 1] at sample times, rising from 0 after the delay (in timecents; frequency in absolute cents)."""
    seconds = np.maximum(times / RATE - _time(delay), 0)
    phase = seconds * 8.176 * 2.0 ** (np.clip(frequency, -16000, 4500) / 1200)
    return 1 - 4 * np.abs((phase + 0.25) % 1 - 0.5)


# A voice. ------------------------------------------------------------------------------------------------------------


def _render_voice(
    bank: SoundFont, voice: Voice, key: int, velocity: int, note_off: int, total: int, movement: Movement | None = None
):
    """(wave [<= total] float32, pitch in Hz, whether it moves)."""
    base = voice.generators
    key = int(base[parser.KEY]) if 0 <= base[parser.KEY] <= 127 else key
    velocity = int(base[parser.VELOCITY]) if 0 < base[parser.VELOCITY] <= 127 else velocity
    added = _modulate(voice, key, velocity)
    values = base + added
    envelope = _volume_envelope(values, key, note_off, total)

    sample = voice.sample
    root = int(base[parser.ROOT_KEY]) if 0 <= base[parser.ROOT_KEY] <= 127 else sample.root_key
    root = root if root <= 127 else 60
    tune = 100 * values[parser.COARSE_TUNE] + values[parser.FINE_TUNE]
    shift = values[parser.SCALE_TUNING] * (key - root) + tune
    ratio = sample.rate / RATE * 2.0 ** ((shift + sample.correction) / 1200)

    blocks = np.arange(0, max(len(envelope), 1), _BLOCK, dtype=np.float64)
    pitch, cutoff, level = np.zeros(1), np.full(1, values[parser.FILTER_CUTOFF]), None
    if values[parser.MOD_ENV_TO_PITCH] or values[parser.MOD_ENV_TO_FILTER]:
        modulation = _modulation_envelope(values, key, note_off, blocks)
        pitch = pitch + values[parser.MOD_ENV_TO_PITCH] * modulation
        cutoff = cutoff + values[parser.MOD_ENV_TO_FILTER] * modulation
    if values[[parser.MOD_LFO_TO_PITCH, parser.MOD_LFO_TO_FILTER, parser.MOD_LFO_TO_VOLUME]].any():
        wobble = _lfo(values[parser.MOD_LFO_DELAY], values[parser.MOD_LFO_FREQUENCY], blocks)
        pitch = pitch + values[parser.MOD_LFO_TO_PITCH] * wobble
        cutoff = cutoff + values[parser.MOD_LFO_TO_FILTER] * wobble
        level = 10 ** (values[parser.MOD_LFO_TO_VOLUME] / 200 * wobble)
    if values[parser.VIBRATO_TO_PITCH]:
        pitch = pitch + values[parser.VIBRATO_TO_PITCH] * _lfo(
            values[parser.VIBRATO_DELAY], values[parser.VIBRATO_FREQUENCY], blocks
        )
    if movement is not None:
        pitch = pitch + movement.at(movement.bend, blocks)
        cutoff = np.minimum(cutoff, 1200 * np.log2(np.maximum(movement.at(movement.cutoff, blocks), 20.0) / 8.176))
    held = pitch[: max(1, note_off // _BLOCK)]
    moves = bool(np.ptp(held) / 2 > STEADY_CENTS)
    centre = 0.0  # the LFOs' part is not the note's pitch
    if values[parser.MOD_ENV_TO_PITCH]:
        there = np.array([min(_MEASURE_AT * RATE, note_off / 2)])
        centre = float(values[parser.MOD_ENV_TO_PITCH] * _modulation_envelope(values, key, note_off, there)[0])

    shape = _sample_shape(bank, voice)
    meant = 440.0 * 2.0 ** ((100 * root + shift - 6900) / 1200)
    own = _own_pitch(_Pool(bank.pool), shape, sample.rate, round(meant / (ratio * RATE), 5))
    f0 = (own * ratio * RATE if own else meant) * 2.0 ** (centre / 1200)

    wave = _oscillate(_Pool(bank.pool), shape, ratio, pitch, len(envelope), note_off)
    wave = _low_pass(wave, cutoff, values[parser.FILTER_Q])
    wave *= envelope[: len(wave)]
    if level is not None:
        wave *= np.repeat(level, _BLOCK)[: len(wave)].astype(np.float32)
    if movement is not None:  # sample by sample: steps of the level would be heard
        wave *= (10 ** (movement.at(movement.level, np.arange(len(wave))) / 20)).astype(np.float32)
    decibels = ATTENUATION_SCALE * base[parser.ATTENUATION] / 10 + added[parser.ATTENUATION] / 10
    angle = (np.clip(values[parser.PAN], -500, 500) + 500) / 1000 * np.pi / 2
    wave *= np.float32(GAIN * 10 ** (-max(decibels, 0.0) / 20) * (np.sin(angle) + np.cos(angle)) / 2)
    return wave, f0, moves


class _Pool:
    """A bank's sample pool as an argument for caches: equal where it is the same array."""

    def __init__(self, values: np.ndarray):
        self.values = values

    def __hash__(self) -> int:
        return id(self.values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Pool) and self.values is other.values


@functools.lru_cache(maxsize=256)
def _floats(pool: _Pool, start: int, loop_start: int, stop: int, looped: bool) -> np.ndarray:
    """One zero, the sample as float32, then three samples that go on with the loop or with silence."""
    body = pool.values[start:stop].astype(np.float32) / 32768
    tail = np.resize(body[loop_start - start :], 3) if looped else np.zeros(3, np.float32)
    return np.concatenate([np.zeros(1, np.float32), body, tail])


class _Shape(NamedTuple):
    """What of the pool a voice plays: from start to end, or from start and then round the loop."""

    start: int
    end: int
    loop_start: int
    loop_end: int
    looped: bool
    until_off: bool  # the loop ends at note-off, and the rest of the sample follows


def _sample_shape(bank: SoundFont, voice: Voice) -> _Shape:
    """A sample's positions with the voice's offsets, kept within the pool (section 8.1.2, 0-4, 12, 45, 50, 54)."""
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
    return _Shape(start, end, loop_start, loop_end, looped, mode == 3)


@functools.lru_cache(maxsize=4096)
def _own_pitch(held: _Pool, shape: _Shape, rate: int, meant: float) -> float:
    """A sample's pitch in cycles a sample where a note holds it, or 0 where it has none."""
    pool, first = held.values, int(_MEASURE_AT * rate)
    if shape.looped:
        places = shape.start + first + np.arange(_MEASURE_SAMPLES)
        period = shape.loop_end - shape.loop_start
        places = np.where(places < shape.loop_end, places, shape.loop_start + (places - shape.loop_end) % period)
        return autocorrelation_pitch(pool[places], meant=meant)
    first = min(first, (shape.end - shape.start) // 4)  # a short sound is measured where it is still there
    wave = pool[shape.start + first : min(shape.end, shape.start + first + _MEASURE_SAMPLES)]
    return autocorrelation_pitch(wave, meant=meant) if len(wave) >= 512 else 0.0


def _oscillate(pool: _Pool, shape: _Shape, ratio: float, pitch: np.ndarray, length: int, note_off: int) -> np.ndarray:
    """The sample at the note's pitch, [<= length]; looped for the whole note, until note-off, or not (sampleModes)."""
    start, end, loop_start, loop_end, looped, until_off = shape
    if len(pitch) == 1:
        position = ratio * 2.0 ** (float(pitch[0]) / 1200) * np.arange(length, dtype=np.float64)
    else:
        steps = np.repeat(ratio * 2.0 ** (pitch / 1200), _BLOCK)[:length]
        position = np.cumsum(steps) - steps
    if not looped:
        position = position[: int(np.searchsorted(position, end - start))]
        return _interpolate(_floats(pool, start, start, end, False), position)
    # The loop is taken one sample late, [loop_start + 1, loop_end + 1), with the sample at loop_end being the one at
    # loop_start: so the neighbours of every position are the right ones without a special case at the seam.
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
    """Catmull-Rom interpolation; samples[1] is position 0."""
    whole = position.astype(np.int32)
    t = (position - whole).astype(np.float32)
    a, b, c, d = (samples[whole + k] for k in range(4))
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))


def _low_pass(wave: np.ndarray, cutoff: np.ndarray, q_centibels: float) -> np.ndarray:
    """Two-pole resonant low-pass; `cutoff` in absolute cents, one value or one every `_BLOCK` samples.

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
        piece = wave[start * _BLOCK : None if stop is None else stop * _BLOCK]
        omega = 2 * np.pi * min(8.176 * 2.0 ** (cutoff[start] / 1200), 0.45 * RATE) / RATE
        alpha, cosine = np.sin(omega) / (2 * quality), np.cos(omega)
        gain = 1 / np.sqrt(quality * np.sqrt(2)) if q_centibels >= 1 else 1.0
        b = np.array([0.5, 1.0, 0.5]) * (1 - cosine) / (1 + alpha) * gain
        a = np.array([1.0, -2 * cosine / (1 + alpha), (1 - alpha) / (1 + alpha)])
        filtered, state = lfilter(b.astype(np.float32), a.astype(np.float32), piece, zi=state)
        pieces.append(filtered)
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
