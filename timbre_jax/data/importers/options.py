"""Settings that several importers share; programs make their flags from the fields."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from timbre_jax.data.importers.base import FAMILIES, NOTES, Form, Importer, Record
from timbre_jax.settings import Settings, setting

DEFAULT_VELOCITIES = (25, 50, 75, 100, 127)  # NSynth's


def midi_numbers(text: str, *, all_of: str = "") -> tuple[int, ...]:
    """Reads MIDI numbers: "40-43,60" is (40, 41, 42, 43, 60).

    Args:
      text: numbers and ranges with commas between, or "all".
      all_of: the name of a setting that has to name its numbers; empty reads "all" as ().

    Raises:
      ValueError: other text, or "all" where numbers are needed.
    """
    if text == "all":
        if all_of:
            raise ValueError(f"--{all_of}=all is for nsynth and tfds; name what is played, such as --{all_of}=40-96")
        return ()
    values: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, _, last = part.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()) or part.endswith("-") or int(last or first) < int(first):
            raise ValueError(f"{part!r} is no MIDI number and no range such as 40-96")
        values.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(values))


def played(name: str, default: tuple[int, ...], shown: str) -> Any:
    """Returns the setting of MIDI numbers that are played."""
    parse = functools.partial(midi_numbers, all_of=name)
    return setting(default, f"MIDI {name} to play, such as 40-96 or 48,60,72.", parse=parse, shown=shown)


def check_midi(name: str, values: tuple[int, ...], *, low: int = 0, required: bool = False) -> None:
    """Raises a ValueError for MIDI numbers outside `low` to 127, or none if they are required."""
    wrong = [value for value in values if not low <= value <= 127]
    if wrong or (required and not values):
        raise ValueError(f"{name} {wrong}: MIDI numbers from {low} to 127 are needed")


@dataclasses.dataclass(frozen=True)
class ImporterSettings(Settings):
    """Settings of every importer. The classes that derive from it are the importers themselves.

    Raises:
      ValueError: a value outside its limits.
    """

    path: tuple[str, ...] = setting(
        (), "Folders of sounds, banks (.sf2), NSynth folders or tar.gz files, or a tfds folder; several with commas."
    )
    number: int = setting(0, "How many sounds or recordings, drawn evenly over classes or instruments; 0 means all.", low=0)
    seed: int = setting(0, "Random seed of the choice of sounds, and of splits that are not given.")

    keep_all: ClassVar[bool] = True
    """Whether the doctor looks at the wave alone and leaves out no sound for its pitch and harmonics."""

    def importer(self) -> Importer:
        """Returns the importer that these settings describe."""
        return self

    def fetch(self, records: list[Record], wanted: Iterable[int]) -> Iterator[tuple[int, Any]]:
        """Yields (position, None) of the wanted positions: `load` needs the record alone."""
        for position in wanted:
            yield position, None


@dataclasses.dataclass(frozen=True)
class NoteSettings(ImporterSettings):
    """Settings of importers of notes in NSynth's form: 16 kHz, 4 s, with pitch, velocity and family.

    Raises:
      ValueError: an unknown family, or a value outside its limits.
    """

    families: tuple[str, ...] = setting((), "NSynth families, or classes of sounds, to use; none means all.")
    keep_all: bool = setting(False, "Keep notes that are not harmonic, unsteady or out of the pitch range, too.")

    pitches: tuple[int, ...] = setting(
        (), "MIDI pitches to use, such as 40-96 or 48,60,72, or 'all'.", parse=midi_numbers, shown="all"
    )
    velocities: tuple[int, ...] = setting((), "MIDI velocities to use, or 'all'.", parse=midi_numbers, shown="all")

    form: ClassVar[Form] = NOTES

    def described(self) -> dict[str, Any]:
        """Returns these settings for a store's index."""
        return {
            "families": list(self.families), "pitches": list(self.pitches), "velocities": list(self.velocities),
            "number": self.number, "seed": self.seed,
        }  # fmt: skip

    def __post_init__(self):
        super().__post_init__()
        check_midi("pitches", self.pitches)
        check_midi("velocities", self.velocities)
        if unknown := sorted(set(self.families) - set(FAMILIES)):
            raise ValueError(f"unknown family {unknown[0]!r}; the families are {', '.join(FAMILIES)}")
