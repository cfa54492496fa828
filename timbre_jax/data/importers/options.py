"""Settings that several importers share; the fields become flags of programs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from timbre_jax.data.importers.base import FAMILIES, NOTE_FORMAT, AudioFormat, Importer, Record
from timbre_jax.settings import Settings, setting

DEFAULT_VELOCITIES = (25, 50, 75, 100, 127)  # those of NSynth


def parse_midi_numbers(text: str, *, explicit_setting: str = "") -> tuple[int, ...]:
    """Parses MIDI numbers: "40-43,60" gives (40, 41, 42, 43, 60).

    Args:
      text: numbers and ranges separated by commas, or "all".
      explicit_setting: name of a setting that does not accept "all"; if empty, "all" gives ().

    Raises:
      ValueError: the text cannot be parsed, or is "all" for a setting that does not accept it.
    """
    if text == "all":
        if explicit_setting:
            raise ValueError(
                f"--{explicit_setting}=all: only allowed for nsynth and tfds; give numbers or ranges, such as 40-96"
            )
        return ()
    values: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, _, last = part.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()) or part.endswith("-") or int(last or first) < int(first):
            raise ValueError(f"{part!r}: must be a MIDI number or a range, such as 40-96")
        values.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(values))


def midi_setting(name: str, default: tuple[int, ...], shown: str) -> Any:
    """Returns a setting of MIDI numbers to play."""
    parse = functools.partial(parse_midi_numbers, explicit_setting=name)
    return setting(default, f"MIDI {name} to play: numbers and ranges, such as 40-96 or 48,60,72.", parse=parse, shown=shown)


def check_midi(name: str, values: tuple[int, ...], *, low: int = 0, required: bool = False) -> None:
    """Raises a ValueError if MIDI numbers are out of range, or required and missing."""
    wrong = [value for value in values if not low <= value <= 127]
    if wrong or (required and not values):
        raise ValueError(f"{name}={','.join(map(str, wrong))}: must be MIDI numbers from {low} to 127")


@dataclasses.dataclass(frozen=True)
class ImporterSettings(Settings):
    """Base class of importers, with the settings that they share.

    Raises:
      ValueError: a value is out of range.
    """

    path: tuple[str, ...] = setting(
        (), "Comma-separated paths. soundfont, kits, phrases: SoundFont banks (.sf2). Default: the default bank. folder, "
        "recordings: Folders of sound files. nsynth: Folders or archives of NSynth. tfds: A prepared data set. drums: Not "
        "allowed.",
    )  # fmt: skip
    number: int = setting(0, "Number of sounds or recordings, drawn evenly over classes or instruments; 0 means all.", low=0)
    seed: int = setting(0, "Random seed for selecting sounds and drawing splits.")

    keep_all: ClassVar[bool] = True
    """True if the quality check examines only the waveform and ignores pitch and harmonics."""

    def importer(self) -> Importer:
        """Returns the importer of these settings."""
        return self

    def fetch(self, records: list[Record], positions: Iterable[int]) -> Iterator[tuple[int, Any]]:
        """Yields (position, None) of some positions: `load` needs only the record."""
        for position in positions:
            yield position, None


@dataclasses.dataclass(frozen=True)
class NoteSettings(ImporterSettings):
    """Settings of importers of notes in NSynth's format: 16 kHz, 4 s, with pitch and family.

    Raises:
      ValueError: a family is unknown, or a value is out of range.
    """

    families: tuple[str, ...] = setting((), "NSynth families to use, separated by commas; empty means all.")
    keep_all: bool = setting(False, "Keep notes that are unsteady, not harmonic, or outside the pitch range.")
    pitches: tuple[int, ...] = setting(
        (), "MIDI pitches to use: numbers and ranges, such as 40-96 or 48,60,72, or all.", parse=parse_midi_numbers, shown="all"
    )
    velocities: tuple[int, ...] = setting(
        (), "MIDI velocities to use: numbers and ranges, or all.", parse=parse_midi_numbers, shown="all"
    )

    audio_format: ClassVar[AudioFormat] = NOTE_FORMAT

    def describe_settings(self) -> dict[str, Any]:
        """Returns these settings for the index of a store."""
        return {
            "families": list(self.families), "pitches": list(self.pitches), "velocities": list(self.velocities),
            "number": self.number, "seed": self.seed,
        }  # fmt: skip

    def __post_init__(self):
        super().__post_init__()
        check_midi("pitches", self.pitches)
        check_midi("velocities", self.velocities)
        if unknown := sorted(set(self.families) - set(FAMILIES)):
            raise ValueError(f"families={unknown[0]}: must be one of {', '.join(FAMILIES)}")
