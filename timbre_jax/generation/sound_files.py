"""Sound files in and out of programs: folders to files, files to what a space takes, safe names, sounds written."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def expand(files: Sequence[str | os.PathLike]) -> list[Path]:
    """Files as they are; a folder becomes the sound files in it, by name.

    Raises:
      ValueError: a folder without a sound file.
    """
    from timbre_jax.audio.io import AUDIO_SUFFIXES

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
    """A file's name without its suffix, for use in other names."""
    return plain_name(path.stem, most=most)


def plain_name(text: str, *, most: int = 60) -> str:
    """A text as part of a file's name: letters, digits, `_.+-`, at most `most` bytes."""
    name = re.sub(r"[^\w.+-]+", "_", text).strip("._") or "sound"
    return name.encode()[:most].decode(errors="ignore")


def read_input(path: Path, space, errors: list[dict], *, whole: bool = False) -> dict | None:
    """A file as {"path", "wave" [T], "length", "remarks"} with T the space's length, or None and a line in errors.

    `whole`: T is the sound's own length.
    """
    from timbre_jax.audio.io import AudioFileError, read_wave
    from timbre_jax.data.prepare.quality import check_wave, reason_of_quality

    rate = space.sample_rate
    length = getattr(space.representation, "length", 4 * rate)
    try:
        # A second more than is needed tells a long file from a fitting one without reading all of it.
        wave, _ = read_wave(path, sample_rate=rate, duration=None if whole else length / rate + 1.0)
    except AudioFileError as error:
        errors.append({"file": str(path), "error": str(error)})
        return None
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
    elif callable(getattr(space.representation, "quality", None)):
        numbers = space.representation.quality(wave[None])
        if reason := reason_of_quality({name: float(value[0]) for name, value in numbers.items()}, -1, 0.0):
            remarks.append(f"{reason}: the representation holds only part of it")
    return {"path": path, "wave": wave, "length": real, "remarks": remarks}


def write_sound(path: Path, wave: np.ndarray, rate: int) -> list[str]:
    """Writes a sound; one that would clip is turned down as a whole, which the returned remark says."""
    from timbre_jax.audio.io import write_wave
    from timbre_jax.inference.rendering import without_clipping

    peak = float(np.abs(wave).max(initial=0.0))
    remarks = []
    if peak > 1.0:
        remarks.append(f"turned down by {20 * np.log10(peak):.1f} dB so that it does not clip")
    write_wave(path, without_clipping(wave), rate)
    return remarks
