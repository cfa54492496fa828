"""NSynth-shaped notes from SoundFont 2 banks: 16 kHz mono, 4 s of which 3 s are held."""

from __future__ import annotations

import dataclasses
from typing import Any

from timbre_jax.audio.io import resample
from timbre_jax.data.importers.banks import OfBanks, preset_name, slug
from timbre_jax.data.importers.base import FAMILIES, SAMPLE_RATE, SAMPLES, SECONDS, SPLITS, Loaded, Record
from timbre_jax.data.importers.options import DEFAULT_VELOCITIES, NoteSettings, check_midi, played
from timbre_jax.data.importers.splits import committed_splits, connected_groups, even_choice, split_groups
from timbre_jax.settings import setting
from timbre_jax.soundfont.banks import PERCUSSION_BANK, open_bank
from timbre_jax.soundfont.parser import Preset, SoundFontError
from timbre_jax.soundfont.player import RATE, render_note

HELD_SECONDS = 3.0
DEFAULT_PITCHES = tuple(range(40, 97))  # 82 to 2093 Hz: the paper keeps 80-2100 Hz
FRACTIONS = (0.7, 0.1, 0.2)

# General MIDI program (from 0) -> NSynth family; the rest (pads, effects, percussion) has no family there.
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
    """NSynth's source of a General MIDI program: how the original instrument makes its sound."""
    return "synthetic" if program in _SYNTHETIC else "electronic" if program in _ELECTRONIC else "acoustic"


@dataclasses.dataclass(frozen=True)
class PresetEntry:
    """A preset that is used, with the instrument (group of presets that share raw samples) it belongs to."""

    bank: int  # position among the banks
    position: int  # among the bank's presets
    preset: Preset
    family: str
    instrument: str
    own_instrument: str  # the same with this bank alone: differs where two banks share samples


@dataclasses.dataclass(frozen=True)
class SoundFontSource(OfBanks, NoteSettings):
    """Notes rendered from SoundFont 2 banks; `path` names .sf2 files, none means the default bank.

    Raises:
      ValueError: an unknown family, or a value outside its limits.
    """

    number: int = setting(4000, "How many notes, chosen evenly over presets, pitches and velocities; 0 means all.", low=0)
    pitches: tuple[int, ...] = played("pitches", DEFAULT_PITCHES, "40-96")
    velocities: tuple[int, ...] = played("velocities", DEFAULT_VELOCITIES, "25,50,75,100,127")

    def __post_init__(self):
        super().__post_init__()
        check_midi("pitches", self.pitches, required=True)
        check_midi("velocities", self.velocities, low=1, required=True)

    def describe(self) -> dict[str, Any]:
        known = {"kind": "soundfont", "title": f"notes rendered from {self.titles}", "held_seconds": HELD_SECONDS}
        return {**known, **self.described_banks(), **self.described()}

    def presets(self) -> list[PresetEntry]:
        """The presets that have a family, each with its instrument; banks in order, presets by bank and program."""
        candidates: dict[tuple[int, int], Preset] = {}
        held: dict[tuple[int, int], list[str]] = {}
        for number, path in enumerate(self.banks):
            bank = open_bank(path)
            for position, preset in enumerate(bank.presets):
                if preset.bank != PERCUSSION_BANK and preset.program in FAMILY_OF_PROGRAM and preset.zones:
                    candidates[number, position] = preset
                    held[number, position] = [bank.sample_digest(index) for index in bank.preset_samples(preset)]
        names = self.bank_names

        # Groups are made of all presets, chosen families or not: so an instrument's name and split never depend on options.
        def grouped(which: dict[tuple[int, int], list[str]]) -> dict[tuple[int, int], str]:
            named = {}
            for group in connected_groups(which):
                name = preset_name(names[group[0][0]], candidates[group[0]], with_bank=True)
                named.update(dict.fromkeys(group, name))
            return named

        together, alone = grouped(held), {}
        for number in range(len(self.banks)):
            alone.update(grouped({place: samples for place, samples in held.items() if place[0] == number}))
        return [
            PresetEntry(*place, preset, FAMILY_OF_PROGRAM[preset.program], together[place], alone[place])
            for place, preset in sorted(candidates.items())
        ]

    def splits(self) -> dict[str, str]:
        """Instrument -> split: as committed for the bank, else drawn from the seed by family of the first preset.

        Where banks share samples, an instrument that is committed to a test set anywhere stays out of training.
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
        splits = {name: max(found, key=SPLITS.index) for name, found in committed.items()}
        open_ones = {name: its for name, its in family.items() if name not in splits}
        return splits | split_groups(open_ones, fractions=FRACTIONS, seed=self.seed)

    def plan(self) -> list[Record]:
        entries = [entry for entry in self.presets() if not self.families or entry.family in self.families]
        if not entries:
            raise SoundFontError(f"{', '.join(self.banks)}: no preset of the families {', '.join(self.families or FAMILIES)}")
        splits = self.splits()
        pitches, velocities = sorted(set(self.pitches)), sorted(set(self.velocities))
        cells = even_choice((len(entries), len(pitches), len(velocities)), self.number, seed=self.seed)
        names = [preset_name(self.bank_names[entry.bank], entry.preset, with_bank=True) for entry in entries]
        return [
            Record(
                id=f"{names[which]}-{pitches[p]:03d}-{velocities[v]:03d}", split=splits[entries[which].instrument],
                instrument=entries[which].instrument, family=entries[which].family,
                source=source_of_program(entries[which].preset.program), pitch=pitches[p], velocity=velocities[v],
                preset=entries[which].preset.name, where=(entries[which].bank, entries[which].position),
            )
            for which, p, v in cells.tolist()
        ]  # fmt: skip

    def load(self, record: Record, payload: Any) -> Loaded:
        number, position = record.where
        bank = open_bank(self.banks[number])
        note = render_note(bank, bank.presets[position], record.pitch, record.velocity, held=HELD_SECONDS, seconds=SECONDS)
        wave = resample(note.wave, RATE, SAMPLE_RATE)[:SAMPLES]
        return Loaded(wave, round(note.f0, 4), note.pitch_moves)
