"""Imports NSynth-like notes of SoundFont 2 banks: 16 kHz mono, 4 s, held for 3 s."""

from __future__ import annotations

import dataclasses
from typing import Any

from timbre_jax.audio.io import resample
from timbre_jax.data.importers.banks import BankMixin, preset_name, slug
from timbre_jax.data.importers.base import FAMILIES, SAMPLE_RATE, SAMPLES, SECONDS, SPLITS, LoadedSound, Record
from timbre_jax.data.importers.options import DEFAULT_VELOCITIES, NoteSettings, check_midi, midi_setting
from timbre_jax.data.importers.splits import choose_cells, committed_splits, connected_groups, split_groups
from timbre_jax.settings import setting
from timbre_jax.soundfont.banks import PERCUSSION_BANK, open_bank
from timbre_jax.soundfont.parser import Preset, SoundFontError
from timbre_jax.soundfont.player import RATE, render_note

HELD_SECONDS = 3.0
DEFAULT_PITCHES = tuple(range(40, 97))  # 82 to 2093 Hz, within the 80-2100 Hz of Natsiou et al. 2023
FRACTIONS = (0.7, 0.1, 0.2)

# General MIDI programs (from 0) of each NSynth family; others (pads, effects, percussion) have no family.
_FAMILY_PROGRAMS = {
    "keyboard": [*range(0, 8)],
    "mallet": [*range(8, 16), 47, 108, 114],
    "organ": [*range(16, 21)],
    "reed": [*range(21, 24), *range(64, 72), 109, 111],
    "guitar": [*range(24, 32), *range(104, 108)],
    "bass": [*range(32, 40), 87],
    "string": [*range(40, 47), *range(48, 52), 110],
    "vocal": [*range(52, 55), 85, 91],
    "brass": [*range(56, 64)],
    "flute": [*range(72, 80)],
    "synth_lead": [*range(80, 85), 86],
}
FAMILY_OF_PROGRAM = {program: family for family, programs in _FAMILY_PROGRAMS.items() for program in programs}
_ELECTRONIC = {4, 5, 7, 16, 17, 18, *range(26, 32), *range(33, 38)}
_SYNTHETIC = {38, 39, 50, 51, 54, 62, 63, *range(80, 104)}


def source_of_program(program: int) -> str:
    """Returns NSynth's source ("acoustic", ...) of a General MIDI program."""
    return "synthetic" if program in _SYNTHETIC else "electronic" if program in _ELECTRONIC else "acoustic"


@dataclasses.dataclass(frozen=True)
class PresetEntry:
    """Preset with its instrument, a group of presets that share raw samples.

    Attributes:
      bank: number of the bank.
      position: number of the preset in the bank.
      preset: preset.
      family: NSynth family of the preset.
      instrument: name of the instrument.
      own_instrument: name of the instrument within this bank alone, which differs if banks share samples.
    """

    bank: int
    position: int
    preset: Preset
    family: str
    instrument: str
    own_instrument: str


@dataclasses.dataclass(frozen=True)
class SoundFontImporter(BankMixin, NoteSettings):
    """Importer of notes of SoundFont 2 banks; an empty `path` means the default bank.

    Raises:
      ValueError: a family is unknown, or a value is out of range.
    """

    number: int = setting(4000, "Number of notes, chosen evenly over presets, pitches and velocities; 0 means all.", low=0)
    pitches: tuple[int, ...] = midi_setting("pitches", DEFAULT_PITCHES, "40-96")
    velocities: tuple[int, ...] = midi_setting("velocities", DEFAULT_VELOCITIES, "25,50,75,100,127")

    def __post_init__(self):
        super().__post_init__()
        check_midi("pitches", self.pitches, required=True)
        check_midi("velocities", self.velocities, low=1, required=True)

    def describe(self) -> dict[str, Any]:
        """Returns the settings for the index of a store."""
        known = {"kind": "soundfont", "title": f"notes rendered from {self.titles}", "held_seconds": HELD_SECONDS}
        return {**known, **self.describe_banks(), **self.describe_settings()}

    def presets(self) -> list[PresetEntry]:
        """Returns the presets that have a family, ordered by bank and position."""
        candidates: dict[tuple[int, int], Preset] = {}
        digests: dict[tuple[int, int], list[str]] = {}
        for number, path in enumerate(self.banks):
            bank = open_bank(path)
            for position, preset in enumerate(bank.presets):
                if preset.bank != PERCUSSION_BANK and preset.program in FAMILY_OF_PROGRAM and preset.zones:
                    candidates[number, position] = preset
                    digests[number, position] = [bank.sample_digest(index) for index in bank.preset_samples(preset)]
        names = self.bank_names

        # All presets are grouped, selected or not, so that the name and split of an instrument do not depend on settings.
        def grouped(which: dict[tuple[int, int], list[str]]) -> dict[tuple[int, int], str]:
            named = {}
            for group in connected_groups(which):
                name = preset_name(names[group[0][0]], candidates[group[0]], with_bank=True)
                named.update(dict.fromkeys(group, name))
            return named

        together, alone = grouped(digests), {}
        for number in range(len(self.banks)):
            alone.update(grouped({place: samples for place, samples in digests.items() if place[0] == number}))
        return [
            PresetEntry(*place, preset, FAMILY_OF_PROGRAM[preset.program], together[place], alone[place])
            for place, preset in sorted(candidates.items())
        ]

    def splits(self) -> dict[str, str]:
        """Returns the split of each instrument, fixed for known banks, else drawn by family.

        If banks share samples, an instrument that is held-out in one bank is held-out in all.
        """
        known: dict[str, str] = {}
        for name in self.bank_names:
            known.update(committed_splits(slug(name)))
        family: dict[str, str] = {}
        committed: dict[str, list[str]] = {}
        for entry in self.presets():
            family.setdefault(entry.instrument, entry.family)
            if entry.own_instrument in known:
                committed.setdefault(entry.instrument, []).append(known[entry.own_instrument])
        splits = {name: max(chosen, key=SPLITS.index) for name, chosen in committed.items()}
        undecided = {name: own for name, own in family.items() if name not in splits}
        return splits | split_groups(undecided, fractions=FRACTIONS, seed=self.seed)

    def plan(self) -> list[Record]:
        """Returns one record per note."""
        entries = [entry for entry in self.presets() if not self.families or entry.family in self.families]
        if not entries:
            raise SoundFontError(f"{', '.join(self.banks)}: no preset of the families {', '.join(self.families or FAMILIES)}")
        splits = self.splits()
        pitches, velocities = sorted(set(self.pitches)), sorted(set(self.velocities))
        cells = choose_cells((len(entries), len(pitches), len(velocities)), self.number, seed=self.seed)
        names = [preset_name(self.bank_names[entry.bank], entry.preset, with_bank=True) for entry in entries]
        notes = [(entries[which], names[which], pitches[p], velocities[v]) for which, p, v in cells.tolist()]
        return [
            Record(
                id=f"{name}-{pitch:03d}-{velocity:03d}", split=splits[entry.instrument], instrument=entry.instrument,
                family=entry.family, source=source_of_program(entry.preset.program), pitch=pitch, velocity=velocity,
                preset=entry.preset.name, location=(entry.bank, entry.position),
            )
            for entry, name, pitch, velocity in notes
        ]  # fmt: skip

    def load(self, record: Record, payload: Any) -> LoadedSound:
        """Renders a note."""
        number, position = record.location
        bank = open_bank(self.banks[number])
        note = render_note(bank, bank.presets[position], record.pitch, record.velocity, held=HELD_SECONDS, seconds=SECONDS)
        wave = resample(note.wave, RATE, SAMPLE_RATE)[:SAMPLES]
        return LoadedSound(wave, round(note.f0, 4), note.pitch_moves)
