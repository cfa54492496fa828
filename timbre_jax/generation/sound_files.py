"""Sound files in and out of generation: folders to files, files to inputs of a mode, safe names, sounds written."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from timbre_jax.audio.io import AUDIO_SUFFIXES, read_wave, write_wave
from timbre_jax.data.prepare.quality import check_wave, reason_of_quality
from timbre_jax.generation.series_files import SERIES_SUFFIXES, read_series
from timbre_jax.inference.rendering import without_clipping
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Latent


@dataclasses.dataclass(frozen=True)
class InputSound:
    """Sound file, or file of a latent series, as a mode of generation takes it.

    Attributes:
      path: the file.
      wave: [T] float32, padded to the space's length; empty for a series.
      length: samples of the sound itself; None for a series.
      remarks: sentences about what was cut or padded, and what is wrong with the sound.
      series: the series [1, M, D], if the file holds one.
    """

    path: Path
    wave: np.ndarray
    length: int | None
    remarks: tuple[str, ...] = ()
    series: Latent | None = None

    @property
    def original(self) -> np.ndarray:
        """The sound without padding."""
        return self.wave[: self.length]

    def name(self, most: int = 60) -> str:
        """Returns the file's name for use in other names, of at most `most` bytes."""
        return short_name(self.path, most=most)


Inputs = Sequence[InputSound]


def remarks_of(inputs: Inputs, most: int = 40) -> tuple[str, ...]:
    """Returns the remarks of several inputs, each behind the name of its file."""
    return tuple(f"{sound.name(most)}: {remark}" for sound in inputs for remark in sound.remarks)


def expand(files: Sequence[str | os.PathLike]) -> list[Path]:
    """Returns files as they are, and for a folder the sound files in it by name.

    Raises:
      ValueError: a folder without a sound file.
    """
    paths = []
    for file in map(Path, files):
        if not file.is_dir():
            paths.append(file)
            continue
        found = sorted(path for path in file.iterdir() if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
        if not found:
            raise ValueError(f"{file}: no sound file in this folder ({', '.join(AUDIO_SUFFIXES)})")
        paths += found
    return paths


def short_name(path: Path, *, most: int = 60) -> str:
    """Returns a file's name without its suffix, for use in other names."""
    return plain_name(path.stem, most=most)


def plain_name(text: str, *, most: int = 60) -> str:
    """Returns a text as part of a file's name: letters, digits and `_.+-`, at most `most` bytes."""
    name = re.sub(r"[^\w.+-]+", "_", text).strip("._") or "sound"
    return name.encode()[:most].decode(errors="ignore")


def read_inputs(paths: Sequence[Path], space: TimbreSpace, *, whole: bool = False) -> tuple[list[InputSound], list[dict]]:
    """Reads the input files of a mode.

    Args:
      paths: sound files.
      space: gives the sample rate, and the length to which sounds are cut or padded.
      whole: whether sounds keep their own length, and files of series are inputs as well.

    Returns:
      (inputs, errors): what could be read, and a line {"file", "error"} for each file that could not.
    """
    inputs, errors = [], []
    for path in paths:
        try:
            if whole and path.suffix.lower() in SERIES_SUFFIXES:
                inputs.append(InputSound(path, np.zeros(0, np.float32), None, series=read_series(path, space)))
            else:
                inputs.append(_read_sound(path, space, whole))
        except ValueError as error:
            errors.append({"file": str(path), "error": str(error)})
    return inputs, errors


def unusable(errors: Sequence[dict]) -> ValueError:
    """Returns the error for input files of which none can be used: the first of `errors`, and the number of others."""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return ValueError(f"{errors[0]['error']}{more}")


def _read_sound(path: Path, space: TimbreSpace, whole: bool) -> InputSound:
    rate = space.sample_rate
    length = space.representation.length or 4 * rate
    # A second more than is needed tells a long file from a fitting one without reading all of it.
    wave, _ = read_wave(path, sample_rate=rate, duration=None if whole else length / rate + 1.0)
    remarks = []
    if whole:
        length = len(wave)
    real = min(len(wave), length)
    if len(wave) > length:
        remarks.append(f"cut to the first {length / rate:g} s")
    elif len(wave) < length:
        remarks.append(f"padded from {len(wave) / rate:.2f} s to {length / rate:g} s")
    wave = np.pad(wave[:length], (0, length - real))
    if reason := check_wave(wave[:real], rate):
        remarks.append(f"{reason}: what comes out tells of the model, not of this file")
    else:
        numbers = {name: float(value[0]) for name, value in space.representation.quality(wave[None]).items()}
        if numbers and (reason := reason_of_quality(numbers, -1, 0.0)):
            remarks.append(f"{reason}: the representation holds only part of it")
    return InputSound(path, wave, real, tuple(remarks))


def write_sound(path: Path, wave: np.ndarray, rate: int) -> list[str]:
    """Writes a sound, turned down as a whole if it would clip, and returns a remark if it was."""
    peak = float(np.abs(wave).max(initial=0.0))
    write_wave(path, without_clipping(wave), rate)
    return [f"turned down by {20 * np.log10(peak):.1f} dB so that it does not clip"] if peak > 1.0 else []
