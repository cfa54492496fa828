"""Composes phrases with moving pitch, loudness and brightness, as of a bowed instrument.

Phrases are random but reproducible by seed and number. Loudness and pitch are drawn independently; brightness partly follows
loudness and partly moves independently, so that timbre is not a function of pitch and loudness.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from timbre_jax.soundfont.player import ControllerCurves

COMPOSER_VERSION = 1  # increased when the phrases change, so that older stores are made again
MIN_LEVEL_DB = -40.0
"""Lowest expression level; the velocity of a note is applied in addition."""
MIN_CUTOFF_HZ, MAX_CUTOFF_HZ = 500.0, 14000.0
"""Range of the filter cutoff, which is never below one and a half times the pitch."""
BRIGHTNESS_BY_LOUDNESS = 0.3
"""Share of the brightness that follows the expression."""
RELEASE_SECONDS = 0.35
_STEP_SECONDS = 0.004  # seconds between the points of a curve; a vibrato of 7 Hz has 36 points per period


@dataclasses.dataclass(frozen=True)
class PhraseNote:
    """Note of a recording.

    Attributes:
      start: start in seconds.
      held: seconds until note-off.
      key: MIDI key.
      velocity: MIDI velocity.
      curves: pitch, level and brightness while it sounds.
    """

    start: float
    held: float
    key: int
    velocity: int
    curves: ControllerCurves


def compose(*, seed: int, number: int, seconds: float, low: int = 55, high: int = 91) -> list[PhraseNote]:
    """Composes the notes of one recording.

    Args:
      seed: random seed.
      number: number of the recording; recordings are independent of each other.
      seconds: length of the recording; notes may sound beyond it.
      low: lowest MIDI key.
      high: highest MIDI key, at least an octave above the lowest.

    Raises:
      ValueError: the range is smaller than an octave or outside 0 to 127.
    """
    if not 0 <= low <= high - 12 <= 115:
        raise ValueError(f"pitches={low}-{high}: must span at least an octave within 0 to 127")
    generator = np.random.default_rng([seed, number])
    beat = float(np.exp(generator.uniform(np.log(0.22), np.log(1.2))))
    key = int(generator.integers(low, high + 1))
    notes: list[PhraseNote] = []
    time = 0.02
    while time < seconds:
        count = int(generator.integers(3, 12))
        lengths = beat * generator.choice([0.5, 1.0, 1.0, 2.0, 3.0], count) * generator.uniform(0.85, 1.15, count)
        phrase = _PhraseCurves(generator, float(lengths.sum()))
        loudness = float(generator.uniform(45, 120))
        phrase_offset = time
        for length in lengths.tolist():
            following = _next_key(generator, key, low, high)
            velocity = int(np.clip(loudness + generator.normal(0, 12), 25, 127))
            curves = _note_curves(generator, key, following, time - phrase_offset, length, phrase)
            notes.append(PhraseNote(time, length * 1.02, key, velocity, curves))
            key, time = following, time + length
        time += float(generator.uniform(0.05, 0.7))
        if generator.random() < 0.5:  # a new register, so that every recording covers the range
            key = int(generator.integers(low, high + 1))
    return [note for note in notes if note.start < seconds]


class _PhraseCurves:
    """Curves of a phrase over its time in seconds: expression in dB and brightness in [0, 1]."""

    def __init__(self, generator: np.random.Generator, seconds: float):
        depth = float(generator.uniform(8, 34))
        top = float(generator.uniform(-6, 0))
        shape = generator.choice(["swell", "rise", "fall", "level", "waves"])
        x = np.linspace(0, 1, 65)
        moved = {
            "swell": np.sin(np.pi * x) - 1, "rise": x - 1, "fall": -x, "level": np.full_like(x, -generator.random()),
            "waves": -np.square(np.sin(np.pi * x * generator.integers(2, 5))),
        }[str(shape)]  # fmt: skip
        self.times, self.level = x * seconds, top + depth * moved
        points = max(2, round(seconds / generator.uniform(0.5, 2.0)) + 1)
        self.bright_times, self.bright = np.linspace(0, seconds, points), generator.uniform(0, 1, points)


def _next_key(generator: np.random.Generator, key: int, low: int, high: int) -> int:
    """Returns the next key: mostly a step, sometimes a leap, within the range."""
    move = int(generator.choice([1, 2, 2, 3, 4, 5, 7, 12], p=[0.2, 0.2, 0.15, 0.13, 0.12, 0.1, 0.07, 0.03]))
    up = generator.random() < 0.5
    for sign in (1, -1) if up else (-1, 1):
        if low <= key + sign * move <= high:
            return key + sign * move
    return key


def _note_curves(
    generator: np.random.Generator, key: int, following: int, phrase_offset: float, length: float, phrase: _PhraseCurves
) -> ControllerCurves:
    """Returns the curves of a note that starts `phrase_offset` seconds into its phrase."""
    times = np.arange(0, length + RELEASE_SECONDS, _STEP_SECONDS)
    bend = np.zeros_like(times)
    kind = generator.random()
    if kind < 0.2 and abs(following - key) <= 7:  # a glide into the next note
        start = length * generator.uniform(0.4, 0.75)
        bend = 100.0 * (following - key) * _smoothstep((times - start) / max(length - start, 0.05))
    elif kind < 0.3:  # a scoop from below
        bend = -generator.uniform(50, 250) * (1 - _smoothstep(times / generator.uniform(0.06, 0.2)))
    if generator.random() < 0.7:
        rate, depth = generator.uniform(4.5, 6.8), generator.uniform(8, 45)
        grown = np.clip((times - generator.uniform(0.05, 0.35)) / 0.3, 0, 1)
        bend = bend + depth * grown * np.sin(2 * np.pi * rate * times)
    level = np.interp(phrase_offset + times, phrase.times, phrase.level)
    kind = generator.random()
    if kind < 0.2:  # a decaying note
        level = level - generator.uniform(20, 40) * np.clip(times / max(length, 0.3), 0, 1)
    elif kind < 0.3:  # a swell
        level = level - generator.uniform(10, 25) * (1 - np.sin(np.pi * np.clip(times / length, 0, 1)))
    level = np.clip(level, MIN_LEVEL_DB, 0.0)
    own = np.interp(phrase_offset + times, phrase.bright_times, phrase.bright)
    bright = BRIGHTNESS_BY_LOUDNESS * (1 - level / MIN_LEVEL_DB) + (1 - BRIGHTNESS_BY_LOUDNESS) * own
    f0 = 440.0 * 2.0 ** ((key - 69) / 12)
    cutoff = np.maximum(MIN_CUTOFF_HZ * (MAX_CUTOFF_HZ / MIN_CUTOFF_HZ) ** bright, 1.5 * f0)
    return ControllerCurves(times, bend, level, cutoff)


def _smoothstep(x: np.ndarray) -> np.ndarray:
    """Returns 0 below 0, 1 above 1, and a smooth transition between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
