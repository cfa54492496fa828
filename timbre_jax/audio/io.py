"""Reads, resamples and writes sound files on the host, with one-line errors."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from timbre_jax.files import atomic_path

AUDIO_SUFFIXES = (
    ".wav", ".flac", ".ogg", ".aif", ".aiff", ".mp3", ".wave", ".aifc", ".oga", ".opus", ".au", ".caf", ".w64",
)  # fmt: skip
"""Suffixes of files that libsndfile reads."""
OTHER_AUDIO_SUFFIXES = (".m4a", ".aac", ".wma", ".ape", ".wv", ".mpc", ".amr", ".ac3", ".rx2", ".rex")
"""Suffixes of sound files that libsndfile does not read; importers report them."""


class AudioFileError(ValueError):
    """Error of a sound file: one line that names the file, the problem and what to do."""


def _error_text(error: Exception) -> str:
    """Returns the text of an error of libsndfile or the system, without the file name."""
    text = " ".join(str(getattr(error, "strerror", "") or error).split())
    return re.sub(r"^Error opening (b?'.*?'|b?\".*?\"|<.*?>): ", "", text).rstrip(".") or type(error).__name__


@contextlib.contextmanager
def _reading(name: str, problem: str = "not a readable sound file") -> Iterator[None]:
    """Converts errors of libsndfile and the system to an `AudioFileError`."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise AudioFileError(f"{name}: {problem} ({_error_text(error)})") from None


def _check_finite(name: object, wrong: int, count: int) -> None:
    """Raises an `AudioFileError` if a file has samples that are NaN or infinite."""
    if wrong:
        raise AudioFileError(f"{name}: NaN or infinite in {wrong} of {count} samples")


def read_wave(
    file: str | os.PathLike | BinaryIO,
    *,
    sample_rate: int | None = None,
    mono: bool = True,
    duration: float | None = None,
    name: str | None = None,
) -> tuple[np.ndarray, int]:
    """Reads a sound file of any bit depth (WAV, FLAC, OGG, AIFF, MP3) as float32 in [-1, 1].

    The file is decoded in blocks, so that memory is little more than that of the result, even with many channels or a high
    rate.

    Args:
      file: path, or open binary file that can seek.
      sample_rate: rate in Hz to resample to (soxr, HQ); None keeps the rate of the file.
      mono: whether to average the channels.
      duration: number of seconds to read; None: all.
      name: name of the file in errors, if `file` is not a path.

    Returns:
      (wave, rate): [T] float32 if mono, else [T, channels]; the rate in Hz.

    Raises:
      AudioFileError: the file is missing, is not a sound file, is shorter than its header says, or has no samples or samples
        that are not finite.
    """
    import soundfile

    is_path = isinstance(file, (str, os.PathLike))
    name = name or (os.fspath(file) if is_path else "a sound")
    if is_path and not os.path.isfile(file):
        raise AudioFileError(f"{name}: {'is a folder' if os.path.isdir(file) else 'no such file'}")
    # As bytes, because soundfile refuses names that are not valid text; libsndfile itself opens any name.
    opened = os.fsencode(file) if is_path and os.name == "posix" else file
    with _reading(name), soundfile.SoundFile(opened) as sound:
        rate, frames, channels = sound.samplerate, sound.frames, sound.channels
        most = frames if duration is None else round(duration * rate)
        needed = min(frames, most)
        stream = None
        if sample_rate is not None and rate != sample_rate:
            stream = _resampler(rate, sample_rate, 1 if mono else channels)
        parts, read, wrong = [], 0, 0
        while (count := min(BLOCK, needed - read)) > 0:
            block = sound.read(count, dtype="float32", always_2d=True)
            read, wrong = read + len(block), wrong + np.count_nonzero(~np.isfinite(block))
            last = len(block) < count or read == needed
            block = block.mean(axis=1) if mono else block
            if len(block) or stream is not None:
                parts.append(block if stream is None else stream.resample_chunk(block, last=last))
            if last:
                break
        promised = _promised_frames(file) if sound.format in ("WAV", "WAVEX") else frames
    if promised is not None and read < (promised if duration is None else min(promised, most)):
        raise AudioFileError(f"{name}: cut short ({_shortfall(promised, read)}); copy the file again")
    if read == 0:
        raise AudioFileError(f"{name}: contains no samples")
    _check_finite(name, wrong, read * channels)
    return np.concatenate(parts), rate if stream is None else sample_rate


BLOCK = 1 << 18
"""Number of samples that are decoded at once."""


def _resampler(rate: int, new_rate: int, channels: int):
    """Returns a resampling stream that equals `resample` bit for bit, block by block."""
    import soxr

    return soxr.ResampleStream(rate, new_rate, channels, dtype="float32", quality="HQ")


def sound_length(file: str | os.PathLike, *, name: str | None = None) -> tuple[int, int]:
    """Reads the number of samples and the rate in Hz from the header of a sound file.

    Args:
      file: path of the sound file.
      name: name of the file in errors; None: the path.

    Raises:
      AudioFileError: the file is missing, is not a sound file, or has no samples.
    """
    import soundfile

    name = name or os.fspath(file)
    with _reading(name), open(file, "rb") as opened:  # soundfile refuses names that are not valid text
        info = soundfile.info(opened)
    if info.frames <= 0:
        raise AudioFileError(f"{name}: contains no samples")
    return info.frames, info.samplerate


def missing_end(file: str | os.PathLike) -> str:
    """Describes how many samples of a truncated RIFF file are missing; "" if none are."""
    promised = _promised_frames(file)
    there, _ = sound_length(file) if promised is not None else (0, 0)
    return "" if promised is None or there >= promised else _shortfall(promised, there)


def _shortfall(promised: int, present: int) -> str:
    """Describes how many samples a header promises and how many are in the file."""
    return f"its header promises {promised} samples, {present} are present"


def read_part(file: str | os.PathLike, start: int, count: int, *, name: str | None = None) -> tuple[np.ndarray, int, int]:
    """Reads a part of a sound file, with channels averaged.

    Args:
      file: path of the sound file.
      start: first sample.
      count: number of samples.
      name: name of the file in errors; None: the path.

    Returns:
      (wave, rate, channels): [count] float32, or less at the end of the file; the rate in Hz; the channels of the file.

    Raises:
      AudioFileError: the file cannot be read there, or has samples that are not finite.
    """
    import soundfile

    name = name or os.fspath(file)
    problem = f"cannot be read at {start / 1000:.0f} thousand samples"
    with _reading(name, problem), open(file, "rb") as opened, soundfile.SoundFile(opened) as sound:
        sound.seek(min(start, sound.frames))
        wave, rate, channels = sound.read(count, dtype="float32", always_2d=True), sound.samplerate, sound.channels
    _check_finite(name, np.count_nonzero(~np.isfinite(wave)), wave.size)
    return np.ascontiguousarray(wave.mean(axis=1), np.float32), rate, channels


def _promised_frames(file) -> int | None:
    """Returns the sample frames that a RIFF header promises; None if it does not say.

    libsndfile silently derives the length from the size of the file.
    """
    opened = open(file, "rb") if isinstance(file, str | os.PathLike) else contextlib.nullcontext(file)  # noqa: SIM115
    with opened as handle:
        handle.seek(0)
        if handle.read(4) != b"RIFF":
            return None
        handle.seek(12)
        align = 0
        while len(header := handle.read(8)) == 8:
            size = int.from_bytes(header[4:], "little")
            if header[:4] == b"fmt ":
                body = handle.read(size + size % 2)
                align = int.from_bytes(body[12:14], "little")
            elif header[:4] == b"data":
                # Programs that write to a pipe do not know the length and write 0 or the largest number.
                return None if size in (0, 0xFFFFFFFF) or size >= 0x7FFFFF00 or not align else size // align
            else:
                handle.seek(size + size % 2, 1)
        return None


def resample(wave: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Resamples with soxr (HQ: 20 bits, linear phase); the first sample stays at time 0.

    Args:
      wave: [T] or [T, channels].
      rate: sample rate in Hz.
      new_rate: sample rate of the result in Hz.

    Returns:
      [T'] or [T', channels] float32; `wave` itself if the rates are equal and it is float32.
    """
    import soxr

    wave = np.asarray(wave, np.float32)
    return wave if rate == new_rate else soxr.resample(wave, rate, new_rate, quality="HQ")


def write_wave(path: str | os.PathLike, wave: np.ndarray, rate: int, *, subtype: str = "PCM_16") -> Path:
    """Writes a sound file atomically: a failure leaves no partial file and keeps an old one.

    Args:
      path: file to write; the suffix selects the format (.wav, .flac, .ogg, .aif, .aiff).
      wave: [T] or [T, channels]; PCM subtypes clip values outside [-1, 1].
      rate: sample rate in Hz.
      subtype: subtype of libsndfile ("PCM_16", "PCM_24", "FLOAT"); OGG is always Vorbis.

    Returns:
      The path.

    Raises:
      AudioFileError: the wave is empty or not finite, the suffix is unknown, or the file cannot be written.
    """
    import soundfile

    path, wave = Path(path), np.asarray(wave, np.float32)
    if wave.ndim not in (1, 2) or wave.size == 0:
        raise AudioFileError(f"{path}: cannot be written, the wave must be [T] or [T, channels] (got {wave.shape})")
    _check_finite(path, np.count_nonzero(~np.isfinite(wave)), wave.size)
    file_format = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".aif": "AIFF", ".aiff": "AIFF"}.get(path.suffix.lower())
    if file_format is None:
        raise AudioFileError(f"{path}: unknown suffix {path.suffix!r}; use .wav, .flac, .ogg or .aiff")
    if file_format == "OGG":
        subtype = "VORBIS"
    try:
        with atomic_path(path) as temporary:
            soundfile.write(temporary, wave, rate, format=file_format, subtype=subtype)
            if os.path.getsize(temporary) < 16:
                raise OSError("the file is empty")
    except (OSError, RuntimeError, AssertionError) as error:  # soundfile asserts that all samples were written
        full = isinstance(error, AssertionError) or "System error" in str(error)
        reason = "is the disk full?" if full else _error_text(error)
        raise AudioFileError(f"{path}: could not be written ({reason})") from None
    return path
