"""Imports excerpts of recordings of any length, and decodes only the excerpt."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from timbre_jax.audio.io import AudioFileError, missing_end, read_part, resample, sound_length
from timbre_jax.data.importers.base import LoadedSound, Record
from timbre_jax.data.importers.duplicates import signature
from timbre_jax.data.importers.folder_files import file_records, folder_names, printable
from timbre_jax.data.importers.library import LibrarySettings
from timbre_jax.settings import setting

REST_SECONDS = 0.1
"""A shorter rest at the end of a recording is not an excerpt, unless it is the whole file."""
MARGIN_SECONDS = 0.05
"""Context that is decoded before and after an excerpt for the resampling filter, so that excerpts join without a seam."""
LOADER_VERSION = 1  # increased when the excerpts change, so that older stores are made again


@dataclasses.dataclass(frozen=True)
class RecordingImporter(LibrarySettings):
    """Importer of excerpts of sound files (WAV, AIFF, FLAC, OGG, MP3) in folders.

    Subfolders are included. Files are mixed to mono and resampled; their level is kept. Each file is cut into consecutive
    excerpts; the last one may be shorter. The id of an excerpt is the path of its file and its number. Its instrument is the
    file, so that splits and bootstraps go by recording, and its family is the folder of the file. Files with excerpts that are
    copies of each other count as one recording.

    Raises:
      ValueError: a value is out of range.
    """

    seconds: float = setting(4.0, "Length of an excerpt in seconds.")
    silence_db: float = setting(-60.0, "Level (RMS) in dB below which an excerpt is left out.", low=-100, high=0)

    merge_single_classes: ClassVar[bool] = True

    def __post_init__(self):
        if not self.seconds > 0:
            raise ValueError(f"seconds={self.seconds:g}: must be above 0")
        super().__post_init__()

    def describe(self) -> dict[str, Any]:
        """Returns the settings for the index of a store."""
        return {
            "kind": "recordings", "title": f"recordings of {', '.join(printable(name) for name in folder_names(self.path))}",
            "license": "that of the files", "silence_db": self.silence_db, "loader": LOADER_VERSION, **self.describe_settings(),
        }  # fmt: skip

    def plan(self) -> list[Record]:
        """Returns one record per excerpt."""
        files = self.select(file_records(self.path, lambda root, path, folders: folders[-1]))
        return [record for file in files for record in self._excerpts(file)]

    def _excerpts(self, file: Record) -> list[Record]:
        """Returns the excerpts of a file, or the file with the reason if it is left out."""
        if file.left_out:
            return [file]
        try:
            frames, rate = sound_length(self._path(file), name=file.id)
        except AudioFileError as error:
            return [file._replace(split="", left_out=f"unreadable ({error})")]
        count = max(1, math.ceil(frames / rate / self.seconds - REST_SECONDS / self.seconds))
        return [
            file._replace(id=f"{file.id}#{number:04d}", instrument=file.id, location=(*file.location, number))
            for number in range(count)
        ]

    def _path(self, record: Record) -> str:
        """Returns the path of a record's file."""
        return os.path.join(self.path[record.location[0]], record.location[1])

    def load(self, record: Record, payload: Any) -> LoadedSound:
        """Loads an excerpt."""
        number, target = record.location[-1], self.audio_format
        wave, rate, channels = read_excerpt(
            self._path(record), number * target.samples, target.samples, target.sample_rate, name=record.instrument
        )
        remarks = [f"mixed to mono ({channels} channels)"] if channels > 1 else []
        remarks += [f"resampled ({rate} Hz)"] if rate != target.sample_rate else []
        remarks += [f"from a file cut short ({short})"] if (short := missing_end(self._path(record))) else []
        remarks += [f"shorter than an excerpt ({len(wave) / target.sample_rate:.3f} s)"] if len(wave) < target.samples else []
        level = 10 * math.log10(max(float(np.mean(np.square(wave, dtype=np.float64))), 1e-20)) if len(wave) else -200.0
        quiet = f"near silent ({level:.0f} dB, below {self.silence_db:g} dB)" if level < self.silence_db else ""
        return LoadedSound(wave, remarks=tuple(remarks), signature=signature(wave, target.sample_rate, rate), left_out=quiet)

    def shared_keys(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Hashable, ...]]:
        """Returns the recording of each excerpt."""
        return [(row["instrument"],) for row in rows]


def read_excerpt(path: str, start: int, count: int, sample_rate: int, *, name: str) -> tuple[np.ndarray, int, int]:
    """Reads a part of a sound file, mono, as if the whole file had been resampled.

    Args:
      path: sound file.
      start: first sample, at `sample_rate`.
      count: number of samples, at `sample_rate`.
      sample_rate: sample rate of the result in Hz.
      name: name of the file in errors.

    Returns:
      (wave [<= count] float32, sample rate of the file in Hz, number of its channels).

    Raises:
      AudioFileError: the file cannot be read.
    """
    _, rate = sound_length(path, name=name)
    common = math.gcd(rate, sample_rate)
    # The samples of both rates coincide every `step` samples of the file; starting on such a sample avoids a shift.
    step, step_out = rate // common, sample_rate // common
    margin = round(MARGIN_SECONDS * rate)
    begin = max(0, (start * step // step_out - margin) // step * step)
    stop = math.ceil((start + count) * rate / sample_rate) + margin
    wave, rate, channels = read_part(path, begin, stop - begin, name=name)
    wave = resample(wave, rate, sample_rate)
    first = start - begin // step * step_out
    return np.ascontiguousarray(wave[first : first + count], np.float32), rate, channels
