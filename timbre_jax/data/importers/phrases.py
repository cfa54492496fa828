"""Recordings of one instrument that a bank plays: phrases whose pitch, loudness and brightness move, cut into excerpts."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from timbre_jax.audio.io import resample
from timbre_jax.data.importers.banks import OfBanks, preset_name, slug
from timbre_jax.data.importers.base import Loaded, Record
from timbre_jax.data.importers.library import LengthSettings
from timbre_jax.data.importers.options import played
from timbre_jax.data.importers.soundfont import FAMILY_OF_PROGRAM, source_of_program
from timbre_jax.data.importers.splits import split_groups
from timbre_jax.settings import setting
from timbre_jax.soundfont.banks import PERCUSSION_BANK, open_bank
from timbre_jax.soundfont.parser import SoundFont, SoundFontError
from timbre_jax.soundfont.phrases import COMPOSER_VERSION, RELEASE_SECONDS, compose
from timbre_jax.soundfont.player import RATE, render_note

RECORDINGS = 60
DEFAULT_PROGRAM = "violin"
GAIN_DB = 6.0  # one gain for all: expression only takes level away, and a single line leaves much room


@dataclasses.dataclass(frozen=True)
class PhraseSource(OfBanks, LengthSettings):
    """Recordings of composed phrases (`soundfont.phrases`), played by presets of SoundFont 2 banks and cut into excerpts.

    An excerpt's instrument is its recording, named BANK:PROGRAM-NAME-rNNN, and no recording is in two splits; the family is
    the preset's NSynth family, pitch and velocity are -1, as both move. Silent excerpts are left out by the doctor. `path`
    names .sf2 files; none means the default bank.

    Raises:
      ValueError: a value outside its limits.
    """

    number: int = setting(RECORDINGS, f"How many recordings, at least 3; 0 means {RECORDINGS}.", low=0)
    seconds: float = setting(4.0, "Length of an excerpt in seconds.")
    program: tuple[str, ...] = setting(
        (DEFAULT_PROGRAM,), "Presets of the bank that play in turns, by name or General MIDI number (from 0)."
    )
    pitches: tuple[int, ...] = played("pitches", (55, 91), "55-91")
    recording_seconds: float = setting(32.0, "Length of each recording in seconds.", low=1, high=600)

    def __post_init__(self):
        super().__post_init__()
        if not self.program:
            raise ValueError(f"no program: the name or number of a preset is needed, such as {DEFAULT_PROGRAM}")
        if self.recordings < 3:
            raise ValueError(f"{self.recordings} recordings: at least 3 are needed, one for each split")
        if self.seconds > self.recording_seconds:
            raise ValueError(f"excerpts of {self.seconds:g} s: recordings are {self.recording_seconds:g} s long")
        compose(seed=0, number=0, seconds=0.1, low=self.keys[0], high=self.keys[1])  # says what is wrong with the keys

    @property
    def recordings(self) -> int:
        """Number of recordings."""
        return self.number or RECORDINGS

    @property
    def keys(self) -> tuple[int, int]:
        """Lowest and highest MIDI key."""
        return min(self.pitches), max(self.pitches)

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "phrases", "title": f"phrases of {', '.join(self.program)} played by {self.titles}",
            "programs": list(self.program), "keys": list(self.keys), "recordings": self.recordings,
            "recording_seconds": self.recording_seconds, "composer": COMPOSER_VERSION,
            **self.described_banks(), **self.described(),
        }  # fmt: skip

    def presets(self) -> list[tuple[int, int]]:
        """(bank, position of the preset) of every program, in the order that recordings take them."""
        found: list[tuple[int, int]] = []
        for program in self.program:
            here = [
                (number, position)
                for number, path in enumerate(self.banks)
                if (position := _find(open_bank(path), program)) is not None
            ]
            if not here:
                near = sorted({preset.name for path in self.banks for preset in open_bank(path).presets})[:20]
                raise SoundFontError(
                    f"program {program!r}: no preset of {self.titles} has that name or number; there are {', '.join(near)}, ..."
                )
            found += here
        return list(dict.fromkeys(found))

    def plan(self) -> list[Record]:
        presets, names = self.presets(), self.bank_names
        recordings = []
        for number in range(self.recordings):
            bank, position = presets[number % len(presets)]
            preset = open_bank(self.banks[bank]).presets[position]
            name = f"{preset_name(names[bank], preset)}-r{number:03d}"
            recordings.append((name, number, bank, position, preset))
        family = {name: FAMILY_OF_PROGRAM.get(preset.program, "none") for name, *_, preset in recordings}
        split = split_groups(family, fractions=self.splits, seed=self.seed, small=True)
        return [
            Record(
                id=f"{name}-{excerpt:03d}", split=split[name], instrument=name, family=family[name],
                source=source_of_program(preset.program), pitch=-1, velocity=-1, preset=preset.name,
                where=(bank, position, number, excerpt),
            )
            for name, number, bank, position, preset in recordings
            for excerpt in range(int(np.ceil(round(self.recording_seconds / self.seconds, 6))))
        ]  # fmt: skip

    def load(self, record: Record, payload: Any) -> Loaded:
        bank, position, number, excerpt = record.where
        wave, remarks = _recording(self, bank, position, number)
        samples = self.form.samples
        return Loaded(wave[excerpt * samples : (excerpt + 1) * samples], remarks=remarks)


def _find(bank: SoundFont, program: str) -> int | None:
    """The position of a preset: by number, by its whole name, else the first whose name begins with it, or has it within."""
    melodic = [(position, preset) for position, preset in enumerate(bank.presets) if preset.bank != PERCUSSION_BANK]
    wanted = slug(program)
    tests = (
        lambda preset: program.strip().isdecimal() and preset.program == int(program),
        lambda preset: slug(preset.name) == wanted,
        lambda preset: slug(preset.name).startswith(wanted),
        lambda preset: wanted in slug(preset.name),
    )
    return next((position for test in tests for position, preset in melodic if test(preset)), None)


@functools.lru_cache(maxsize=2)
def _recording(source: PhraseSource, bank_number: int, position: int, number: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """A whole recording, [T] float32 at the store's rate, and remarks; its excerpts are loaded one after the other."""
    bank = open_bank(source.banks[bank_number])
    total = round(source.recording_seconds * RATE)
    mix = np.zeros(total, np.float32)
    low, high = source.keys
    for note in compose(seed=source.seed, number=number, seconds=source.recording_seconds, low=low, high=high):
        played = render_note(
            bank, bank.presets[position], note.key, note.velocity, held=note.held, seconds=note.held + RELEASE_SECONDS,
            movement=note.movement,
        )  # fmt: skip
        first = round(note.start * RATE)
        wave = played.wave[: total - first]
        # A release that is longer than its room is faded, not cut.
        fade = round(0.05 * RATE)
        if len(wave) > fade:
            wave[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
        mix[first : first + len(wave)] += wave
    mix *= np.float32(10 ** (GAIN_DB / 20))
    wave = mix if source.sample_rate == RATE else resample(mix, RATE, source.sample_rate)
    peak, remarks = float(np.abs(wave).max(initial=0.0)), ()
    if peak > 1.0:  # a loud preset: the whole recording, so that its own dynamics stay
        wave, remarks = wave / np.float32(peak * 1.0001), (f"turned down by {20 * np.log10(peak):.1f} dB",)
    return np.ascontiguousarray(wave, np.float32), remarks
