"""PEAQ's FFT-based ear model: from frames of samples to excitation patterns in critical bands. Float64 numpy.

ITU-R BS.1387-1, annex 2, section 2.1, in the reading of P. Kabal, "An Examination and Interpretation of ITU-R BS.1387"
(TSP Lab, McGill University, 2003), whose sections are named below. Float64 because the bandwidth variables compare bins
that lie 100 dB under the loudest one, where a float32 transform has nothing but rounding.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

RATE = 48000
FRAME = 2048
HOP = 1024
FRAME_RATE = RATE / HOP
# Samples are taken at the scale of 16-bit integers: thresholds of the standard are written at that scale.
FULL_SCALE = 32768.0
LISTENING_LEVEL_DB = 92.0
BAND_WIDTH_BARK = 0.25
LOWEST_HZ, HIGHEST_HZ = 80.0, 18000.0
SMALLEST_BAND_ENERGY = 1e-12
SPREADING_EXPONENT = 0.4


@dataclasses.dataclass(frozen=True)
class Excitation:
    """What the ear model says of pairs of frames.

    Attributes:
      power: [2, B, N, 1025] power spectra of reference and test, before the outer ear.
      unsmeared: [2, B, N, 109] excitation patterns, spread over frequency but not over time.
      noise: [B, N, 109] energy of the difference of the magnitude spectra in each band.
    """

    power: np.ndarray
    unsmeared: np.ndarray
    noise: np.ndarray


def ear_model(frames: np.ndarray) -> Excitation:
    """Frames of reference and test, [2, B, N, 2048] at 16-bit scale."""
    spectra = np.fft.rfft(frames * _scaled_window())
    power = np.square(spectra.real) + np.square(spectra.imag)
    magnitude = np.sqrt(power * ear_weight())
    difference = np.square(magnitude[0] - magnitude[1])
    energy = _band_energy(np.concatenate([np.square(magnitude), difference[None]]))
    excited = spread(energy[:2] + internal_noise())
    return Excitation(power, excited, energy[2])


def frames_of(waves: np.ndarray, count: int) -> np.ndarray:
    """The first `count` frames of waves [..., T], hop 1024, silence after their end: a view [..., count, 2048]."""
    needed = (count - 1) * HOP + FRAME
    missing = max(0, needed - waves.shape[-1])
    padded = np.pad(waves, [(0, 0)] * (waves.ndim - 1) + [(0, missing)])[..., :needed]
    return np.lib.stride_tricks.sliding_window_view(padded, FRAME, axis=-1)[..., ::HOP, :]


def hann(length: int) -> np.ndarray:
    """The standard's symmetric Hann window, 0 at both ends (Kabal 2.2)."""
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(length) / (length - 1))


@functools.cache
def _scaled_window() -> np.ndarray:
    """The window with the gain that makes a full-scale sine of 1019.5 Hz as loud as 92 dB (Kabal 2.4)."""
    bins = 1019.5 * FRAME / RATE
    # The sine lies between two bins: what is taken for its peak is the nearer one.
    offset = min(np.floor(bins) + 1 - bins, bins - np.floor(bins)) * (FRAME - 1) / FRAME
    peak = np.sin(np.pi * offset) / (np.pi * offset * (1.0 - offset**2))
    return hann(FRAME) * 10.0 ** (LISTENING_LEVEL_DB / 20.0) / (peak * FULL_SCALE / 4.0 * (FRAME - 1))


@functools.cache
def ear_weight() -> np.ndarray:
    """Power response of the outer and middle ear at the 1025 bins (Terhardt 1979; Kabal 2.5); 0 at 0 Hz."""
    khz = np.arange(1, FRAME // 2 + 1) * (RATE / FRAME / 1000.0)
    db = -2.184 * khz**-0.8 + 6.5 * np.exp(-0.6 * (khz - 3.3) ** 2) - 0.001 * khz**3.6
    return np.concatenate([[0.0], 10.0 ** (db / 10.0)])


@functools.cache
def bands() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower, center and upper frequencies in Hz of the 109 bands, a quarter of a Bark wide (Kabal 2.6).

    Bark = 7 asinh(f / 650) (Schroeder et al. 1979). The formula's values; the standard's printed table differs in three
    numbers, which are misprints.
    """
    lowest, highest = (7.0 * np.arcsinh(f / 650.0) for f in (LOWEST_HZ, HIGHEST_HZ))
    count = int(np.ceil((highest - lowest) / BAND_WIDTH_BARK))
    lower = lowest + BAND_WIDTH_BARK * np.arange(count)
    upper = np.minimum(lower + BAND_WIDTH_BARK, highest)
    return tuple(650.0 * np.sinh(z / 7.0) for z in (lower, 0.5 * (lower + upper), upper))


@functools.cache
def _band_shares() -> np.ndarray:
    """[1025, 109]: which share of each bin, as wide as the distance of bins, lies in each band."""
    lower, _, upper = bands()
    centers = np.arange(FRAME // 2 + 1)[:, None]
    low, high = lower * FRAME / RATE, upper * FRAME / RATE
    return np.maximum(0.0, np.minimum(high, centers + 0.5) - np.maximum(low, centers - 0.5))


def _band_energy(power: np.ndarray) -> np.ndarray:
    return np.maximum(power @ _band_shares(), SMALLEST_BAND_ENERGY)


@functools.cache
def internal_noise() -> np.ndarray:
    """Energy of the ear's own noise in each band (Kabal 2.7)."""
    _, center, _ = bands()
    return 10.0 ** (0.1456 * (center / 1000.0) ** -0.8)


def spread(energy: np.ndarray) -> np.ndarray:
    """Spreading over bands, [..., 109] (Kabal 2.8): level-dependent upwards, 27 dB a Bark downwards, added as E^0.4."""
    return _spread(energy) / _spread_of_ones()


@functools.cache
def _spread_of_ones() -> np.ndarray:
    return _spread(np.ones(len(bands()[1])))


def _spread(energy: np.ndarray) -> np.ndarray:
    _, center, _ = bands()
    count, index = len(center), np.arange(len(center))
    down = 10.0 ** (-2.7 * BAND_WIDTH_BARK)
    up = 10.0 ** ((-2.4 - 23.0 / center) * BAND_WIDTH_BARK) * energy ** (0.2 * BAND_WIDTH_BARK)
    # Each band's spreading function sums to 1 over all bands.
    below = (1.0 - down ** (index + 1)) / (1.0 - down)
    above = (1.0 - up ** (count - index)) / (1.0 - up)
    parts = (energy / (below + above - 1.0)) ** SPREADING_EXPONENT
    down, up = down**SPREADING_EXPONENT, up**SPREADING_EXPONENT
    total = parts.copy()
    for band in range(count - 2, -1, -1):
        total[..., band] += down * total[..., band + 1]
    risen = parts
    for distance in range(1, count):
        risen = risen[..., :-1] * up[..., : count - distance]
        total[..., distance:] += risen
    return total ** (1.0 / SPREADING_EXPONENT)
