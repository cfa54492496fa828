"""Chromaprint similarity of sounds: string ratio and bit agreement of their fingerprints.

Chromaprint (L. Lalinský, acoustid.org) identifies songs by their chroma over 2.6 s. It measures pitch content over time, not
quality. Unrelated sounds score far above 0, so their score should be reported as a baseline.

This metric needs optional programs: `pip install imageio-ffmpeg rapidfuzz` installs an FFmpeg with Chromaprint, and
Levenshtein's ratio.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable

import numpy as np

INSTALL_COMMAND = "pip install imageio-ffmpeg rapidfuzz"


class FingerprintMissing(ValueError):
    """Error that Chromaprint or rapidfuzz is not installed, with the command that installs it."""


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Fingerprint of one sound.

    Attributes:
      text: compressed fingerprint in base64.
      bits: [n] uint32, one every 0.124 s; n = 0 if the sound is too short.
    """

    text: str
    bits: np.ndarray


@dataclasses.dataclass(frozen=True)
class FingerprintScores:
    """Similarity of pairs of sounds, [B] each; nan if a sound is too short for a fingerprint.

    Attributes:
      string_ratio: 0 to 100, Levenshtein's ratio of the base64 texts (fuzzywuzzy's "simple ratio", Rebnord 2022).
      bit_agreement: 0 to 1, share of equal bits of the raw fingerprints at the same times; 0.5 for independent bits.
    """

    string_ratio: np.ndarray
    bit_agreement: np.ndarray


def check_available() -> None:
    """Checks that the optional programs are installed.

    Raises:
      FingerprintMissing: one of them is not installed.
    """
    _ffmpeg_path()
    if importlib.util.find_spec("rapidfuzz") is None:
        raise FingerprintMissing(f"fingerprint: rapidfuzz is not installed; run {INSTALL_COMMAND}")


def fingerprint_scores(
    reference: np.ndarray,
    test: np.ndarray,
    sample_rate: int,
    *,
    doubled: bool = True,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> FingerprintScores:
    """Computes the similarity of the fingerprints of sounds and of their originals.

    Args:
      reference: [B, T] samples of the originals.
      test: [B, T] samples.
      sample_rate: sample rate in Hz.
      doubled: whether to repeat each sound once, as Rebnord 2022 does; otherwise, a sound of 2 s is too short.
      progress: wraps the iterable of sounds, for a progress bar.

    Raises:
      FingerprintMissing: the optional programs are not installed.
      ValueError: the shapes differ.
    """
    reference, test = np.asarray(reference, np.float32), np.asarray(test, np.float32)
    if reference.shape != test.shape or reference.ndim != 2:
        raise ValueError(f"fingerprint: sounds must be [B, T] of one shape (got {reference.shape} and {test.shape})")
    check_available()
    both = fingerprints(np.concatenate([reference, test]), sample_rate, doubled=doubled, progress=progress)
    pairs = list(zip(both[: len(reference)], both[len(reference) :], strict=True))
    return FingerprintScores(np.array([string_ratio(*pair) for pair in pairs]), np.array([bit_agreement(*p) for p in pairs]))


def fingerprints(
    waves: np.ndarray,
    sample_rate: int,
    *,
    doubled: bool = True,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> list[Fingerprint]:
    """Computes the fingerprints of sounds, with parallel FFmpeg processes.

    Args:
      waves: [B, T] samples.
      sample_rate: sample rate in Hz.
      doubled: whether to repeat each sound once.
      progress: wraps the iterable of sounds, for a progress bar.

    Raises:
      FingerprintMissing: there is no FFmpeg with Chromaprint.
    """
    program = _ffmpeg_path()
    waves = np.concatenate([waves, waves], axis=-1) if doubled else np.asarray(waves)
    with concurrent.futures.ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)))) as pool:
        results = pool.map(lambda wave: _fingerprint(program, wave, sample_rate), waves)
        return list(results if progress is None else progress(results))


def string_ratio(a: Fingerprint, b: Fingerprint) -> float:
    """Returns Levenshtein's ratio of the base64 texts, 0 to 100; nan if a sound is too short."""
    from rapidfuzz import fuzz

    return fuzz.ratio(a.text, b.text) if len(a.bits) and len(b.bits) else float("nan")


def bit_agreement(a: Fingerprint, b: Fingerprint) -> float:
    """Returns the share of equal bits over the common duration, 0 to 1; nan if too short."""
    count = min(len(a.bits), len(b.bits))
    if not count:
        return float("nan")
    return 1.0 - float(np.bitwise_count(a.bits[:count] ^ b.bits[:count]).mean()) / 32.0


def _fingerprint(program: str, wave: np.ndarray, sample_rate: int) -> Fingerprint:
    """Computes the fingerprint of one sound with FFmpeg."""
    samples = np.ascontiguousarray(np.clip(wave, -1.0, 1.0), "<f4").tobytes()
    source = [program, "-v", "error", "-f", "f32le", "-ar", str(sample_rate), "-ac", "1", "-i", "-"]
    outputs = []
    for kind in ("base64", "raw"):
        done = subprocess.run([*source, "-f", "chromaprint", "-fp_format", kind, "-"], input=samples, capture_output=True)
        if done.returncode:
            reason = " ".join(done.stderr.decode(errors="replace").split())[:200]
            raise ValueError(f"fingerprint: FFmpeg failed ({reason or f'exit code {done.returncode}'})")
        outputs.append(done.stdout)
    return Fingerprint(outputs[0].decode("ascii").strip(), np.frombuffer(outputs[1], "<u4"))


@functools.cache
def _ffmpeg_path() -> str:
    """Finds an FFmpeg with Chromaprint: that of imageio-ffmpeg or that of the system.

    Raises:
      FingerprintMissing: neither is installed.
    """
    candidates = [lambda: shutil.which("ffmpeg")]
    if importlib.util.find_spec("imageio_ffmpeg") is not None:
        import imageio_ffmpeg

        candidates.insert(0, imageio_ffmpeg.get_ffmpeg_exe)
    for candidate in candidates:
        try:
            program = candidate()
            if program:
                known = subprocess.run([program, "-v", "error", "-muxers"], capture_output=True, text=True, check=True).stdout
                if "chromaprint" in known:
                    return program
        except (OSError, RuntimeError, subprocess.SubprocessError):
            continue
    raise FingerprintMissing(f"fingerprint: no FFmpeg with Chromaprint; run {INSTALL_COMMAND}")
