"""Offline player of SoundFont 2 notes in numpy.

A voice consists of four-point interpolation of the sample, low-pass filter, volume envelope and tremolo; the modulation
envelope and two LFOs move pitch and filter (SoundFont Technical Specification 2.04, section 9.1). All controllers are at rest,
without reverb and chorus; `ControllerCurves` move pitch, level and brightness of a note. Voices are mixed to mono. Host code
without JAX.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from timbre_jax.soundfont import parser
from timbre_jax.soundfont.modulation import RATE, lfo, modulation_envelope, modulation_offsets, volume_envelope
from timbre_jax.soundfont.oscillator import BLOCK, MEASURE_SECONDS, Pool, low_pass, oscillate, played_range, sample_pitch
from timbre_jax.soundfont.parser import Preset, SoundFont, Voice
from timbre_jax.soundfont.tuning import AUDIBLE_SHARE, common_fundamental

PLAYER_VERSION = 1  # increased when the sound of the player changes, so that older stores are made again
# The E-mu hardware that banks were made for applies 0.4 of the initialAttenuation in the specification.
ATTENUATION_SCALE = 0.4
# One gain for all notes of all banks, so that levels stay comparable.
GAIN = 1.0
# A pitch that moves less than this (peak, in cents) is steady, and voices that are closer are in tune.
STEADY_CENTS = 10.0


@dataclasses.dataclass(frozen=True)
class Note:
    """Rendered note and its pitch.

    Attributes:
      wave: [T] float32, mono, not normalized.
      f0: pitch in Hz that the player knows, half a second into the note: the measured pitch of the sample (`tuning`) times its
        playback speed, with the modulation envelope and without LFOs; for several voices their common fundamental. If a sample
        has no clear pitch, the pitch that key, root key and tuning state.
      pitch_moves: whether the bank moves the pitch by more than 10 cents while the note is held (vibrato, modulation envelope),
        or plays voices without a common fundamental.
      voices: number of voices.
    """

    wave: np.ndarray
    f0: float
    pitch_moves: bool
    voices: int


@dataclasses.dataclass(frozen=True)
class ControllerCurves:
    """Curves of a player's controllers during a note; the last value is held.

    Attributes:
      times: [S] seconds since the start of the note, ascending.
      bend: [S] cents added to the pitch (pitch wheel, vibrato).
      level: [S] dB added to the level (expression pedal).
      cutoff: [S] upper limit of the filter cutoff in Hz.
    """

    times: np.ndarray
    bend: np.ndarray
    level: np.ndarray
    cutoff: np.ndarray

    def at(self, values: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Returns one of the curves at sample times."""
        return np.interp(samples / RATE, self.times, values)


def render_note(
    bank: SoundFont, preset: Preset, key: int, velocity: int, *, held: float = 3.0, seconds: float = 4.0,
    curves: ControllerCurves | None = None,
) -> Note:  # fmt: skip
    """Renders a note at 44,100 Hz.

    Args:
      bank: bank.
      preset: preset of the bank.
      key: MIDI key, 0 to 127.
      velocity: MIDI velocity, 1 to 127.
      held: seconds until note-off.
      seconds: length of the result.
      curves: pitch, level and brightness while it sounds; None leaves the controllers at rest.
    """
    total = round(seconds * RATE)
    mix = np.zeros(total, np.float32)
    pitches, energies, moving = [], [], []
    for voice in bank.voices(preset, key, velocity):
        wave, pitch, moves = _render_voice(bank, voice, key, velocity, round(held * RATE), total, curves)
        mix[: len(wave)] += wave
        pitches.append(pitch)
        energies.append(float(np.dot(wave, wave)))
        moving.append(moves)
    if not pitches:
        return Note(mix, 0.0, False, 0)
    f0, clash = common_fundamental(pitches, energies, cents=STEADY_CENTS)
    audible = [moves for moves, energy in zip(moving, energies, strict=True) if energy > AUDIBLE_SHARE * max(energies)]
    return Note(mix, f0, clash or any(audible), len(pitches))


def _render_voice(
    bank: SoundFont, voice: Voice, key: int, velocity: int, note_off: int, total: int, curves: ControllerCurves | None
):
    """Returns wave [<= total] float32, pitch in Hz, and whether the pitch moves."""
    base = voice.generators
    key = int(base[parser.KEY]) if 0 <= base[parser.KEY] <= 127 else key
    velocity = int(base[parser.VELOCITY]) if 0 < base[parser.VELOCITY] <= 127 else velocity
    added = modulation_offsets(voice, key, velocity)
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
        oscillation = lfo(values[parser.MOD_LFO_DELAY], values[parser.MOD_LFO_FREQUENCY], blocks)
        pitch = pitch + values[parser.MOD_LFO_TO_PITCH] * oscillation
        cutoff = cutoff + values[parser.MOD_LFO_TO_FILTER] * oscillation
        level = 10 ** (values[parser.MOD_LFO_TO_VOLUME] / 200 * oscillation)
    if values[parser.VIBRATO_TO_PITCH]:
        pitch = pitch + values[parser.VIBRATO_TO_PITCH] * lfo(
            values[parser.VIBRATO_DELAY], values[parser.VIBRATO_FREQUENCY], blocks
        )
    if curves is not None:
        pitch = pitch + curves.at(curves.bend, blocks)
        cutoff = np.minimum(cutoff, 1200 * np.log2(np.maximum(curves.at(curves.cutoff, blocks), 20.0) / 8.176))
    held = pitch[: max(1, note_off // BLOCK)]
    moves = bool(np.ptp(held) / 2 > STEADY_CENTS)
    center = 0.0  # LFOs do not count for the pitch of the note
    if values[parser.MOD_ENV_TO_PITCH]:
        measured_at = np.array([min(MEASURE_SECONDS * RATE, note_off / 2)])
        center = float(values[parser.MOD_ENV_TO_PITCH] * modulation_envelope(values, key, note_off, measured_at)[0])

    played = played_range(bank, voice)
    nominal = 440.0 * 2.0 ** ((100 * root + shift - 6900) / 1200)
    own = sample_pitch(Pool(bank.pool), played, sample.rate, round(nominal / (ratio * RATE), 5))
    f0 = (own * ratio * RATE if own else nominal) * 2.0 ** (center / 1200)

    wave = oscillate(Pool(bank.pool), played, ratio, pitch, len(envelope), note_off)
    wave = low_pass(wave, cutoff, values[parser.FILTER_Q])
    wave *= envelope[: len(wave)]
    if level is not None:
        wave *= np.repeat(level, BLOCK)[: len(wave)].astype(np.float32)
    if curves is not None:  # per sample, since steps of the level would be audible
        wave *= (10 ** (curves.at(curves.level, np.arange(len(wave))) / 20)).astype(np.float32)
    decibels = ATTENUATION_SCALE * base[parser.ATTENUATION] / 10 + added[parser.ATTENUATION] / 10
    angle = (np.clip(values[parser.PAN], -500, 500) + 500) / 1000 * np.pi / 2
    wave *= np.float32(GAIN * 10 ** (-max(decibels, 0.0) / 20) * (np.sin(angle) + np.cos(angle)) / 2)
    return wave, f0, moves
