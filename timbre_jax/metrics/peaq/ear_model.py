"""FFT-based ear model of PEAQ: excitation patterns in critical bands.

ITU-R BS.1387-1, annex 2, section 2.1, in the reading of P. Kabal, "An Examination and Interpretation of ITU-R BS.1387:
Perceptual Evaluation of Audio Quality" (TSP Lab, McGill University, 2003), section 2. It uses float64 numpy, because the
bandwidth variables compare bins that are 100 dB below the loudest one, which is rounding noise in float32.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

RATE = 48000
FRAME = 2048
HOP = 1024
FRAME_RATE = RATE / HOP
# The thresholds of the standard are for samples at the scale of 16-bit integers.
FULL_SCALE = 32768.0
LISTENING_LEVEL_DB = 92.0
BAND_WIDTH_BARK = 0.25
LOWEST_HZ, HIGHEST_HZ = 80.0, 18000.0
SMALLEST_BAND_ENERGY = 1e-12
SPREADING_EXPONENT = 0.4


@dataclasses.dataclass(frozen=True)
class Excitation:
    """Output of the ear model for B pairs of N frames.

    Attributes:
      power: [2, B, N, 1025] power spectra of reference and test, before the outer ear.
      unsmeared: [2, B, N, 109] excitation patterns, spread over frequency but not over time.
      noise: [B, N, 109] energy of the difference of the magnitude spectra in each band.
    """

    power: np.ndarray
    unsmeared: np.ndarray
    noise: np.ndarray


def ear_model(frames: np.ndarray) -> Excitation:
    """Computes excitation patterns of frames (BS.1387-1, annex 2, section 2.1).

    Args:
      frames: [2, B, N, 2048] of reference and test, at the scale of 16-bit integers.
    """
    spectra = np.fft.rfft(frames * _scaled_window())
    power = np.square(spectra.real) + np.square(spectra.imag)
    magnitude = np.sqrt(power * ear_weight())
    difference = np.square(magnitude[0] - magnitude[1])
    energy = _sum_in_bands(np.concatenate([np.square(magnitude), difference[None]]))
    excited = spread(energy[:2] + internal_noise())
    return Excitation(power, excited, energy[2])


def cut_frames(waves: np.ndarray, count: int) -> np.ndarray:
    """Cuts waves into frames with hop 1024; waves are zero beyond their ends.

    Args:
      waves: [..., T] samples.
      count: number of frames.

    Returns:
      [..., count, 2048], a view.
    """
    needed = (count - 1) * HOP + FRAME
    missing = max(0, needed - waves.shape[-1])
    padded = np.pad(waves, [(0, 0)] * (waves.ndim - 1) + [(0, missing)])[..., :needed]
    return np.lib.stride_tricks.sliding_window_view(padded, FRAME, axis=-1)[..., ::HOP, :]


def hann(length: int) -> np.ndarray:
    """Returns the symmetric Hann window of the standard, 0 at both ends."""
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(length) / (length - 1))


@functools.cache
def _scaled_window() -> np.ndarray:
    """Returns the window, scaled so that a full-scale sine of 1019.5 Hz has 92 dB."""
    bins = 1019.5 * FRAME / RATE
    # The frequency is between two bins, and the nearer bin has the peak.
    offset = min(np.floor(bins) + 1 - bins, bins - np.floor(bins)) * (FRAME - 1) / FRAME
    peak = np.sin(np.pi * offset) / (np.pi * offset * (1.0 - offset**2))
    return hann(FRAME) * 10.0 ** (LISTENING_LEVEL_DB / 20.0) / (peak * FULL_SCALE / 4.0 * (FRAME - 1))


@functools.cache
def ear_weight() -> np.ndarray:
    """Returns the power response of the outer and middle ear at the 1025 bins; 0 at 0 Hz.

    Terhardt 1979; BS.1387-1, annex 2, section 2.1.4.
    """
    khz = np.arange(1, FRAME // 2 + 1) * (RATE / FRAME / 1000.0)
    db = -2.184 * khz**-0.8 + 6.5 * np.exp(-0.6 * (khz - 3.3) ** 2) - 0.001 * khz**3.6
    return np.concatenate([[0.0], 10.0 ** (db / 10.0)])


@functools.cache
def bands() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns lower, center and upper frequencies in Hz of the 109 bands of 1/4 Bark.

    Bark = 7 asinh(f / 650) (Schroeder et al. 1979; BS.1387-1, annex 2, section 2.1.5). They are computed from the formula;
    three numbers of the printed table of the standard differ, which are misprints.
    """
    lowest, highest = (7.0 * np.arcsinh(f / 650.0) for f in (LOWEST_HZ, HIGHEST_HZ))
    count = int(np.ceil((highest - lowest) / BAND_WIDTH_BARK))
    lower = lowest + BAND_WIDTH_BARK * np.arange(count)
    upper = np.minimum(lower + BAND_WIDTH_BARK, highest)
    return tuple(650.0 * np.sinh(z / 7.0) for z in (lower, 0.5 * (lower + upper), upper))


@functools.cache
def _band_shares() -> np.ndarray:
    """Returns the share [1025, 109] of each bin in each band."""
    lower, _, upper = bands()
    centers = np.arange(FRAME // 2 + 1)[:, None]
    low, high = lower * FRAME / RATE, upper * FRAME / RATE
    return np.maximum(0.0, np.minimum(high, centers + 0.5) - np.maximum(low, centers - 0.5))


def _sum_in_bands(power: np.ndarray) -> np.ndarray:
    """Sums power spectra [..., 1025] in bands [..., 109]."""
    return np.maximum(power @ _band_shares(), SMALLEST_BAND_ENERGY)


@functools.cache
def internal_noise() -> np.ndarray:
    """Returns the energy of the internal noise of the ear by band (BS.1387-1, section 2.1.6)."""
    _, center, _ = bands()
    return 10.0 ** (0.1456 * (center / 1000.0) ** -0.8)


def spread(energy: np.ndarray) -> np.ndarray:
    """Spreads energy over bands (BS.1387-1, annex 2, section 2.1.7).

    The slope is 27 dB per Bark toward low frequencies and depends on level toward high ones; contributions add as E^0.4.

    Args:
      energy: [..., 109] energy in each band.

    Returns:
      [..., 109].
    """
    return _spread(energy) / _spread_of_ones()


@functools.cache
def _spread_of_ones() -> np.ndarray:
    """Returns the spread of equal energies, by which spreading is normalized."""
    return _spread(np.ones(len(bands()[1])))


def _spread(energy: np.ndarray) -> np.ndarray:
    """Spreads energy over bands, without normalization."""
    _, center, _ = bands()
    count, index = len(center), np.arange(len(center))
    down = 10.0 ** (-2.7 * BAND_WIDTH_BARK)
    up = 10.0 ** ((-2.4 - 23.0 / center) * BAND_WIDTH_BARK) * energy ** (0.2 * BAND_WIDTH_BARK)
    # The spreading function of each band sums to 1 over all bands.
    below = (1.0 - down ** (index + 1)) / (1.0 - down)
    above = (1.0 - up ** (count - index)) / (1.0 - up)
    parts = (energy / (below + above - 1.0)) ** SPREADING_EXPONENT
    down, up = down**SPREADING_EXPONENT, up**SPREADING_EXPONENT
    total = parts.copy()
    for band in range(count - 2, -1, -1):
        total[..., band] += down * total[..., band + 1]
    upward = parts
    for distance in range(1, count):
        upward = upward[..., :-1] * up[..., : count - distance]
        total[..., distance:] += upward
    return total ** (1.0 / SPREADING_EXPONENT)
