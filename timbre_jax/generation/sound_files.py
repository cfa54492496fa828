"""Sound files of generation: inputs of the modes, file names and written sounds."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from timbre_jax.audio.io import AUDIO_SUFFIXES, read_wave, write_wave
from timbre_jax.data.prepare.quality import note_problem, wave_problem
from timbre_jax.generation.series_files import SERIES_SUFFIXES, read_series
from timbre_jax.inference.rendering import without_clipping
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Latent


@dataclasses.dataclass(frozen=True)
class InputSound:
    """Input of a mode of generation: a sound file, or a file of a latent series.

    Attributes:
      path: path of the file.
      wave: samples [T] float32, padded to the length of the space; empty for a series.
      length: number of samples without padding; None for a series.
      remarks: sentences about cutting, padding and defects of the sound.
      series: series [1, M, D] of the file, or None for a sound file.
    """

    path: Path
    wave: np.ndarray
    length: int | None
    remarks: tuple[str, ...] = ()
    series: Latent | None = None

    @property
    def original(self) -> np.ndarray:
        """Samples of the sound without padding."""
        return self.wave[: self.length]

    def name(self, max_bytes: int = 60) -> str:
        """Returns the plain name of the file, at most `max_bytes` bytes, for names of outputs."""
        return plain_name(self.path.stem, max_bytes=max_bytes)


Inputs = Sequence[InputSound]


def remarks_of(inputs: Inputs, max_bytes: int = 40) -> tuple[str, ...]:
    """Returns the remarks of all inputs, each preceded by the name of its file."""
    return tuple(f"{sound.name(max_bytes)}: {remark}" for sound in inputs for remark in sound.remarks)


def expand_folders(files: Sequence[str | os.PathLike]) -> list[Path]:
    """Replaces folders by the sound files in them, sorted by name; files are kept.

    Raises:
      ValueError: a folder contains no sound file.
    """
    paths = []
    for file in map(Path, files):
        if not file.is_dir():
            paths.append(file)
            continue
        sounds = sorted(path for path in file.iterdir() if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
        if not sounds:
            raise ValueError(f"{file}: no sound file in this folder, expected {', '.join(AUDIO_SUFFIXES)}")
        paths += sounds
    return paths


def plain_name(text: str, *, max_bytes: int = 60) -> str:
    """Reduces a text to letters, digits and `_.+-` of at most `max_bytes` bytes."""
    name = re.sub(r"[^\w.+-]+", "_", text).strip("._") or "sound"
    return name.encode()[:max_bytes].decode(errors="ignore")


def without_audio_suffix(name: str) -> str:
    """Removes the suffix of a sound file from a name, but no other text after a dot."""
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in AUDIO_SUFFIXES else name


def read_inputs(paths: Sequence[Path], space: TimbreSpace, *, whole: bool = False) -> tuple[list[InputSound], list[dict]]:
    """Reads the input files of a mode, and collects errors of unreadable files.

    Args:
      paths: sound files, or files of series.
      space: space with the sample rate of the inputs, and the length to which sounds are cut or padded.
      whole: whether sounds keep their length; if so, files of series are allowed as well.

    Returns:
      The inputs that could be read, and {"file", "error"} for each file that could not be read.
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


def unusable_error(errors: Sequence[dict]) -> ValueError:
    """Returns the exception for unusable files: the first error and the number of others."""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return ValueError(f"{errors[0]['error']}{more}")


def _read_sound(path: Path, space: TimbreSpace, whole: bool) -> InputSound:
    rate = space.sample_rate
    length = space.representation.length or 4 * rate
    # One more second than the length is read, which shows that a file is longer without reading all of it.
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
    if reason := wave_problem(wave[:real], rate):
        remarks.append(f"{reason}: the result depends on the model, not on this file")
    else:
        numbers = {name: float(value[0]) for name, value in space.representation.quality(wave[None]).items()}
        if numbers and (reason := note_problem(numbers, -1, 0.0)):
            remarks.append(f"{reason}: the representation can describe it only in part")
    return InputSound(path, wave, real, tuple(remarks))


def write_sound(path: Path, wave: np.ndarray, rate: int) -> list[str]:
    """Writes a sound, attenuated if it would clip; returns a remark if it was attenuated."""
    peak = float(np.abs(wave).max(initial=0.0))
    write_wave(path, without_clipping(wave), rate)
    return [f"attenuated by {20 * np.log10(peak):.1f} dB so that it does not clip"] if peak > 1.0 else []
