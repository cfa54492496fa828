"""The pitch that a SoundFont voice has: that of its sample, times the speed at which the player plays it.

A bank's key, root key and tuning say what pitch is meant. Banks use the fine tuning to correct samples that are off, and some
presets sound an octave from their key; so the sample itself is measured, at its full rate and where the note holds it.
Host code (numpy, float64).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_CLEAR = 0.8  # of the normalized autocorrelation; below, a sample has no pitch
_OCTAVES = 2.1  # how far from the pitch that is meant a sample may sound; a long loop repeats too
_MIN_LAG = 4  # samples: the shortest period
_NEARLY = 0.6  # of it, at the period that is meant
AUDIBLE = 0.03  # of the loudest voice's energy (-15 dB): what counts for the pitch of voices together
_FIRST_PEAK = 0.93  # share of the highest peak that the first one to be taken has to reach
_MAX_MULTIPLE = 4  # voices at up to so many times the common fundamental


def autocorrelation_pitch(wave: np.ndarray, *, meant: float) -> float:
    """Pitch of a steady sound in cycles a sample, or 0 where it has none.

    The normalized square difference function of McLeod and Wyvill (2005, "A smarter way to find pitch"), its first high
    peak; then the same peak at multiples of that lag, as far as it stays high, for its precision.

    Args:
      wave: [T] of any scale; the longest period that is found is T / 2.
      meant: the pitch it is meant to have, in cycles a sample. Where the sound repeats nearly as well with that period as
        with the longer one that was found, it is taken: not so the other way round, since every sound repeats with
        multiples of its period.
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
    rising = rising[np.abs(np.log2(np.maximum(rising * meant, 1e-9))) < _OCTAVES]
    if not len(rising) or match[rising].max() < _CLEAR:
        return 0.0
    first = rising[np.argmax(match[rising] >= _FIRST_PEAK * match[rising].max())]
    near_meant = rising[np.abs(rising * meant - 1) < 0.06]
    if len(near_meant) and near_meant[0] < 0.94 * first and match[near_meant].max() > _NEARLY:
        first = near_meant[np.argmax(match[near_meant])]
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


def _peak(values: np.ndarray, place: int) -> float:
    """Place of a peak by the parabola through its three highest values."""
    a, b, c = values[place - 1 : place + 2]
    bend = a - 2 * b + c
    return place + (0.5 * (a - c) / bend if bend < 0 else 0.0)


def common_fundamental(pitches: Sequence[float], energies: Sequence[float], *, cents: float) -> tuple[float, bool]:
    """The pitch of voices that sound together, and whether they clash.

    The highest pitch of which every voice is a whole multiple, at most the fourth, within `cents`; where there is none, the
    loudest voice's, and they clash. Voices more than 15 dB under the loudest do not count.
    """
    loudest = int(np.argmax(energies))
    heard = [p for p, its in zip(pitches, energies, strict=True) if its > AUDIBLE * energies[loudest] and p > 0]
    for divisor in range(1, _MAX_MULTIPLE + 1):
        fundamental = pitches[loudest] / divisor
        multiples = [max(1, round(pitch / fundamental)) for pitch in heard]
        off = [abs(1200 * np.log2(p / (n * fundamental))) for p, n in zip(heard, multiples, strict=True)]
        if max(multiples, default=1) <= 2 * _MAX_MULTIPLE and max(off, default=0.0) <= cents:
            return fundamental, False
    return pitches[loudest], True
