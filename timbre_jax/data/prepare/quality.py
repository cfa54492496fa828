"""Decides which sounds a store keeps, and states the reason for each that it leaves out.

A check has two parts: the wave (numpy, in the loading process), and the pitch and harmonics of notes (`HarmonicTracks.quality`,
in batches on the device). All thresholds are defined here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

SILENT_RMS = 1e-4
"""A sound with a lower RMS is silent (-80 dB)."""
DC_SHARE = 0.99
"""A sound whose mean contains a larger share of its power is a constant offset."""
MIN_SECONDS = 0.25
"""Shorter notes are left out; other importers have their own limits (`AudioFormat.min_seconds`)."""
SAME_SOUND_DB = 0.5
"""Notes of different splits whose signatures differ less on average, in dB, are near-duplicates."""


def wave_problem(wave: np.ndarray, rate: int, min_seconds: float = MIN_SECONDS) -> str:
    """Returns the reason to leave out a wave [T], or ""."""
    if len(wave) == 0 or len(wave) < min_seconds * rate:
        return f"too short ({len(wave) / rate:.3f} s)"
    power = float(np.mean(np.square(wave, dtype=np.float64)))
    mean = float(np.mean(wave, dtype=np.float64))
    if power > SILENT_RMS**2 and mean**2 > DC_SHARE * power:
        return "constant offset"
    if power - mean**2 < SILENT_RMS**2:
        return "silent"
    return ""


def to_pcm(wave: np.ndarray) -> tuple[np.ndarray, int]:
    """Converts a wave [T] in [-1, 1] to int16, and counts clipped samples."""
    scaled = np.rint(np.asarray(wave, np.float64) * 32768)
    clipped = int(np.count_nonzero((scaled > 32767) | (scaled < -32768)))
    return np.clip(scaled, -32768, 32767).astype("<i2"), clipped


def digest(pcm: np.ndarray) -> str:
    """Returns a digest of samples that ignores digital silence at the end."""
    sounding = np.flatnonzero(pcm)
    return hashlib.sha256(pcm[: sounding[-1] + 1 if len(sounding) else 0].tobytes()).hexdigest()[:24]


_EDGES = np.unique(np.round(np.geomspace(3, 512, 17)).astype(int))


def signature(wave: np.ndarray) -> np.ndarray:
    """Returns a coarse description of a note: its level over time and frequency, int8 [128].

    Levels of 8 intervals of time and 16 frequency bands, in steps of 0.5 dB relative to the loudest cell, clipped at -60 dB;
    gain and rounding do not change it.
    """
    wave = np.pad(wave, (0, max(0, 8 * 1024 - len(wave))))
    frames = wave[: len(wave) // 8 * 8].reshape(8, -1)
    pieces = frames[:, : frames.shape[1] // 1024 * 1024].reshape(8, -1, 1024)
    power = np.mean(np.abs(np.fft.rfft(pieces * np.hanning(1024).astype(np.float32), axis=-1)) ** 2, axis=1)
    bands = np.add.reduceat(power[:, : _EDGES[-1]], _EDGES[:-1], axis=1)
    level = 10 * np.log10(np.maximum(bands / max(float(bands.max()), 1e-20), 1e-6))
    cells = np.full((8, 16), -120, np.int8)
    cells[:, : level.shape[1]] = np.rint(2 * level)
    return cells.reshape(-1)


def find_duplicates(
    digests: list[str], signatures: np.ndarray, splits: np.ndarray, pitches: np.ndarray, ids: list[str]
) -> dict[int, str]:
    """Returns the notes to leave out because another kept note sounds the same, with reasons.

    One of the notes with equal samples is kept: one in test, else in valid, else in train, and the first in its split.
    Near-duplicates of the same pitch are left out only between splits, where they would leak: the one nearer to training is
    left out.

    Args:
      digests: digest of each note, [n].
      signatures: [n, 128] int8.
      splits: [n] 0 for train, 1 for valid, 2 for test.
      pitches: MIDI pitch of each note, [n].
      ids: id of each note, [n].

    Returns:
      Reason by position.
    """
    reasons: dict[int, str] = {}
    first: dict[str, int] = {}
    order = np.lexsort((np.arange(len(ids)), -splits)).tolist()
    for position in order:
        kept = first.setdefault(digests[position], position)
        if kept != position:
            reasons[position] = f"duplicate (the same samples as {ids[kept]})"
    distinct = np.array([position not in reasons for position in range(len(ids))], bool)
    for pitch in np.unique(pitches):
        here = np.flatnonzero((pitches == pitch) & distinct)
        for low, high in ((1, 2), (0, 2), (0, 1)):
            # A note that is left out itself is no reason to leave out another, and must not hide the next nearest.
            held_out = np.array([p for p in here[splits[here] == high].tolist() if p not in reasons], np.int64)
            others = here[splits[here] == low]
            if not len(held_out) or not len(others):
                continue
            held_out_levels = signatures[held_out].astype(np.float32) / 2
            for position in others.tolist():
                if position in reasons:
                    continue
                distance = np.abs(held_out_levels - signatures[position].astype(np.float32) / 2).mean(axis=1)
                nearest = int(np.argmin(distance))
                if distance[nearest] < SAME_SOUND_DB:
                    reasons[position] = f"duplicate (sounds like {ids[held_out[nearest]]} of another split)"
    return reasons


QualityCheck = Callable[[np.ndarray, np.ndarray, np.ndarray], list[str]]
"""Function (waves [B, T], MIDI pitches [B] or -1, known f0 [B] in Hz or 0) -> reasons to leave the sounds out, or ""."""

PITCH_HZ = (80.0, 2100.0)
"""Range of the notes of Natsiou et al. 2023 in Hz; the paper gives no reason for its limits."""
MIN_HARMONIC = 0.8
"""Smallest share of audible frames that are periodic (YIN aperiodicity below 0.25)."""
MAX_APERIODICITY = 0.25
"""Largest median aperiodicity over the audible frames."""
MAX_F0_SPREAD = 40.0
"""Largest standard deviation of f0 in cents over the periodic frames; a vibrato of +-50 cents has 35."""
MAX_F0_JUMPS = 0.2
"""Largest share of periodic frames whose f0 is more than a semitone off the smoothed f0."""
MAX_LEVEL_UNSTEADINESS = 3.0
"""Largest mean distance in dB of the level from its running mean over 0.25 s: limits tremolo and noise, not decay."""


def note_problem(quality: Mapping[str, float], pitch: int, f0: float) -> str:
    """Returns the reason to leave out a note by its harmonic analysis, or "".

    The pitch is out of range if the key or the known f0 is: outside 80 to 2100 Hz the analysis would find a subharmonic or a
    harmonic.

    Args:
      quality: result of `HarmonicTracks.quality` for the note.
      pitch: MIDI pitch, or -1.
      f0: pitch in Hz that the importer knows, or 0.
    """
    low, high = PITCH_HZ
    key_hz = 440.0 * 2.0 ** ((pitch - 69) / 12) if pitch >= 0 else 0.0
    for hertz in (key_hz, f0):
        if hertz and not low <= hertz <= high * 2 ** (10 / 1200):  # key 96 is 2093 Hz; banks are detuned by up to 10 cents
            return f"pitch out of range ({hertz:.0f} Hz)"
    if quality["harmonic"] < MIN_HARMONIC or quality["aperiodicity"] > MAX_APERIODICITY:
        return f"not harmonic ({100 * quality['harmonic']:.0f} % of its frames are periodic)"
    if quality["f0_spread"] > MAX_F0_SPREAD:
        return f"unsteady (f0 spreads by {quality['f0_spread']:.0f} cents)"
    if quality["f0_jumps"] > MAX_F0_JUMPS:
        return f"unsteady (f0 jumps in {100 * quality['f0_jumps']:.0f} % of its frames)"
    if quality["level_unsteadiness"] > MAX_LEVEL_UNSTEADINESS:
        return f"unsteady (level varies by {quality['level_unsteadiness']:.1f} dB)"
    return ""


def harmonic_check() -> tuple[QualityCheck, dict[str, Any]]:
    """Returns the check of pitch and harmonics, and its settings. Imports JAX."""
    import jax

    from timbre_jax.representations.harmonic_tracks import HarmonicTracks

    representation = HarmonicTracks()

    def check(waves: np.ndarray, pitches: np.ndarray, f0: np.ndarray) -> list[str]:
        """Returns a reason for each note, or ""."""
        numbers = jax.device_get(representation.quality(waves))
        return [
            note_problem({name: float(of[row]) for name, of in numbers.items()}, int(pitches[row]), float(f0[row]))
            for row in range(len(waves))
        ]

    settings = {
        "pitch_hz": list(PITCH_HZ), "min_harmonic": MIN_HARMONIC, "max_aperiodicity": MAX_APERIODICITY,
        "max_f0_spread": MAX_F0_SPREAD, "max_f0_jumps": MAX_F0_JUMPS, "max_level_unsteadiness": MAX_LEVEL_UNSTEADINESS,
    }  # fmt: skip
    return check, settings
