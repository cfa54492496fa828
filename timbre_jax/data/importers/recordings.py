"""Recordings of any length in folders, cut into excerpts: each is decoded where it lies, so a long file costs no memory."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from timbre_jax.audio.io import AudioFileError, missing_end, read_part, resample, sound_length
from timbre_jax.data.importers.base import Loaded, Record
from timbre_jax.data.importers.duplicates import mark
from timbre_jax.data.importers.found_files import file_records, readable, root_names
from timbre_jax.data.importers.library import LibrarySettings
from timbre_jax.settings import setting

REST_SECONDS = 0.1
"""What is left at the end of a recording, when it is shorter than this, is no excerpt; a whole file of that length is one."""
MARGIN_SECONDS = 0.05
"""So much is decoded before and after an excerpt, for the resampler's filter: neighbors join as the whole would."""
LOADER_VERSION = 1  # raised when excerpts come to be cut differently, so that older stores are not taken for the same


@dataclasses.dataclass(frozen=True)
class RecordingSource(LibrarySettings):
    """Excerpts of WAV, AIFF, FLAC, OGG and MP3 files below folders, mixed to mono, at one rate, their level kept.

    Every file is cut into excerpts one after the other, the last one shorter (it is padded when read, its length is kept); a
    file that is shorter than an excerpt is one. An excerpt's id is its file's path and its number, its instrument the file, so
    that splits and bootstraps go by recording; its family is the folder that the file lies in. Files of which excerpts are
    copies of each other count as one recording.

    Raises:
      ValueError: a value outside its limits.
    """

    seconds: float = setting(4.0, "Length of an excerpt in seconds.")
    silence_db: float = setting(-60.0, "Excerpts whose level (RMS) is under this, in dB, are left out.", low=-100, high=0)

    pool: ClassVar[bool] = True

    def __post_init__(self):
        if not self.seconds > 0:
            raise ValueError(f"excerpts of {self.seconds:g} s: more than 0 is needed")
        super().__post_init__()

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "recordings", "title": f"recordings of {', '.join(readable(name) for name in root_names(self.path))}",
            "license": "that of the files", "silence_db": self.silence_db, "loader": LOADER_VERSION, **self.described(),
        }  # fmt: skip

    def plan(self) -> list[Record]:
        files = self.select(file_records(self.path, lambda root, path, folders: folders[-1]))
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
        return os.path.join(self.path[record.where[0]], record.where[1])

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

    def related(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Hashable, ...]]:
        """Returns the recording of each excerpt."""
        return [(row["instrument"],) for row in rows]


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
