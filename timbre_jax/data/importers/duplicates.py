"""Finds copies of a sound, even with another level, sample rate or leading silence.

Every sound gets a `signature` when it is loaded: a coarse description of its first seconds from the onset on. Sounds with
similar signatures are then compared sample by sample, and only this comparison decides.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from timbre_jax.audio.io import resample
from timbre_jax.data.importers.splits import DisjointSets

SAME_CORRELATION = 0.98
"""Sounds whose aligned samples correlate this much are copies; this tolerates noise at -14 dB."""
NEAR_DB = 4.0
"""Only sounds whose signatures differ by less than this (RMS over their cells) are compared."""
ONSET_DB = -40.0
"""The onset of a sound is its first sample within this distance of the peak."""

_RATE, _WIDE_RATE = 8000, 16000
_FFT, _HOP = 512, 128  # at 16 kHz
_BANDS = np.round(np.geomspace(2, 257, 17)).astype(int)  # 62 Hz to 8 kHz
_LOW_BANDS = int(np.searchsorted(_BANDS[1:], 3600 / _WIDE_RATE * _FFT, side="right"))  # up to 3.6 kHz
_TIMES = np.array([0, 1, 2, 4, 8, 16, 32, 64, 128, 256])  # edges of the intervals in frames of 8 ms, up to 2 s after the onset
_RANGE_DB = 45.0
_SHIFT_SECONDS = 0.05


def onset(wave: np.ndarray) -> int:
    """Returns the first sample of a wave [T] within `ONSET_DB` of its peak, 0 for silence."""
    level = np.abs(wave)
    peak = float(level.max(initial=0.0))
    return int(np.argmax(level >= peak * 10 ** (ONSET_DB / 20))) if peak > 0 else 0


def signature(wave: np.ndarray, rate: int, file_rate: int) -> bytes:
    """Returns a coarse description of a sound: its level in 9 intervals and 16 bands in dB.

    Args:
      wave: [T] samples.
      rate: sample rate of the wave in Hz.
      file_rate: sample rate of the file in Hz; above half of it the content is unknown, not silent.
    """
    wide = resample(wave, rate, _WIDE_RATE)
    wide = wide[onset(wide) :][: _TIMES[-1] * _HOP + _FFT]
    padded = np.pad(wide, (_FFT // 2, _TIMES[-1] * _HOP + _FFT - len(wide)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP][: _TIMES[-1]]
    power = np.abs(np.fft.rfft(frames * np.hanning(_FFT).astype(np.float32), axis=-1)) ** 2
    bands = np.add.reduceat(power[:, : _BANDS[-1]], _BANDS[:-1], axis=1)
    cells = np.add.reduceat(bands, _TIMES[:-1], axis=0) / np.diff(_TIMES)[:, None]
    decibels = 10 * np.log10(np.maximum(cells, 1e-20)).astype(np.float16)
    narrow = min(rate, file_rate) < _WIDE_RATE
    return bytes([narrow]) + decibels.tobytes()


def group_copies(
    signatures: Sequence[bytes], digests: Sequence[str], rate: int, read: Callable[[int], np.ndarray]
) -> list[list[int]]:
    """Groups sounds that are copies of each other.

    Args:
      signatures: signature of each sound.
      digests: digest of each sound, equal for equal samples.
      rate: sample rate in Hz.
      read: returns the samples [T] of a sound by its number.

    Returns:
      Groups of numbers, each ascending, ordered by their first; a sound without copies is a group of one.
    """
    first = {digest: number for number, digest in reversed(list(enumerate(digests)))}
    copies = DisjointSets(len(signatures))
    for number, digest in enumerate(digests):
        copies.join(first[digest], number)
    distinct = np.array(sorted(first.values()), np.int64)
    narrow, levels = _unpack([signatures[number] for number in distinct])
    wide = np.flatnonzero(~narrow)
    pairs = itertools.chain(
        _similar_pairs(_relative(levels), wide, wide),
        _similar_pairs(_relative(levels[:, :, :_LOW_BANDS]), np.flatnonzero(narrow), np.arange(len(distinct))),
    )
    last_read: tuple[int, np.ndarray | None] = (-1, None)
    for a, b in pairs:
        one, other = int(distinct[a]), int(distinct[b])
        if copies.root(one) == copies.root(other):
            continue
        compared = _RATE if narrow[a] or narrow[b] else _WIDE_RATE
        if last_read[0] != one:  # pairs of one sound are consecutive, so it is read once
            last_read = (one, read(one))
        if is_same_sound(last_read[1], read(other), rate, compared_rate=compared):
            copies.join(one, other)
    return copies.groups()


def is_same_sound(one: np.ndarray, other: np.ndarray, rate: int, *, compared_rate: int = _WIDE_RATE) -> bool:
    """Returns whether two waves [T] are equal up to level, sign and leading silence.

    The waves are aligned at their onsets, shifted by up to 50 ms to their best match, and correlated over their full length, so
    the beginning of a sound is not a copy of it. They are compared at `compared_rate` at most.
    """
    a, b = (_from_onset(wave, rate, min(rate, compared_rate)) for wave in (one, other))
    size = 1 << (len(a) + len(b)).bit_length()
    energy = float(np.dot(a, a)) * float(np.dot(b, b))
    if energy <= 0:
        return False
    correlation = np.abs(np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size))
    reach = round(_SHIFT_SECONDS * min(rate, compared_rate))
    return float(max(correlation[: reach + 1].max(), correlation[-reach:].max())) >= SAME_CORRELATION * np.sqrt(energy)


def _from_onset(wave: np.ndarray, rate: int, target_rate: int) -> np.ndarray:
    """Returns a wave from its onset on, resampled, without its mean."""
    wave = np.asarray(wave, np.float32)
    wave = wave[onset(wave) :]
    wave = np.pad(wave, (0, max(0, _FFT - len(wave))))  # a resampled click would be empty
    wave = resample(wave, rate, target_rate).astype(np.float64)
    return wave - wave.mean()


def _unpack(signatures: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the band limit flags [n] and levels [n, intervals, bands] of signatures."""
    raw = np.frombuffer(b"".join(signatures), np.uint8).reshape(len(signatures), -1)
    levels = np.ascontiguousarray(raw[:, 1:]).view(np.float16).astype(np.float32)
    return raw[:, 0].astype(bool), levels.reshape(len(signatures), len(_TIMES) - 1, len(_BANDS) - 1)


def _relative(levels: np.ndarray) -> np.ndarray:
    """Returns levels [n, cells] relative to the loudest cell of a sound, at least -45 dB."""
    flat = levels.reshape(len(levels), -1)
    return np.maximum(flat - flat.max(axis=1, keepdims=True), -_RANGE_DB)


def _similar_pairs(points: np.ndarray, rows: np.ndarray, others: np.ndarray, block: int = 1024) -> Iterator[tuple[int, int]]:
    """Yields pairs (row, other) whose levels are within `NEAR_DB`, row by row.

    Cells in which both sounds are silent do not count. Some pairs are yielded in both orders. The pairs are compared in blocks,
    which takes n^2 * 290 multiplications but no memory of the order n^2.
    """
    points = points + np.float32(_RANGE_DB)
    sounding = (points > 0).astype(np.float32)
    squares, cells = np.sum(points**2, axis=1), np.sum(sounding, axis=1)
    for start in range(0, len(rows), block):
        here = rows[start : start + block]
        for begin in range(0, len(others), 8 * block):
            there = others[begin : begin + 8 * block]
            if rows is others and there[-1] <= here[0]:
                continue  # these pairs were compared in the other order
            distance = squares[here, None] + squares[None, there] - 2 * points[here] @ points[there].T
            either = cells[here, None] + cells[None, there] - sounding[here] @ sounding[there].T
            for i, j in np.argwhere(distance <= NEAR_DB**2 * either).tolist():
                a, b = int(here[i]), int(there[j])
                if (a < b) if rows is others else (a != b):
                    yield a, b
