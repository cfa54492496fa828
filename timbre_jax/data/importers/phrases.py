"""Imports excerpts of composed phrases that a SoundFont bank plays."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from timbre_jax.audio.io import resample
from timbre_jax.data.importers.banks import BankMixin, preset_name, slug
from timbre_jax.data.importers.base import LoadedSound, Record
from timbre_jax.data.importers.library import LengthSettings
from timbre_jax.data.importers.options import midi_setting
from timbre_jax.data.importers.soundfont import FAMILY_OF_PROGRAM, source_of_program
from timbre_jax.data.importers.splits import split_groups
from timbre_jax.settings import setting
from timbre_jax.soundfont.banks import PERCUSSION_BANK, open_bank
from timbre_jax.soundfont.parser import SoundFont, SoundFontError
from timbre_jax.soundfont.phrases import COMPOSER_VERSION, RELEASE_SECONDS, compose
from timbre_jax.soundfont.player import RATE, render_note

RECORDINGS = 60
DEFAULT_PROGRAM = "violin"
GAIN_DB = 6.0  # one gain for all, since expression only attenuates and a single voice is far from full scale


@dataclasses.dataclass(frozen=True)
class PhraseImporter(BankMixin, LengthSettings):
    """Importer of composed phrases (`soundfont.phrases`), played by presets of banks.

    Recordings are cut into excerpts. The instrument of an excerpt is its recording, named BANK:PROGRAM-NAME-rNNN, and a
    recording stays in one split. The family is the preset's NSynth family; pitch and velocity are -1, since both move. Silent
    excerpts are left out. `path` names .sf2 files; empty means the default bank.

    Raises:
      ValueError: a value is out of range.
    """

    number: int = setting(RECORDINGS, f"Number of recordings, at least 3; 0 means {RECORDINGS}.", low=0)
    seconds: float = setting(4.0, "Length of an excerpt in seconds.")
    program: tuple[str, ...] = setting(
        (DEFAULT_PROGRAM,), "Presets that take turns, by name or General MIDI number (from 0), separated by commas."
    )
    pitches: tuple[int, ...] = midi_setting("pitches", (55, 91), "55-91")
    recording_seconds: float = setting(32.0, "Length of each recording in seconds.", low=1, high=600)

    def __post_init__(self):
        super().__post_init__()
        if not self.program:
            raise ValueError(f"program: missing; give the name or number of a preset, such as {DEFAULT_PROGRAM}")
        if self.recordings < 3:
            raise ValueError(f"number={self.recordings}: must be at least 3, one recording per split")
        if self.seconds > self.recording_seconds:
            raise ValueError(f"seconds={self.seconds:g}: must be at most recording_seconds={self.recording_seconds:g}")
        compose(seed=0, number=0, seconds=0.1, low=self.keys[0], high=self.keys[1])  # checks the keys

    @property
    def recordings(self) -> int:
        """Number of recordings."""
        return self.number or RECORDINGS

    @property
    def keys(self) -> tuple[int, int]:
        """Lowest and highest MIDI key."""
        return min(self.pitches), max(self.pitches)

    def describe(self) -> dict[str, Any]:
        """Returns the settings for the index of a store."""
        return {
            "kind": "phrases", "title": f"phrases of {', '.join(self.program)} played by {self.titles}",
            "programs": list(self.program), "keys": list(self.keys), "recordings": self.recordings,
            "recording_seconds": self.recording_seconds, "composer": COMPOSER_VERSION,
            **self.describe_banks(), **self.describe_settings(),
        }  # fmt: skip

    def presets(self) -> list[tuple[int, int]]:
        """Returns (number of the bank, position of the preset) of every program, in their order."""
        presets: list[tuple[int, int]] = []
        for program in self.program:
            here = [
                (number, position)
                for number, path in enumerate(self.banks)
                if (position := _find_preset(open_bank(path), program)) is not None
            ]
            if not here:
                names = sorted({preset.name for path in self.banks for preset in open_bank(path).presets})[:20]
                raise SoundFontError(
                    f"--program={program}: no preset of {self.titles} has this name or number (presets are {', '.join(names)}, "
                    "...)"
                )
            presets += here
        return list(dict.fromkeys(presets))

    def plan(self) -> list[Record]:
        """Returns one record per excerpt."""
        presets, names = self.presets(), self.bank_names
        recordings = []
        for number in range(self.recordings):
            bank, position = presets[number % len(presets)]
            preset = open_bank(self.banks[bank]).presets[position]
            name = f"{preset_name(names[bank], preset)}-r{number:03d}"
            recordings.append((name, number, bank, position, preset))
        family = {name: FAMILY_OF_PROGRAM.get(preset.program, "none") for name, *_, preset in recordings}
        split = split_groups(family, fractions=self.splits, seed=self.seed, fill_splits=True)
        return [
            Record(
                id=f"{name}-{excerpt:03d}", split=split[name], instrument=name, family=family[name],
                source=source_of_program(preset.program), pitch=-1, velocity=-1, preset=preset.name,
                location=(bank, position, number, excerpt),
            )
            for name, number, bank, position, preset in recordings
            for excerpt in range(int(np.ceil(round(self.recording_seconds / self.seconds, 6))))
        ]  # fmt: skip

    def load(self, record: Record, payload: Any) -> LoadedSound:
        """Renders an excerpt."""
        bank, position, number, excerpt = record.location
        wave, remarks = _render_recording(self, bank, position, number)
        samples = self.audio_format.samples
        return LoadedSound(wave[excerpt * samples : (excerpt + 1) * samples], remarks=remarks)


def _find_preset(bank: SoundFont, program: str) -> int | None:
    """Returns the position of a preset in a bank, or None.

    A program number matches first, then the whole name, the beginning of a name, and a part of a name.
    """
    melodic = [(position, preset) for position, preset in enumerate(bank.presets) if preset.bank != PERCUSSION_BANK]
    target = slug(program)
    tests = (
        lambda preset: program.strip().isdecimal() and preset.program == int(program),
        lambda preset: slug(preset.name) == target,
        lambda preset: slug(preset.name).startswith(target),
        lambda preset: target in slug(preset.name),
    )
    return next((position for test in tests for position, preset in melodic if test(preset)), None)


@functools.lru_cache(maxsize=2)
def _render_recording(
    source: PhraseImporter, bank_number: int, position: int, number: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns a recording [T] float32 and remarks; cached, since excerpts are loaded in order."""
    bank = open_bank(source.banks[bank_number])
    total = round(source.recording_seconds * RATE)
    mix = np.zeros(total, np.float32)
    low, high = source.keys
    for note in compose(seed=source.seed, number=number, seconds=source.recording_seconds, low=low, high=high):
        played = render_note(
            bank, bank.presets[position], note.key, note.velocity, held=note.held, seconds=note.held + RELEASE_SECONDS,
            curves=note.curves,
        )  # fmt: skip
        first = round(note.start * RATE)
        wave = played.wave[: total - first]
        # Notes are faded out, since their release may be longer than the rendered wave.
        fade = round(0.05 * RATE)
        if len(wave) > fade:
            wave[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
        mix[first : first + len(wave)] += wave
    mix *= np.float32(10 ** (GAIN_DB / 20))
    wave = resample(mix, RATE, source.sample_rate)
    peak, remarks = float(np.abs(wave).max(initial=0.0)), ()
    if peak > 1.0:  # loud presets: the whole recording is scaled, which keeps its dynamics
        wave, remarks = wave / np.float32(peak * 1.0001), (f"turned down by {20 * np.log10(peak):.1f} dB",)
    return np.ascontiguousarray(wave, np.float32), remarks
