"""What a source of sounds is, and the names that all of them share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
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


@dataclasses.dataclass(frozen=True)
class AudioFormat:
    """The form of a source's sounds: mono, of one rate.

    Attributes:
      sample_rate: in Hz, 8000 to 48000.
      samples: longer sounds are cut to it; unless the form is `variable`, shorter ones are read with silence behind them.
      variable: whether the store is as long as its longest sound rather than `samples`.
      min_seconds: the doctor leaves out shorter sounds.

    Raises ValueError for a rate out of range or no samples.
    """

    sample_rate: int = SAMPLE_RATE
    samples: int = SAMPLES
    variable: bool = False
    min_seconds: float = 0.25

    def __post_init__(self):
        if not 8000 <= self.sample_rate <= 48000:
            raise ValueError(f"sample rate {self.sample_rate}: 8000 to 48000 Hz is needed")
        if self.samples < 1:
            raise ValueError(f"sounds of {self.samples} samples: at least 1 is needed")


NOTE_FORMAT = AudioFormat()
"""Notes as NSynth has them: 16 kHz, 4 s."""


class Record(NamedTuple):
    """A sound before it is loaded. `split` is empty where it is not asked for, with the reason in `left_out`."""

    id: str
    split: str
    instrument: str
    family: str
    source: str
    pitch: int
    velocity: int
    preset: str
    location: Any  # what `load` needs to find it: small and picklable
    left_out: str = ""


class LoadedSound(NamedTuple):
    """A sound as it goes into the store, before it is cut: what the source knows of its pitch, remarks for the report.

    `wave` [T] float32 is mono at the form's rate. `mark` is what a source with `arrange` needs to know copies by. `left_out`
    is a reason of the source's own not to keep it.
    """

    wave: np.ndarray
    f0: float = 0.0
    pitch_moves: bool = False
    remarks: tuple[str, ...] = ()
    signature: bytes = b""
    left_out: str = ""


UNSORTED = "unsorted"
"""The split of a planned record whose split depends on how it sounds; `ArrangingSource.arrange` gives it its own."""


class SplitAssignment(NamedTuple):
    """Where a loaded sound belongs, or why it is left out after all; `remark` joins its others."""

    split: str
    instrument: str
    left_out: str = ""
    remark: str = ""


class Importer(Protocol):
    """Source of a store's sounds. Small and picklable: it travels to the loading processes. None of its code imports JAX."""

    @property
    def audio_format(self) -> AudioFormat:
        """Rate and length of its sounds."""

    def describe(self) -> Mapping[str, Any]:
        """Returns what decides the content of the store, as JSON values; with `kind`, `license` and a readable `title`."""

    def plan(self) -> list[Record]:
        """Lists all sounds in the order in which they are read. The same settings give the same plan."""

    def fetch(self, records: list[Record], wanted: Iterable[int]) -> Iterator[tuple[int, Any]]:
        """Yields (position, payload) of the wanted positions of the plan, in order; `load` takes the payload."""

    def load(self, record: Record, payload: Any) -> LoadedSound:
        """Loads one sound, in any process. Raises `AudioFileError` for one that cannot be read."""


class ArrangingImporter(Importer, Protocol):
    """Importer that needs all of its sounds before it can split them: every planned record is `UNSORTED`."""

    def arrange(self, rows: list[Mapping[str, Any]], read: Callable[[int], np.ndarray]) -> list[SplitAssignment]:
        """Splits the sounds that the doctor kept.

        Args:
          rows: of each, the record's columns by name, `mark` (bytes), `digest` (equal for equal samples) and `samples`.
          read: row number to its samples, [T] int16.
        """
