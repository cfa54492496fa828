"""Plays notes of a SoundFont 2 bank offline with numpy.

A voice: four-point interpolation of the sample, low-pass filter, volume envelope, tremolo; pitch and filter are moved by the
modulation envelope and two LFOs (SoundFont Technical Specification 2.04, section 9.1). All controllers are at rest, without
reverb and chorus; a `Movement` bends pitch, level and brightness of a note as a player would. Voices are mixed to mono. Host
code, no JAX.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from timbre_jax.soundfont import parser
from timbre_jax.soundfont.modulation import RATE, lfo, modulated, modulation_envelope, volume_envelope
from timbre_jax.soundfont.oscillator import BLOCK, MEASURE_SECONDS, Pool, low_pass, oscillate, own_pitch, sample_shape
from timbre_jax.soundfont.parser import Preset, SoundFont, Voice
from timbre_jax.soundfont.tuning import AUDIBLE, common_fundamental

PLAYER_VERSION = 1  # raised when the player comes to sound different, so that older stores are not taken for the same
# E-mu's hardware, for which banks are made, applies initialAttenuation at 0.4 of what the specification says.
ATTENUATION_SCALE = 0.4
# One gain for every note of every bank (level and velocity stay comparable); leaves room for a few full-scale voices.
GAIN = 1.0
# A pitch that moves less than this (peak, in cents) counts as steady, and voices nearer than this as in tune.
STEADY_CENTS = 10.0


@dataclasses.dataclass(frozen=True)
class Note:
    """A rendered note.

    Attributes:
      wave: [T] float32, mono, not normalized.
      f0: the player's own pitch in Hz half a second into the note: the sample's (measured, see `tuning`) times the speed
        at which it is played, modulation envelope included, LFOs at their center; of several voices the fundamental that
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


def _render_voice(bank: SoundFont, voice: Voice, key: int, velocity: int, note_off: int, total: int, movement: Movement | None):
    """(wave [<= total] float32, pitch in Hz, whether it moves)."""
    base = voice.generators
    key = int(base[parser.KEY]) if 0 <= base[parser.KEY] <= 127 else key
    velocity = int(base[parser.VELOCITY]) if 0 < base[parser.VELOCITY] <= 127 else velocity
    added = modulated(voice, key, velocity)
    values = base + added
    envelope = volume_envelope(values, key, note_off, total)

    sample = voice.sample
    root = int(base[parser.ROOT_KEY]) if 0 <= base[parser.ROOT_KEY] <= 127 else sample.root_key
    root = root if root <= 127 else 60
    tune = 100 * values[parser.COARSE_TUNE] + values[parser.FINE_TUNE]
    shift = values[parser.SCALE_TUNING] * (key - root) + tune
    ratio = sample.rate / RATE * 2.0 ** ((shift + sample.correction) / 1200)

    blocks = np.arange(0, max(len(envelope), 1), BLOCK, dtype=np.float64)
    pitch, cutoff, level = np.zeros(1), np.full(1, values[parser.FILTER_CUTOFF]), None
    if values[parser.MOD_ENV_TO_PITCH] or values[parser.MOD_ENV_TO_FILTER]:
        modulation = modulation_envelope(values, key, note_off, blocks)
        pitch = pitch + values[parser.MOD_ENV_TO_PITCH] * modulation
        cutoff = cutoff + values[parser.MOD_ENV_TO_FILTER] * modulation
    if values[[parser.MOD_LFO_TO_PITCH, parser.MOD_LFO_TO_FILTER, parser.MOD_LFO_TO_VOLUME]].any():
        wobble = lfo(values[parser.MOD_LFO_DELAY], values[parser.MOD_LFO_FREQUENCY], blocks)
        pitch = pitch + values[parser.MOD_LFO_TO_PITCH] * wobble
        cutoff = cutoff + values[parser.MOD_LFO_TO_FILTER] * wobble
        level = 10 ** (values[parser.MOD_LFO_TO_VOLUME] / 200 * wobble)
    if values[parser.VIBRATO_TO_PITCH]:
        pitch = pitch + values[parser.VIBRATO_TO_PITCH] * lfo(
            values[parser.VIBRATO_DELAY], values[parser.VIBRATO_FREQUENCY], blocks
        )
    if movement is not None:
        pitch = pitch + movement.at(movement.bend, blocks)
        cutoff = np.minimum(cutoff, 1200 * np.log2(np.maximum(movement.at(movement.cutoff, blocks), 20.0) / 8.176))
    held = pitch[: max(1, note_off // BLOCK)]
    moves = bool(np.ptp(held) / 2 > STEADY_CENTS)
    center = 0.0  # the LFOs' part is not the note's pitch
    if values[parser.MOD_ENV_TO_PITCH]:
        there = np.array([min(MEASURE_SECONDS * RATE, note_off / 2)])
        center = float(values[parser.MOD_ENV_TO_PITCH] * modulation_envelope(values, key, note_off, there)[0])

    shape = sample_shape(bank, voice)
    meant = 440.0 * 2.0 ** ((100 * root + shift - 6900) / 1200)
    own = own_pitch(Pool(bank.pool), shape, sample.rate, round(meant / (ratio * RATE), 5))
    f0 = (own * ratio * RATE if own else meant) * 2.0 ** (center / 1200)

    wave = oscillate(Pool(bank.pool), shape, ratio, pitch, len(envelope), note_off)
    wave = low_pass(wave, cutoff, values[parser.FILTER_Q])
    wave *= envelope[: len(wave)]
    if level is not None:
        wave *= np.repeat(level, BLOCK)[: len(wave)].astype(np.float32)
    if movement is not None:  # sample by sample: steps of the level would be heard
        wave *= (10 ** (movement.at(movement.level, np.arange(len(wave))) / 20)).astype(np.float32)
    decibels = ATTENUATION_SCALE * base[parser.ATTENUATION] / 10 + added[parser.ATTENUATION] / 10
    angle = (np.clip(values[parser.PAN], -500, 500) + 500) / 1000 * np.pi / 2
    wave *= np.float32(GAIN * 10 ** (-max(decibels, 0.0) / 20) * (np.sin(angle) + np.cos(angle)) / 2)
    return wave, f0, moves
