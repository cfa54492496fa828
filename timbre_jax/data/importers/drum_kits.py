"""Imports drum hits with classes from the percussion kits (bank 128) of SoundFont 2 banks."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from timbre_jax.audio.io import resample
from timbre_jax.data.importers.banks import BankMixin, preset_name
from timbre_jax.data.importers.base import UNSORTED, LoadedSound, Record
from timbre_jax.data.importers.class_rules import UNLABELED, class_of_names, read_rules
from timbre_jax.data.importers.duplicates import signature
from timbre_jax.data.importers.library import OneShotSettings, duplicates_setting
from timbre_jax.data.importers.options import DEFAULT_VELOCITIES, check_midi, midi_setting
from timbre_jax.settings import setting
from timbre_jax.soundfont.banks import PERCUSSION_BANK, open_bank
from timbre_jax.soundfont.parser import Preset, Sample, SoundFont, SoundFontError
from timbre_jax.soundfont.player import RATE, render_note

# Classes of Rebnord 2022 (table 5.1) by General MIDI percussion key, with Roland GS's keys below 35 and above 81. Other keys
# (scratches, whistles, metronome clicks) have no class.
_CLASS_KEYS = {
    "kick": [35, 36],
    "snare": [37, 38, 40],
    "clap": [39],
    "tom": [41, 43, 45, 47, 48, 50],
    "hihat": [42, 44, 46],
    "cymbal": [49, 51, 52, 53, 55, 57, 59],
    "shaker": [54, 58, 69, 70, 82, 83],
    "metallic": [34, 56, 67, 68, 80, 81, 84],
    "hand drum": [60, 61, 62, 63, 64, 65, 66, 78, 79, 86, 87],
    "wooden": [31, 73, 74, 75, 76, 77, 85],
}
CLASS_OF_KEY = {key: label for label, keys in _CLASS_KEYS.items() for key in keys}
# Orchestra kits have timpani or castanets on keys of other hits, different in each bank: the names of the recordings decide.
ORCHESTRA_PROGRAM = 48
_drum_rules = functools.cache(read_rules)
MAIN_SHARE = 0.5
"""Recordings of a hit that are shorter than this share of its longest one, such as clicks, do not count."""


def class_of_hit(program: int, key: int, recordings: Iterable[str]) -> str:
    """Returns the class of a drum key from its program and recordings, or `UNLABELED`."""
    named = class_of_names(recordings, _drum_rules()) if program == ORCHESTRA_PROGRAM else None
    return named or CLASS_OF_KEY.get(key, UNLABELED)


def main_recordings(bank: SoundFont, preset: Preset, key: int, velocity: int) -> list[Sample]:
    """Returns the recordings of a hit that are at least half as long as its longest one."""
    samples = [voice.sample for voice in bank.voices(preset, key, velocity)]
    longest = max((sample.end - sample.start for sample in samples), default=0)
    return [sample for sample in samples if sample.end - sample.start >= MAIN_SHARE * longest]


@dataclasses.dataclass(frozen=True)
class DrumKitImporter(BankMixin, OneShotSettings):
    """Importer of drum hits of SoundFont 2 banks: one per kit, key and velocity.

    An instrument is a group of keys, at all velocities and in all kits and banks, that share recordings; it stays in one split.
    Short recordings on top of a hit, such as a click, do not connect keys (`main_recordings`). The kit is the `preset` and the
    bank the `source`. The pitch is -1, since keys of a kit are not pitches. `path` names .sf2 files; empty means the default
    bank.

    Raises:
      ValueError: a value is out of range.
    """

    unlabeled: bool = setting(True, "Keep sounds without a class.")
    velocities: tuple[int, ...] = midi_setting("velocities", DEFAULT_VELOCITIES, "25,50,75,100,127")
    max_seconds: float = setting(10.0, "Length in seconds that longer sounds are cut to if --seconds=0.")
    # Hits of one key at two velocities may be one recording at two levels; both are kept.
    duplicates: str = duplicates_setting("exact")

    def __post_init__(self):
        super().__post_init__()
        check_midi("velocities", self.velocities, low=1, required=True)

    def describe(self) -> dict[str, Any]:
        """Returns the settings for the index of a store."""
        return {
            "kind": "kits", "title": f"drum kits of {self.titles}", "unlabeled": self.unlabeled,
            "velocities": list(self.velocities), **self.describe_banks(), **self.describe_settings(),
        }  # fmt: skip

    def plan(self) -> list[Record]:
        """Returns one record per kit, key and velocity that makes a sound."""
        records, kits = [], 0
        for number, (path, name) in enumerate(zip(self.banks, self.bank_names, strict=True)):
            bank = open_bank(path)
            for position, preset in enumerate(bank.presets):
                if preset.bank != PERCUSSION_BANK:
                    continue
                kits += 1
                for key in range(128):
                    for velocity in sorted(set(self.velocities)):
                        recordings = main_recordings(bank, preset, key, velocity)
                        if not recordings:
                            continue
                        hit = f"{preset_name(name, preset)}-{key:03d}"
                        label = class_of_hit(preset.program, key, [sample.name for sample in recordings])
                        records.append(
                            Record(
                                id=f"{hit}-{velocity:03d}", split=UNSORTED, instrument=hit, family=label, source=name,
                                pitch=-1, velocity=velocity, preset=preset.name, location=(number, position, key),
                            )
                        )  # fmt: skip
        if not records:
            state = "no key makes a sound" if kits else f"no drum kits (presets of bank {PERCUSSION_BANK})"
            raise SoundFontError(f"{', '.join(self.banks)}: {state}; give another bank with --path=FILE.sf2")
        return self.select(records, unlabeled=self.unlabeled)

    def load(self, record: Record, payload: Any) -> LoadedSound:
        """Renders a hit."""
        number, position, key = record.location
        bank, target = open_bank(self.banks[number]), self.audio_format
        seconds = target.samples / target.sample_rate
        # The key is held to the end, since note-off would only shorten the hit.
        note = render_note(bank, bank.presets[position], key, record.velocity, held=seconds, seconds=seconds)
        wave, _, remarks = self.apply_trim(note.wave, RATE)
        wave = resample(wave, RATE, target.sample_rate)
        wave = np.ascontiguousarray(wave[: target.samples], np.float32)
        return LoadedSound(wave, remarks=tuple(remarks), signature=signature(wave, target.sample_rate, RATE))

    def shared_keys(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Hashable, ...]]:
        """Returns the key and the recordings of each hit."""
        recordings = self._recordings()
        return [(row["instrument"], *recordings[row["id"]]) for row in rows]

    def _recordings(self) -> dict[str, list[str]]:
        """Returns the digests of the recordings of each hit by its id."""
        digests: dict[Sample, str] = {}
        recordings: dict[str, list[str]] = {}
        for record in self.plan():
            number, position, key = record.location
            bank = open_bank(self.banks[number])
            recordings[record.id] = []
            for sample in main_recordings(bank, bank.presets[position], key, record.velocity):
                if sample not in digests:
                    digests[sample] = bank.sample_digest(bank.samples.index(sample))
                recordings[record.id].append(digests[sample])
        return recordings
