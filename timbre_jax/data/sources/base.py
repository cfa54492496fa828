"""What a source of notes is, and the names that all of them share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

# NSynth's families and sources, in NSynth's order (Engel et al. 2017, table 1): their position is the class number.
FAMILIES = (
    "bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "synth_lead", "vocal",
)  # fmt: skip
SOURCES = ("acoustic", "electronic", "synthetic")
SPLITS = ("train", "valid", "test")

SAMPLE_RATE = 16000
SECONDS = 4.0
SAMPLES = 64000


class Record(NamedTuple):
    """A note before it is loaded. `split` is empty where the note is not asked for, with the reason in `left_out`."""

    id: str
    split: str
    instrument: str
    family: str
    source: str
    pitch: int
    velocity: int
    preset: str
    where: Any  # what `load` needs to find it: small and picklable
    left_out: str = ""


class Loaded(NamedTuple):
    """A note as it goes into the store: wave [64000] float32, what the source knows of its pitch, remarks for the report."""

    wave: np.ndarray
    f0: float = 0.0
    pitch_moves: bool = False
    remarks: tuple[str, ...] = ()


class Source(Protocol):
    """Small and picklable: it travels to the loading processes. None of its code imports JAX."""

    def describe(self) -> Mapping[str, Any]:
        """Settings that decide what the store holds, as JSON values; with `kind`, `licence` and a readable `title`."""

    def plan(self) -> list[Record]:
        """All notes, in the order in which they are read. The same settings give the same plan."""

    def fetch(self, records: list[Record], wanted: Iterable[int]) -> Iterator[tuple[int, Any]]:
        """(position, payload) of the wanted positions of the plan, in order; payload goes to `load`."""

    def load(self, record: Record, payload: Any) -> Loaded:
        """Loads one note, in any process. Raises `AudioFileError` for a note that cannot be had."""
