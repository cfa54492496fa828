"""Protocol of importers, and the records that they exchange with `prepare`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

# Families and sources of NSynth in its order (Engel et al. 2017, table 1): the position is the class number.
FAMILIES = (
    "bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "synth_lead", "vocal",
)  # fmt: skip
SOURCES = ("acoustic", "electronic", "synthetic")
SPLITS = ("train", "valid", "test")

SAMPLE_RATE = 16000
SECONDS = 4.0
SAMPLES = 64000


@dataclasses.dataclass(frozen=True)
class AudioFormat:
    """Format of an importer's sounds: mono, with one sample rate.

    Attributes:
      sample_rate: sample rate in Hz, 8000 to 48000.
      samples: length in samples that longer sounds are cut to. Shorter sounds are padded to it when they are read, unless the
        format is `variable`.
      variable: whether the store takes the length of its longest sound instead of `samples`.
      min_seconds: shorter sounds are left out.

    Raises:
      ValueError: the sample rate or the length is out of range.
    """

    sample_rate: int = SAMPLE_RATE
    samples: int = SAMPLES
    variable: bool = False
    min_seconds: float = 0.25

    def __post_init__(self):
        if not 8000 <= self.sample_rate <= 48000:
            raise ValueError(f"sample_rate={self.sample_rate}: must be from 8000 to 48000 Hz")
        if self.samples < 1:
            raise ValueError(f"samples={self.samples}: must be at least 1")


NOTE_FORMAT = AudioFormat()
"""Format of NSynth's notes: 16 kHz, 4 s."""


class Record(NamedTuple):
    """Sound in the plan of an importer, before it is loaded.

    Attributes:
      id: unique name.
      split: "train", "valid", "test", `UNSORTED`, or empty if the sound is not selected.
      instrument: group of sounds that stay in one split.
      family: family of the instrument, or class of the sound.
      source: kind of the instrument, or the sample library.
      pitch: MIDI pitch, or -1.
      velocity: MIDI velocity, or -1.
      preset: preset that plays the sound, or empty.
      location: what `load` needs to find the sound; small and picklable.
      left_out: reason why the sound is not selected, or empty.
    """

    id: str
    split: str
    instrument: str
    family: str
    source: str
    pitch: int
    velocity: int
    preset: str
    location: Any
    left_out: str = ""


class LoadedSound(NamedTuple):
    """Sound as it goes into the store, before it is cut.

    Attributes:
      wave: [T] float32, mono, at the sample rate of the format.
      f0: pitch in Hz that the importer knows, or 0.
      pitch_moves: whether the importer knows that the pitch moves.
      remarks: remarks for the report.
      signature: coarse description by which an `ArrangingImporter` detects copies.
      left_out: reason why the importer leaves the sound out, or empty.
    """

    wave: np.ndarray
    f0: float = 0.0
    pitch_moves: bool = False
    remarks: tuple[str, ...] = ()
    signature: bytes = b""
    left_out: str = ""


UNSORTED = "unsorted"
"""Split of a planned record whose split depends on its sound; see `ArrangingImporter.arrange`."""


class SplitAssignment(NamedTuple):
    """Split and instrument of a loaded sound, a reason to leave it out, and a remark."""

    split: str
    instrument: str
    left_out: str = ""
    remark: str = ""


class Importer(Protocol):
    """Source of the sounds of a store.

    Importers are small and picklable, since they are sent to the loading processes, and they do not import JAX.
    """

    @property
    def audio_format(self) -> AudioFormat:
        """Format of the sounds."""

    def describe(self) -> Mapping[str, Any]:
        """Returns the settings that determine the content of the store, as JSON values.

        They include `kind`, `license` and `title`.
        """

    def plan(self) -> list[Record]:
        """Returns all sounds in reading order; equal settings give equal plans."""

    def fetch(self, records: list[Record], positions: Iterable[int]) -> Iterator[tuple[int, Any]]:
        """Yields (position, payload) of some positions of the plan, in order.

        `load` takes the payload.
        """

    def load(self, record: Record, payload: Any) -> LoadedSound:
        """Loads one sound, in any process. Raises `AudioFileError` if it cannot be read."""


class ArrangingImporter(Importer, Protocol):
    """Importer that splits its sounds after loading all of them; it plans `UNSORTED` records."""

    def arrange(self, rows: list[Mapping[str, Any]], read: Callable[[int], np.ndarray]) -> list[SplitAssignment]:
        """Splits the sounds that passed the quality check.

        Args:
          rows: columns of each sound by name, with `signature` (bytes), `digest` (equal for equal samples) and `samples`
            (length).
          read: returns the samples of a row by its number, [T] int16.
        """
