"""Recordings of any length in folders, cut into excerpts: each is decoded where it lies, so a long file costs no memory."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from timbre_jax.audio.io import AudioFileError, missing_end, read_part, resample, sound_length
from timbre_jax.data.importers.base import UNSORTED, Form, Loaded, Place, Record
from timbre_jax.data.importers.folder import find_sounds, readable, root_names, unique
from timbre_jax.data.importers.library import FRACTIONS, arrange_library, check_library, library_form, select_classes
from timbre_jax.data.prepare.duplicates import mark

EXCERPT_SECONDS = 4.0
SILENCE_DB = -60.0
REST_SECONDS = 0.1
"""What is left at the end of a recording, when it is shorter than this, is no excerpt; a whole file of that length is one."""
MARGIN_SECONDS = 0.05
"""So much is decoded before and after an excerpt, for the resampler's filter: neighbours join as the whole would."""
LOADER_VERSION = 1  # raised when excerpts come to be cut differently, so that older stores are not taken for the same


@dataclasses.dataclass(frozen=True)
class RecordingSource:
    """Excerpts of WAV, AIFF, FLAC, OGG and MP3 files below folders, mixed to mono, at one rate, their level kept.

    Every file is cut into excerpts one after the other, the last one shorter (it is padded when read, its length is kept); a
    file that is shorter than an excerpt is one. An excerpt's id is its file's path and its number, its instrument the file, so
    that splits and bootstraps go by recording; its family is the folder that the file lies in. Files of which excerpts are
    copies of each other count as one recording.

    Attributes:
      paths: folders.
      labels: families to keep; none means all.
      sample_rate: in Hz, 8000 to 48000.
      seconds: length of an excerpt.
      silence_db: excerpts whose level (RMS) is under this are left out.
      duplicates: "one" of all copies of an excerpt, of those with the same samples ("exact"), or "all" are kept.
      fractions: shares of train, valid and test, by recording.
      number: how many recordings, drawn evenly over families; 0 means all.
      seed: of the splits and that draw.

    Raises ValueError for settings that are out of range.
    """

    paths: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    sample_rate: int = 24000
    seconds: float = EXCERPT_SECONDS
    silence_db: float = SILENCE_DB
    duplicates: str = "one"
    fractions: tuple[float, ...] = FRACTIONS
    number: int = 0
    seed: int = 0

    def __post_init__(self):
        check_library(fractions=self.fractions, duplicates=self.duplicates, number=self.number)
        if not self.seconds > 0:
            raise ValueError(f"excerpts of {self.seconds:g} s: more than 0 is needed")
        library_form(self.sample_rate, self.seconds, self.seconds)
        if not -100 <= self.silence_db <= 0:
            raise ValueError(f"silence_db {self.silence_db:g}: -100 to 0 dB is needed")

    @property
    def form(self) -> Form:
        return library_form(self.sample_rate, self.seconds, self.seconds)

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "recordings", "title": f"recordings of {', '.join(readable(name) for name in root_names(self.paths))}",
            "licence": "that of the files", "labels": list(self.labels), "sample_rate": self.sample_rate,
            "seconds": self.seconds, "silence_db": self.silence_db, "duplicates": self.duplicates,
            "fractions": list(self.fractions), "number": self.number, "seed": self.seed, "loader": LOADER_VERSION,
        }  # fmt: skip

    def plan(self) -> list[Record]:
        if not self.paths:
            raise ValueError("a folder of recordings is needed with --path: DIR, or several with commas")
        several, files = len(self.paths) > 1, []
        for root, name, found in find_sounds(self.paths):
            folders = found.path.split("/")[:-1]
            files.append(
                Record(
                    id=readable(f"{name}/{found.path}" if several else found.path), instrument="", pitch=-1, velocity=-1,
                    split="" if found.problem else UNSORTED, family=readable(folders[-1] if folders else name), preset="",
                    source=readable(folders[0] if folders else name), left_out=found.problem,
                    where=(root, found.path, found.size, found.changed),
                )
            )  # fmt: skip
        files = select_classes(unique(files), labels=self.labels, unlabelled=True, number=self.number, seed=self.seed)
        return [record for file in files for record in self._excerpts(file)]

    def _excerpts(self, file: Record) -> list[Record]:
        """The excerpts of a file; itself, with the reason, where it cannot be read or is not asked for."""
        if file.left_out:
            return [file]
        try:
            frames, rate = sound_length(self._path(file), name=file.id)
        except AudioFileError as error:
            return [file._replace(split="", left_out=f"unreadable ({error})")]
        count = max(1, math.ceil(frames / rate / self.seconds - REST_SECONDS / self.seconds))
        return [
            file._replace(id=f"{file.id}#{number:04d}", instrument=file.id, where=(*file.where, number))
            for number in range(count)
        ]

    def _path(self, record: Record) -> str:
        return os.path.join(self.paths[record.where[0]], record.where[1])

    def fetch(self, records: list[Record], wanted: Iterable[int]) -> Iterator[tuple[int, Any]]:
        for position in wanted:
            yield position, None

    def load(self, record: Record, payload: Any) -> Loaded:
        number, form = record.where[-1], self.form
        wave, rate, channels = excerpt(
            self._path(record), number * form.samples, form.samples, form.sample_rate, name=record.instrument
        )
        remarks = [f"mixed to mono ({channels} channels)"] if channels > 1 else []
        remarks += [f"resampled ({rate} Hz)"] if rate != form.sample_rate else []
        remarks += [f"from a file cut short ({short})"] if (short := missing_end(self._path(record))) else []
        remarks += [f"shorter than an excerpt ({len(wave) / form.sample_rate:.3f} s)"] if len(wave) < form.samples else []
        level = 10 * math.log10(max(float(np.mean(np.square(wave, dtype=np.float64))), 1e-20)) if len(wave) else -200.0
        quiet = f"near silent ({level:.0f} dB, under {self.silence_db:g})" if level < self.silence_db else ""
        return Loaded(wave, remarks=tuple(remarks), mark=mark(wave, form.sample_rate, rate), left_out=quiet)

    def arrange(self, rows: list[Mapping[str, Any]], read: Callable[[int], np.ndarray]) -> list[Place]:
        return arrange_library(
            rows, read, rate=self.sample_rate, fractions=self.fractions, seed=self.seed, duplicates=self.duplicates,
            related=[(row["instrument"],) for row in rows], pool=True,
        )  # fmt: skip


def excerpt(path: str, start: int, count: int, sample_rate: int, *, name: str) -> tuple[np.ndarray, int, int]:
    """Samples `start` to `start + count` of a file as it would be, mono, at another rate; only that part is decoded.

    Args:
      path: of the sound file. start, count: in samples at `sample_rate`. name: what to call it in an error.

    Returns:
      (wave [<= count] float32, the file's rate in Hz, its channels).

    Raises AudioFileError for a file that cannot be read.
    """
    _, rate = sound_length(path, name=name)
    common = math.gcd(rate, sample_rate)
    # A step of the file after which both rates meet on a sample: the resampler starts on one, so nothing is shifted.
    step, step_out = rate // common, sample_rate // common
    margin = round(MARGIN_SECONDS * rate)
    begin = max(0, (start * step // step_out - margin) // step * step)
    stop = math.ceil((start + count) * rate / sample_rate) + margin
    wave, rate, channels = read_part(path, begin, stop - begin, name=name)
    if rate != sample_rate:
        wave = resample(wave, rate, sample_rate)
    first = start - begin // step * step_out
    return np.ascontiguousarray(wave[first : first + count], np.float32), rate, channels
