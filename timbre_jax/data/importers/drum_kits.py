"""Hits of the drum kits of SoundFont 2 banks (bank 128, General MIDI percussion), as a sample library with classes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from timbre_jax.audio.io import resample
from timbre_jax.data.importers.banks import OfBanks, preset_name
from timbre_jax.data.importers.base import UNSORTED, Loaded, Record
from timbre_jax.data.importers.class_rules import UNLABELLED, class_of_names, read_rules
from timbre_jax.data.importers.duplicates import mark
from timbre_jax.data.importers.library import OneShotSettings, copies
from timbre_jax.data.importers.options import DEFAULT_VELOCITIES, check_midi, played
from timbre_jax.settings import setting
from timbre_jax.soundfont.banks import PERCUSSION_BANK, open_bank
from timbre_jax.soundfont.parser import Preset, Sample, SoundFont, SoundFontError
from timbre_jax.soundfont.player import RATE, render_note

# General MIDI percussion key -> class of Rebnord 2022 (table 5.1), with Roland GS's keys below 35 and above 81. The rest
# (scratches, whistles, metronome clicks) has no class there.
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
# Orchestra kits put hi-hats, timpani or castanets on keys of other hits, each bank its own: there a recording's name is asked.
ORCHESTRA_PROGRAM = 48
_drum_rules = functools.cache(read_rules)
MAIN_SHARE = 0.5
"""Of the recordings that a hit plays at once, those at least so long as the longest are its own; others are clicks on top."""


def class_of_hit(program: int, key: int, recordings: Iterable[str]) -> str:
    """The class of a key of a kit, `UNLABELLED` where it has none.

    Args:
      program: of the kit. recordings: names of the recordings that make the hit.
    """
    named = class_of_names(recordings, _drum_rules()) if program == ORCHESTRA_PROGRAM else None
    return named or CLASS_OF_KEY.get(key, UNLABELLED)


def main_recordings(bank: SoundFont, preset: Preset, key: int, velocity: int) -> list[Sample]:
    """The recordings that make a hit: at least half as long as the longest that is played; none where it makes no sound."""
    samples = [voice.sample for voice in bank.voices(preset, key, velocity)]
    longest = max((sample.end - sample.start for sample in samples), default=0)
    return [sample for sample in samples if sample.end - sample.start >= MAIN_SHARE * longest]


@dataclasses.dataclass(frozen=True)
class KitSource(OfBanks, OneShotSettings):
    """Hits rendered from the drum kits of SoundFont 2 banks: each kit, key and velocity that makes a sound.

    An instrument is a group of keys at all velocities, of all kits and banks, that share recordings; it stays on one side of
    the split. What sounds on top of hits of all kinds, such as a click at their beginning, ties none together
    (`main_recordings`). The kit is the `preset`, the bank the `source`; the pitch is -1, as keys of a kit are no pitches.
    `path` names .sf2 files; none means the default bank.

    Raises:
      ValueError: a value outside its limits.
    """

    unlabeled: bool = setting(True, "Keep sounds without a class.")
    velocities: tuple[int, ...] = played("velocities", DEFAULT_VELOCITIES, "25,50,75,100,127")
    max_seconds: float = setting(10.0, "With --seconds=0, the length in seconds that longer sounds are cut to.")
    # Hits of one key at two velocities may be one recording at two levels: both are wanted.
    duplicates: str = copies("exact")

    def __post_init__(self):
        super().__post_init__()
        check_midi("velocities", self.velocities, low=1, required=True)

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "kits", "title": f"drum kits of {self.titles}", "unlabeled": self.unlabeled,
            "velocities": list(self.velocities), **self.described_banks(), **self.described(),
        }  # fmt: skip

    def plan(self) -> list[Record]:
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
                                pitch=-1, velocity=velocity, preset=preset.name, where=(number, position, key),
                            )
                        )  # fmt: skip
        if not records:
            state = "their keys make no sound" if kits else f"no kits (presets of bank {PERCUSSION_BANK})"
            raise SoundFontError(f"{', '.join(self.banks)}: {state}; name another bank with --path=FILE.sf2")
        return self.select(records, unlabeled=self.unlabeled)

    def load(self, record: Record, payload: Any) -> Loaded:
        number, position, key = record.where
        bank, form = open_bank(self.banks[number]), self.form
        seconds = form.samples / form.sample_rate
        # Held to the end: a hit is as long as its recording, and note-off would only shorten it.
        note = render_note(bank, bank.presets[position], key, record.velocity, held=seconds, seconds=seconds)
        wave, _, remarks = self.trimmed(note.wave, RATE)
        wave = wave if form.sample_rate == RATE else resample(wave, RATE, form.sample_rate)
        wave = np.ascontiguousarray(wave[: form.samples], np.float32)
        return Loaded(wave, remarks=tuple(remarks), mark=mark(wave, form.sample_rate, RATE))

    def related(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Hashable, ...]]:
        """Returns the key and the recordings of each hit."""
        recordings = self._recordings()
        return [(row["instrument"], *recordings[row["id"]]) for row in rows]

    def _recordings(self) -> dict[str, list[str]]:
        """Of each hit, digests of the recordings that make it."""
        digests: dict[Sample, str] = {}
        found: dict[str, list[str]] = {}
        for record in self.plan():
            number, position, key = record.where
            bank = open_bank(self.banks[number])
            found[record.id] = []
            for sample in main_recordings(bank, bank.presets[position], key, record.velocity):
                if sample not in digests:
                    digests[sample] = bank.sample_digest(bank.samples.index(sample))
                found[record.id].append(digests[sample])
        return found
