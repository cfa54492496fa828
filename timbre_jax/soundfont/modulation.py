"""Modulators, envelopes and LFOs of a SoundFont 2 voice.

Source: SoundFont Technical Specification 2.04, sections 8 and 9.
"""

from __future__ import annotations

import numpy as np

from timbre_jax.soundfont import parser
from timbre_jax.soundfont.parser import Modulator, Voice

RATE = 44100
"""Sample rate of the player in Hz."""
_SILENCE_DB = 100.0


# Modulators (section 8.2)


def _curve(kind: int, x: float) -> float:
    """Returns the linear, concave, convex or switch curve (section 8.2.1) at x in [0, 1]."""
    if kind == 0:
        return x * 127 / 128
    if kind == 1:
        return 1.0 if x >= 1 else min(1.0, -40 / 96 * np.log10(1 - x))
    if kind == 2:
        return 0.0 if x <= 0 else max(0.0, 1 + 40 / 96 * np.log10(x))
    return 1.0 if x >= 0.5 else 0.0


def _source_value(source: int, key: int, velocity: int) -> float:
    """Returns the value of a modulator's source with all controllers in their rest position."""
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
        return _curve(kind, x)
    if value == 64 and (controller or index == 14):
        return 0.0  # center of pitch wheel or pan
    return float(np.sign(2 * x - 1)) * _curve(kind, abs(2 * x - 1)) if kind in (1, 2) else 2 * _curve(kind, x) - 1


def modulation_offsets(voice: Voice, key: int, velocity: int) -> np.ndarray:
    """Returns the sum of modulator outputs for each generator, [61] float64."""
    added = np.zeros(parser.N_GENERATORS)
    for modulator in voice.modulators:
        if modulator.destination < parser.N_GENERATORS:
            added[modulator.destination] += _modulator_output(modulator, key, velocity)
    return added


def _modulator_output(modulator: Modulator, key: int, velocity: int) -> float:
    """Returns the output of a modulator."""
    value = modulator.amount * _source_value(modulator.source, key, velocity)
    if modulator.amount_source:
        value *= _source_value(modulator.amount_source, key, velocity)
    return abs(value) if modulator.transform == 2 else value


# Envelopes and LFOs


def _seconds(timecents: float) -> float:
    """Returns seconds from timecents; the lowest value means 0."""
    return 0.0 if timecents <= -12000 else 2.0 ** (min(timecents, 8000) / 1200)


def _stage_seconds(values: np.ndarray, first: int, key: int) -> tuple[float, float, float, float, float]:
    """Returns delay, attack, hold, decay and release in seconds (8.1.2, 31-32, 39-40)."""
    delay, attack, hold, decay, _, release = values[first : first + 6]
    to_hold, to_decay = values[first + 6 : first + 8]
    return (
        _seconds(delay), _seconds(attack), _seconds(hold + to_hold * (60 - key)), _seconds(decay + to_decay * (60 - key)),
        _seconds(release),
    )  # fmt: skip


def volume_envelope(values: np.ndarray, key: int, note_off: int, total: int) -> np.ndarray:
    """Returns the amplitude of each sample until silence, at most `total` samples.

    The attack is linear; decay and release are linear in dB and fall by 100 dB in their time.
    """
    delay, attack, hold, decay, release = _stage_seconds(values, parser.VOLUME_ENV, key)
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
    # The release starts at the level at note-off and takes at least 5 ms to avoid clicks, as in other players.
    step = _SILENCE_DB / (max(release, 0.005) * RATE)
    count = int(min(total - note_off, (_SILENCE_DB + 20 * np.log10(level)) / step))
    tail = level * np.exp(np.arange(1, count + 1, dtype=np.float32) * np.float32(-step * np.log(10) / 20))
    return np.concatenate([envelope, tail.astype(np.float32)])


def modulation_envelope(values: np.ndarray, key: int, note_off: int, times: np.ndarray) -> np.ndarray:
    """Returns the modulation envelope in [0, 1] at sample times.

    The attack is convex; decay and release are linear.
    """
    delay, attack, hold, decay, release = _stage_seconds(values, parser.MOD_ENV, key)
    sustain = 1 - float(np.clip(values[parser.MOD_ENV + 4] / 1000, 0, 1))

    def held(seconds):
        """Returns the envelope before note-off."""
        rise = np.clip((seconds - delay) / max(attack, 1e-9), 0, 1)
        rise = np.clip(1 + 40 / 96 * np.log10(np.maximum(rise, 1e-9)), 0, 1)
        fall = 1 - np.maximum(seconds - delay - attack - hold, 0) / max(decay, 1e-9)
        return np.where(seconds < delay + attack, rise, np.maximum(fall, sustain))

    off = note_off / RATE
    seconds = times / RATE
    released = held(np.float64(off)) - (seconds - off) / max(release, 1e-9)
    return np.where(seconds < off, held(seconds), np.maximum(released, 0))


def lfo(delay: float, frequency: float, times: np.ndarray) -> np.ndarray:
    """Returns a triangle wave in [-1, 1] at sample times that rises from 0 after the delay.

    The delay is in timecents, the frequency in absolute cents.
    """
    seconds = np.maximum(times / RATE - _seconds(delay), 0)
    phase = seconds * 8.176 * 2.0 ** (np.clip(frequency, -16000, 4500) / 1200)
    return 1 - 4 * np.abs((phase + 0.25) % 1 - 0.5)
