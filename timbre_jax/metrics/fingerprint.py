"""Chromaprint similarity: how alike two sounds' fingerprints are, as a string (the thesis') and bit by bit.

Chromaprint (L. Lalinský, acoustid.org) says which song a recording is of, from chroma over 2.6 s: it measures pitch content
over time, not quality. Unrelated sounds score far above 0, so the figure needs that of unrelated pairs beside it.

Optional: `pip install imageio-ffmpeg rapidfuzz` (a build of FFmpeg with Chromaprint, and Levenshtein's ratio).
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

HOW_TO_GET = "pip install imageio-ffmpeg rapidfuzz"


class FingerprintMissing(ValueError):
    """Chromaprint or rapidfuzz is not there; the message says how to get them."""


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Of one sound: `text`, compressed and in base64, and `bits` [n] uint32, one every 0.124 s; n = 0 where too short."""

    text: str
    bits: np.ndarray


@dataclasses.dataclass(frozen=True)
class FingerprintScores:
    """Of pairs of sounds, [B] each; nan where a sound is too short for a fingerprint.

    Attributes:
      string_ratio: 0-100, Levenshtein's ratio of the base64 texts: the thesis' figure (fuzzywuzzy's "simple ratio").
      bit_agreement: 0-1, share of equal bits of the raw fingerprints at the same times; 0.5 for independent bits.
    """

    string_ratio: np.ndarray
    bit_agreement: np.ndarray


def require() -> None:
    """Raises FingerprintMissing, which says how to get them, where the optional programs are not there."""
    _program()
    if importlib.util.find_spec("rapidfuzz") is None:
        raise FingerprintMissing(f"the ratio of fingerprints needs rapidfuzz: {HOW_TO_GET}")


def fingerprint_scores(
    reference: np.ndarray,
    test: np.ndarray,
    sample_rate: int,
    *,
    doubled: bool = True,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> FingerprintScores:
    """How alike the fingerprints of sounds [B, T] and their originals are.

    Args:
      doubled: each sound is followed by itself once more, as in the thesis: one of 2 s is too short otherwise.

    Raises:
      FingerprintMissing: the optional programs are not there.
      ValueError: shapes that differ.
    """
    reference, test = np.asarray(reference, np.float32), np.asarray(test, np.float32)
    if reference.shape != test.shape or reference.ndim != 2:
        raise ValueError(f"fingerprints are compared of sounds [B, T] of one shape, not {reference.shape} and {test.shape}")
    require()
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
    """Fingerprints of waves [B, T]; one short process of FFmpeg each, as many at once as there are cores."""
    program = _program()
    waves = np.concatenate([waves, waves], axis=-1) if doubled else np.asarray(waves)
    with concurrent.futures.ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)))) as pool:
        found = pool.map(lambda wave: _fingerprint(program, wave, sample_rate), waves)
        return list(found if progress is None else progress(found))


def string_ratio(a: Fingerprint, b: Fingerprint) -> float:
    """Levenshtein's ratio of the texts, 0-100; nan where one is of too short a sound."""
    from rapidfuzz import fuzz

    return fuzz.ratio(a.text, b.text) if len(a.bits) and len(b.bits) else float("nan")


def bit_agreement(a: Fingerprint, b: Fingerprint) -> float:
    """Share of equal bits where both have some, 0-1; nan where one is of too short a sound."""
    count = min(len(a.bits), len(b.bits))
    if not count:
        return float("nan")
    return 1.0 - float(np.bitwise_count(a.bits[:count] ^ b.bits[:count]).mean()) / 32.0


def _fingerprint(program: str, wave: np.ndarray, sample_rate: int) -> Fingerprint:
    samples = np.ascontiguousarray(np.clip(wave, -1.0, 1.0), "<f4").tobytes()
    source = [program, "-v", "error", "-f", "f32le", "-ar", str(sample_rate), "-ac", "1", "-i", "-"]
    found = []
    for kind in ("base64", "raw"):
        done = subprocess.run([*source, "-f", "chromaprint", "-fp_format", kind, "-"], input=samples, capture_output=True)
        if done.returncode:
            reason = " ".join(done.stderr.decode(errors="replace").split())[:200]
            raise ValueError(f"FFmpeg made no fingerprint of a sound ({reason or f'exit code {done.returncode}'})")
        found.append(done.stdout)
    return Fingerprint(found[0].decode("ascii").strip(), np.frombuffer(found[1], "<u4"))


@functools.cache
def _program() -> str:
    """An FFmpeg that knows Chromaprint: that of imageio-ffmpeg, or the system's.

    Raises FingerprintMissing where there is none.
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
    raise FingerprintMissing(f"there is no FFmpeg with Chromaprint here: {HOW_TO_GET}")
