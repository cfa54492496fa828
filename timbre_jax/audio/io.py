"""Sound files on disk: reading and writing, with one-line errors. Host code (numpy), no JAX."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

AUDIO_SUFFIXES = (
    ".wav", ".flac", ".ogg", ".aif", ".aiff", ".mp3", ".wave", ".aifc", ".oga", ".opus", ".au", ".caf", ".w64",
)  # fmt: skip
"""Of files that are read: what libsndfile knows."""
OTHER_AUDIO_SUFFIXES = (".m4a", ".aac", ".wma", ".ape", ".wv", ".mpc", ".amr", ".ac3", ".rx2", ".rex")
"""Of sounds that are not: to be told of, not passed over."""


class AudioFileError(ValueError):
    """A sound file that cannot be used; the message is one line: which file, what is wrong, what to do."""


def _describe(error: Exception) -> str:
    text = " ".join(str(getattr(error, "strerror", "") or error).split())
    return re.sub(r"^Error opening (b?'.*?'|b?\".*?\"|<.*?>): ", "", text).rstrip(".") or type(error).__name__


@contextlib.contextmanager
def _reading(name: str, problem: str = "not a readable sound file") -> Iterator[None]:
    """Turns errors of libsndfile and the system into an `AudioFileError`."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise AudioFileError(f"{name}: {problem} ({_describe(error)})") from None


def _check_finite(name: object, wrong: int, count: int) -> None:
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
    """Reads a sound file (WAV, FLAC, OGG, AIFF, MP3; any bit depth) as float32 in [-1, 1].

    It is decoded in blocks: a long file of many channels or a high rate takes the memory of what is asked for.

    Args:
      file: a path, or an open binary file that can seek.
      sample_rate: resample to this rate in Hz (soxr, HQ); None keeps the file's own.
      mono: average the channels.
      duration: read at most so many seconds, so that a very long file costs no memory; None reads all.
      name: what to call the file in an error, where `file` is not a path.

    Returns:
      (wave, rate): wave [T] float32 when mono, else [T, channels]; rate in Hz.

    Raises:
      AudioFileError: missing, not a sound file, shorter than its header says, without samples, or not finite.
    """
    import soundfile

    is_path = isinstance(file, (str, os.PathLike))
    name = name or (os.fspath(file) if is_path else "a sound")
    if is_path and not os.path.isfile(file):
        raise AudioFileError(f"{name}: {'is a folder' if os.path.isdir(file) else 'no such file'}")
    # As bytes: libsndfile takes every name that the system has, its Python side only those that are text.
    opened = os.fsencode(file) if is_path and os.name == "posix" else file
    with _reading(name), soundfile.SoundFile(opened) as sound:
        rate, frames, channels = sound.samplerate, sound.frames, sound.channels
        most = frames if duration is None else round(duration * rate)
        wanted = min(frames, most)
        stream = None
        if sample_rate is not None and rate != sample_rate:
            stream = _resampler(rate, sample_rate, 1 if mono else channels)
        parts, read, wrong = [], 0, 0
        while (count := min(BLOCK, wanted - read)) > 0:
            block = sound.read(count, dtype="float32", always_2d=True)
            read, wrong = read + len(block), wrong + np.count_nonzero(~np.isfinite(block))
            last = len(block) < count or read == wanted
            block = block.mean(axis=1) if mono else block
            if len(block) or stream is not None:
                parts.append(block if stream is None else stream.resample_chunk(block, last=last))
            if last:
                break
        promised = _promised_frames(file) if sound.format in ("WAV", "WAVEX") else frames
    if promised is not None and read < (promised if duration is None else min(promised, most)):
        raise AudioFileError(f"{name}: cut short ({_shortfall(promised, read)})")
    if read == 0:
        raise AudioFileError(f"{name}: holds no samples")
    _check_finite(name, wrong, read * channels)
    return np.concatenate(parts), rate if stream is None else sample_rate


BLOCK = 1 << 18
"""Samples of a file that are decoded at once."""


def _resampler(rate: int, new_rate: int, channels: int):
    """What `resample` does, block by block, to the bit."""
    import soxr

    return soxr.ResampleStream(rate, new_rate, channels, dtype="float32", quality="HQ")


def sound_length(file: str | os.PathLike, *, name: str | None = None) -> tuple[int, int]:
    """(samples, rate in Hz) of a sound file by its header; nothing is decoded.

    Raises AudioFileError for a file that is missing, no sound file, or without samples.
    """
    import soundfile

    name = name or os.fspath(file)
    with _reading(name), open(file, "rb") as opened:  # as libsndfile does not take every name that the system has
        info = soundfile.info(opened)
    if info.frames <= 0:
        raise AudioFileError(f"{name}: holds no samples")
    return info.frames, info.samplerate


def missing_end(file: str | os.PathLike) -> str:
    """What of a RIFF file is missing, in words, where its header promises more than there is; "" where nothing is."""
    promised = _promised_frames(file)
    there, _ = sound_length(file) if promised is not None else (0, 0)
    return "" if promised is None or there >= promised else _shortfall(promised, there)


def _shortfall(promised: int, there: int) -> str:
    return f"its header promises {promised} samples, {there} are there"


def read_part(file: str | os.PathLike, start: int, count: int, *, name: str | None = None) -> tuple[np.ndarray, int, int]:
    """Reads `count` samples from `start` of a sound file, mono; what lies before is passed over.

    Returns:
      (wave [<= count] float32, rate in Hz, channels): shorter where the file ends.

    Raises AudioFileError for a file that cannot be read there, or samples that are not finite.
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
    """Sample frames that a RIFF file's header promises; libsndfile quietly believes the file's size instead."""
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
                # Programs that write to a pipe put 0 or the largest number where they cannot know.
                return None if size in (0, 0xFFFFFFFF) or size >= 0x7FFFFF00 or not align else size // align
            else:
                handle.seek(size + size % 2, 1)
        return None


def resample(wave: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Resamples [T] or [T, channels] with soxr (HQ: 20-bit, linear phase). The first sample stays at time 0."""
    import soxr

    return soxr.resample(np.asarray(wave, np.float32), rate, new_rate, quality="HQ")


def write_wave(path: str | os.PathLike, wave: np.ndarray, rate: int, *, subtype: str = "PCM_16") -> Path:
    """Writes a sound atomically: the file is whole or not there at all.

    Args:
      path: its suffix names the format (.wav, .flac, .ogg).
      wave: [T] or [T, channels]; what lies outside [-1, 1] is clipped by a PCM subtype.
      rate: in Hz.
      subtype: of libsndfile, e.g. "PCM_16", "PCM_24", "FLOAT".

    Raises:
      AudioFileError: the wave is empty or not finite, or the disk does not take it.
    """
    import soundfile

    path, wave = Path(path), np.asarray(wave, np.float32)
    if wave.ndim not in (1, 2) or wave.size == 0:
        raise AudioFileError(f"{path}: a wave of shape {wave.shape} cannot be written, [T] or [T, channels] is needed")
    _check_finite(path, np.count_nonzero(~np.isfinite(wave)), wave.size)
    # Short, so that a long name of the user's stays within the file system's limit.
    temporary = path.parent / f".{os.getpid()}-{abs(hash(path.name)) % 10**8}.tmp"
    file_format = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".aif": "AIFF", ".aiff": "AIFF"}.get(path.suffix.lower())
    if file_format is None:
        raise AudioFileError(f"{path}: the suffix {path.suffix!r} names no format; use .wav, .flac, .ogg or .aiff")
    if file_format == "OGG":
        subtype = "VORBIS"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(temporary, wave, rate, format=file_format, subtype=subtype)
        if os.path.getsize(temporary) < 16:
            raise OSError("nothing arrived on the disk")
        os.replace(temporary, path)
    except (OSError, RuntimeError, AssertionError) as error:  # soundfile asserts that all samples were taken
        full = isinstance(error, AssertionError) or "System error" in str(error)
        why = "the disk does not take it: is it full?" if full else _describe(error)
        raise AudioFileError(f"{path}: could not be written ({why})") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path
