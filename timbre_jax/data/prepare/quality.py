"""The doctor: decides for every sound whether it is kept, and says why not.

Two looks at a note: the wave itself (numpy, in the loading process) and its pitch and harmonics (`HarmonicTracks.quality`,
batched on the device). Thresholds are here and nowhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

SILENT_RMS = 1e-4
"""Under this root mean square over the whole note it counts as silent (-80 dB)."""
DC_SHARE = 0.99
"""A note of whose power more than this lies in its mean is an offset, not a sound."""
MIN_SECONDS = 0.25
"""Shorter notes are left out; other sources have limits of their own (`Form.min_seconds`)."""
SAME_SOUND_DB = 0.5
"""Two notes of different splits whose signatures differ by less than this on average (dB) count as the same sound."""


def check_wave(wave: np.ndarray, rate: int, min_seconds: float = MIN_SECONDS) -> str:
    """The reason to leave a wave [T] out, or "" to keep it."""
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
    """Float [T] in [-1, 1] to int16, and how many samples were clipped."""
    scaled = np.rint(np.asarray(wave, np.float64) * 32768)
    clipped = int(np.count_nonzero((scaled > 32767) | (scaled < -32768)))
    return np.clip(scaled, -32768, 32767).astype("<i2"), clipped


def digest(pcm: np.ndarray) -> str:
    """Equal for equal sounds, however much digital silence follows them."""
    sounding = np.flatnonzero(pcm)
    return hashlib.sha256(pcm[: sounding[-1] + 1 if len(sounding) else 0].tobytes()).hexdigest()[:24]


_EDGES = np.unique(np.round(np.geomspace(3, 512, 17)).astype(int))


def signature(wave: np.ndarray) -> np.ndarray:
    """What a note sounds like, coarsely: level in dB over 8 stretches of time and 16 bands of frequency, int8 [128].

    Relative to the loudest cell and floored at -60 dB, so a change of gain or of the last bit does not change it.
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
    """Notes to leave out because another kept one sounds the same.

    Equal audio: one is kept, in the test split before valid before train, the earliest first. Nearly equal audio of the
    same pitch matters only between splits, where it would leak: the copy nearer to training goes.

    Args:
      digests, ids: [n]; signatures: [n, 128] int8; splits: [n] 0 train, 1 valid, 2 test; pitches: [n].

    Returns:
      position -> reason.
    """
    gone: dict[int, str] = {}
    first: dict[str, int] = {}
    order = np.lexsort((np.arange(len(ids)), -splits)).tolist()
    for position in order:
        kept = first.setdefault(digests[position], position)
        if kept != position:
            gone[position] = f"duplicate (the same samples as {ids[kept]})"
    alive = np.array([position not in gone for position in range(len(ids))], bool)
    for pitch in np.unique(pitches):
        here = np.flatnonzero((pitches == pitch) & alive)
        for low, high in ((1, 2), (0, 2), (0, 1)):
            # One that goes itself is no reason for another to go, and must not hide the next nearest.
            held_out = np.array([p for p in here[splits[here] == high].tolist() if p not in gone], np.int64)
            others = here[splits[here] == low]
            if not len(held_out) or not len(others):
                continue
            theirs = signatures[held_out].astype(np.float32) / 2
            for position in others.tolist():
                if position in gone:
                    continue
                distance = np.abs(theirs - signatures[position].astype(np.float32) / 2).mean(axis=1)
                nearest = int(np.argmin(distance))
                if distance[nearest] < SAME_SOUND_DB:
                    gone[position] = f"duplicate (sounds like {ids[held_out[nearest]]} of another split)"
    return gone


Judge = Callable[[np.ndarray, np.ndarray, np.ndarray], list[str]]
"""Waves [B, T], MIDI pitches [B] (-1 unknown), the source's own f0 in Hz [B] (0 unknown) to a reason each, "" to keep."""

PITCH_HZ = (80.0, 2100.0)
"""The notes of the paper (Natsiou 2023): from the lowest pitch that a Blackman window of 690 samples resolves."""
MIN_HARMONIC = 0.8
"""Share of the heard frames that have to be periodic (YIN's aperiodicity under 0.25)."""
MAX_APERIODICITY = 0.25
"""Median of it over the heard frames."""
MAX_F0_SPREAD = 40.0
"""Standard deviation of f0 in cents over the periodic frames: a vibrato of +-50 cents has 35."""
MAX_F0_JUMPS = 0.2
"""Share of the periodic frames whose own f0 is more than a semitone off the smooth line."""
MAX_LEVEL_UNSTEADINESS = 3.0
"""Mean distance in dB of the level from its running mean over a quarter of a second: tremolo and noise, not a decay."""


def reason_of_quality(quality: Mapping[str, float], pitch: int, f0: float) -> str:
    """The reason to leave out a note with the numbers of `HarmonicTracks.quality`, or "" to keep it.

    Which notes are in range is judged by the key and, where the source knows it, by the pitch that sounds: outside 80-2100 Hz
    the analysis would find a subharmonic or a harmonic instead.
    """
    low, high = PITCH_HZ
    named = 440.0 * 2.0 ** ((pitch - 69) / 12) if pitch >= 0 else 0.0
    for hertz in (named, f0):
        if hertz and not low <= hertz <= high * 2 ** (10 / 1200):  # key 96 is 2093 Hz; banks are up to 10 cents off
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


def harmonic_judge() -> tuple[Judge, dict[str, Any]]:
    """The look at pitch and harmonics, and the settings that decide its answers. Imports JAX."""
    import jax

    from timbre_jax.representations.harmonic_tracks import HarmonicTracks

    representation = HarmonicTracks()

    def judge(waves: np.ndarray, pitches: np.ndarray, f0: np.ndarray) -> list[str]:
        numbers = jax.device_get(representation.quality(waves))
        return [
            reason_of_quality({name: float(of[row]) for name, of in numbers.items()}, int(pitches[row]), float(f0[row]))
            for row in range(len(waves))
        ]

    settings = {
        "pitch_hz": list(PITCH_HZ), "min_harmonic": MIN_HARMONIC, "max_aperiodicity": MAX_APERIODICITY,
        "max_f0_spread": MAX_F0_SPREAD, "max_f0_jumps": MAX_F0_JUMPS, "max_level_unsteadiness": MAX_LEVEL_UNSTEADINESS,
    }  # fmt: skip
    return judge, settings
