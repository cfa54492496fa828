"""Copies of a sound among many: the same samples, or the same sound at another level, rate or place in its file.

Every sound gets a `mark` when it is loaded: what its first seconds are like from its onset on, coarsely. Sounds whose marks are
near each other are compared sample by sample; marks alone decide nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from timbre_jax.audio.io import resample
from timbre_jax.data.importers.splits import DisjointSets

SAME_CORRELATION = 0.98
"""Two sounds whose samples correlate at least so much, once aligned, are copies: noise 14 dB under the sound is allowed."""
NEAR_DB = 4.0
"""Marks that differ by less than this (root mean square over their cells) may be of copies."""
ONSET_DB = -40.0
"""A sound begins where it first comes within this of its peak."""

_RATE, _WIDE_RATE = 8000, 16000
_FFT, _HOP = 512, 128  # at 16 kHz
_BANDS = np.round(np.geomspace(2, 257, 17)).astype(int)  # 62 Hz to 8 kHz
_LOW_BANDS = int(np.searchsorted(_BANDS[1:], 3600 / _WIDE_RATE * _FFT, side="right"))  # all files have what lies under 3.6 kHz
_TIMES = np.array([0, 1, 2, 4, 8, 16, 32, 64, 128, 256])  # frames of 8 ms: up to 2 s from the onset
_RANGE_DB = 45.0
_SHIFT_SECONDS = 0.05


def onset(wave: np.ndarray) -> int:
    """Where a wave [T] first comes within `ONSET_DB` of its peak, in samples; 0 for silence."""
    level = np.abs(wave)
    peak = float(level.max(initial=0.0))
    return int(np.argmax(level >= peak * 10 ** (ONSET_DB / 20))) if peak > 0 else 0


def mark(wave: np.ndarray, rate: int, own_rate: int) -> bytes:
    """What a sound is like, coarsely: level in dB over 9 stretches of time from its onset and 16 bands of frequency.

    Args:
      wave: [T] at `rate` Hz. own_rate: that of the file: what lies above half of it is missing, not silent.
    """
    wide = resample(wave, rate, _WIDE_RATE) if rate != _WIDE_RATE else wave
    wide = wide[onset(wide) :][: _TIMES[-1] * _HOP + _FFT]
    padded = np.pad(wide, (_FFT // 2, _TIMES[-1] * _HOP + _FFT - len(wide)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP][: _TIMES[-1]]
    power = np.abs(np.fft.rfft(frames * np.hanning(_FFT).astype(np.float32), axis=-1)) ** 2
    bands = np.add.reduceat(power[:, : _BANDS[-1]], _BANDS[:-1], axis=1)
    cells = np.add.reduceat(bands, _TIMES[:-1], axis=0) / np.diff(_TIMES)[:, None]
    decibels = 10 * np.log10(np.maximum(cells, 1e-20)).astype(np.float16)
    narrow = min(rate, own_rate) < _WIDE_RATE
    return bytes([narrow]) + decibels.tobytes()


def groups_of_copies(
    marks: Sequence[bytes], digests: Sequence[str], rate: int, read: Callable[[int], np.ndarray]
) -> list[list[int]]:
    """Groups sounds of which each is a copy of another in its group.

    Args:
      marks: of each sound. digests: equal for equal samples. rate: of all sounds, in Hz.
      read: number of a sound to its samples [T].

    Returns:
      Groups of numbers, each ascending, ordered by their first; a sound without copies is a group of one.
    """
    first = {digest: number for number, digest in reversed(list(enumerate(digests)))}
    copies = DisjointSets(len(marks))
    for number, digest in enumerate(digests):
        copies.join(first[digest], number)
    distinct = np.array(sorted(first.values()), np.int64)
    narrow, levels = _unpack([marks[number] for number in distinct])
    wide = np.flatnonzero(~narrow)
    pairs = itertools.chain(
        _near(_relative(levels), wide, wide),
        _near(_relative(levels[:, :, :_LOW_BANDS]), np.flatnonzero(narrow), np.arange(len(distinct))),
    )
    held: tuple[int, np.ndarray | None] = (-1, None)
    for a, b in pairs:
        one, other = int(distinct[a]), int(distinct[b])
        if copies.root(one) == copies.root(other):
            continue
        compared = _RATE if narrow[a] or narrow[b] else _WIDE_RATE
        if held[0] != one:  # pairs of one sound come one after another: it is read once for all that are like it
            held = (one, read(one))
        if same_sound(held[1], read(other), rate, compared_rate=compared):
            copies.join(one, other)
    return copies.groups()


def same_sound(one: np.ndarray, other: np.ndarray, rate: int, *, compared_rate: int = _WIDE_RATE) -> bool:
    """Whether two waves [T] are the same sound, whatever their levels, their sign and the silence before them.

    They are aligned at their onsets, shifted by up to 50 ms to where they agree best, and correlated in full length: the
    beginning of a sound is no copy of it.
    """
    a, b = (_prepared(wave, rate, min(rate, compared_rate)) for wave in (one, other))
    size = 1 << (len(a) + len(b)).bit_length()
    energy = float(np.dot(a, a)) * float(np.dot(b, b))
    if energy <= 0:
        return False
    correlation = np.abs(np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size))
    reach = round(_SHIFT_SECONDS * min(rate, compared_rate))
    return float(max(correlation[: reach + 1].max(), correlation[-reach:].max())) >= SAME_CORRELATION * np.sqrt(energy)


def _prepared(wave: np.ndarray, rate: int, to: int) -> np.ndarray:
    wave = np.asarray(wave, np.float32)
    wave = wave[onset(wave) :]
    wave = np.pad(wave, (0, max(0, _FFT - len(wave))))  # a click does not outlive its own resampling
    wave = (resample(wave, rate, to) if rate != to else wave).astype(np.float64)
    return wave - wave.mean()


def _unpack(marks: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    raw = np.frombuffer(b"".join(marks), np.uint8).reshape(len(marks), -1)
    levels = np.ascontiguousarray(raw[:, 1:]).view(np.float16).astype(np.float32)
    return raw[:, 0].astype(bool), levels.reshape(len(marks), len(_TIMES) - 1, len(_BANDS) - 1)


def _relative(levels: np.ndarray) -> np.ndarray:
    """Levels relative to the loudest cell of each sound, floored: [n, cells] float32."""
    flat = levels.reshape(len(levels), -1)
    return np.maximum(flat - flat.max(axis=1, keepdims=True), -_RANGE_DB)


def _near(points: np.ndarray, rows: np.ndarray, others: np.ndarray, block: int = 1024) -> Iterator[tuple[int, int]]:
    """Pairs (row, another point) that lie within `NEAR_DB` of each other, over cells where either sounds, row by row; some of
    them come from both sides.

    All pairs are looked at, in blocks: n^2 * 290 multiplications and no memory that grows with n^2.
    """
    points = points + np.float32(_RANGE_DB)
    sounding = (points > 0).astype(np.float32)
    squares, cells = np.sum(points**2, axis=1), np.sum(sounding, axis=1)
    for start in range(0, len(rows), block):
        here = rows[start : start + block]
        for begin in range(0, len(others), 8 * block):
            there = others[begin : begin + 8 * block]
            if rows is others and there[-1] <= here[0]:
                continue  # these pairs have been seen from the other side
            distance = squares[here, None] + squares[None, there] - 2 * points[here] @ points[there].T
            either = cells[here, None] + cells[None, there] - sounding[here] @ sounding[there].T
            for i, j in np.argwhere(distance <= NEAR_DB**2 * either).tolist():
                a, b = int(here[i]), int(there[j])
                if (a < b) if rows is others else (a != b):
                    yield a, b
