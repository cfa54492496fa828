"""Measures the pitch of SoundFont samples and the common fundamental of voices.

Key, root key and tuning of a bank state the intended pitch. Banks correct detuned samples by fine tuning, and some presets
sound an octave off their key; the samples are therefore measured, at their full rate and in the held part of the note. Host
code (numpy, float64).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_MIN_CLARITY = 0.8  # normalized autocorrelation below which a sample has no pitch
_MAX_OCTAVES = 2.1  # largest distance from the nominal pitch; long loops also repeat
_MIN_LAG = 4  # shortest period in samples
_NOMINAL_CLARITY = 0.6  # normalized autocorrelation at which the nominal period is preferred
AUDIBLE_SHARE = 0.03  # share of the loudest voice's energy (-15 dB) above which a voice counts for the common pitch
_FIRST_PEAK_SHARE = 0.93  # share of the highest peak that the first peak must reach
_MAX_MULTIPLE = 4  # largest multiple of the common fundamental


def autocorrelation_pitch(wave: np.ndarray, *, nominal: float) -> float:
    """Returns the pitch of a steady sound in cycles per sample, or 0 if it has none.

    Uses the first high peak of the normalized square difference function (McLeod and Wyvill 2005, "A smarter way to find
    pitch"), refined at multiples of its lag as long as these peaks stay high.

    Args:
      wave: [T] samples; the longest period is T / 2.
      nominal: intended pitch in cycles per sample. A shorter period near it is preferred if the sound repeats nearly as well
        with it; not the reverse, since every sound repeats with multiples of its period.
    """
    wave = np.asarray(wave, np.float64)
    wave = wave - wave.mean()
    size = len(wave)
    spectrum = np.fft.rfft(wave, 2 * size)
    products = np.fft.irfft(np.abs(spectrum) ** 2)[: size // 2]
    squares = np.concatenate([[0.0], np.cumsum(wave**2)])
    lags = np.arange(len(products))
    energy = squares[size - lags] + squares[-1] - squares[lags]
    if energy[0] <= 0:
        return 0.0
    match = 2 * products / np.maximum(energy, 1e-12 * energy[0])
    negative = np.flatnonzero(match < 0)
    if not len(negative):
        return 0.0
    rising = np.flatnonzero((match[1:-1] > match[:-2]) & (match[1:-1] >= match[2:])) + 1
    rising = rising[(rising > negative[0]) & (rising >= _MIN_LAG) & (match[rising] > 0)]
    if nominal:
        rising = rising[np.abs(np.log2(np.maximum(rising * nominal, 1e-9))) < _MAX_OCTAVES]
    if not len(rising) or match[rising].max() < _MIN_CLARITY:
        return 0.0
    first = rising[np.argmax(match[rising] >= _FIRST_PEAK_SHARE * match[rising].max())]
    near_nominal = rising[np.abs(rising * nominal - 1) < 0.06]
    if len(near_nominal) and near_nominal[0] < 0.94 * first and match[near_nominal].max() > _NOMINAL_CLARITY:
        first = near_nominal[np.argmax(match[near_nominal])]
    lag, multiple, height = _peak(match, first), 1, match[first]
    while True:
        doubled = 2 * lag * multiple
        if doubled > len(match) - 4:
            return 1 / lag
        near = round(doubled)
        reach = max(1, round(0.1 * lag))
        low = max(1, near - reach)
        best = low + int(np.argmax(match[low : near + reach + 1]))
        if best + 1 >= len(match) or match[best] < 0.97 * height:
            return 1 / lag
        multiple *= 2
        lag = _peak(match, best) / multiple


def _peak(values: np.ndarray, index: int) -> float:
    """Returns the position of a peak by a parabola through its three highest values."""
    a, b, c = values[index - 1 : index + 2]
    bend = a - 2 * b + c
    return index + (0.5 * (a - c) / bend if bend < 0 else 0.0)


def common_fundamental(pitches: Sequence[float], energies: Sequence[float], *, cents: float) -> tuple[float, bool]:
    """Returns the pitch of simultaneous voices, and whether they lack a common fundamental.

    It is the highest pitch of which every voice is a multiple (at most the fourth), within `cents`; otherwise that of the
    loudest voice. Voices more than 15 dB below the loudest do not count.
    """
    loudest = int(np.argmax(energies))
    audible = [p for p, energy in zip(pitches, energies, strict=True) if energy > AUDIBLE_SHARE * energies[loudest] and p > 0]
    for divisor in range(1, _MAX_MULTIPLE + 1):
        fundamental = pitches[loudest] / divisor
        multiples = [max(1, round(pitch / fundamental)) for pitch in audible]
        off = [abs(1200 * np.log2(p / (n * fundamental))) for p, n in zip(audible, multiples, strict=True)]
        if max(multiples, default=1) <= 2 * _MAX_MULTIPLE and max(off, default=0.0) <= cents:
            return fundamental, False
    return pitches[loudest], True
