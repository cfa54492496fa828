"""Model output variables of PEAQ Basic, for each frame and averaged over a sound.

ITU-R BS.1387-1, annex 2, sections 3.3, 4 and 5, in the reading of Kabal 2003. Float64 numpy for B pairs of N frames in
parallel. `counted` [B, N] marks the frames between the first and the last sample of the reference.
"""

from __future__ import annotations

import functools

import numpy as np

from timbre_jax.metrics.peaq.ear_model import BAND_WIDTH_BARK, FRAME, FRAME_RATE, HOP, bands, internal_noise
from timbre_jax.metrics.peaq.patterns import Patterns

VARIABLES = (
    "BandwidthRefB", "BandwidthTestB", "TotalNMRB", "WinModDiff1B", "ADBB", "EHSB", "AvgModDiff1B", "AvgModDiff2B",
    "RmsNoiseLoudB", "MFPDB", "RelDistFramesB",
)  # fmt: skip
BANDWIDTH_TOP, BANDWIDTH_LOWEST = 921, 346
LAGS = 256
QUIET_FRAME_ENERGY = 8000.0
SETTLING_FRAMES = int(np.ceil(0.5 * FRAME_RATE))
ONSET_FRAMES = int(np.ceil(0.05 * FRAME_RATE))
WINDOW_FRAMES = int(0.1 * FRAME_RATE)
LOUD_SONE = 0.1
SMALLEST_POWER = 1e-20


def modulation_differences(patterns: Patterns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes the modulation differences and the weight of each frame (section 4.2).

    Args:
      patterns: patterns of B pairs of N frames.

    Returns:
      (difference of AvgModDiff1B and WinModDiff1B, difference of AvgModDiff2B, weight), [B, N] each.
    """
    reference, test = patterns.modulation
    difference = np.abs(reference - test)
    count = difference.shape[-1]
    first = 100.0 / count * np.sum(difference / (1.0 + reference), axis=-1)
    lost = np.where(reference > test, 0.1, 1.0)
    second = 100.0 / count * np.sum(lost * difference / (0.01 + reference), axis=-1)
    weight = np.sum(patterns.loudness / (patterns.loudness + 100.0 * internal_noise() ** 0.3), axis=-1)
    return first, second, weight


def noise_loudness(patterns: Patterns) -> np.ndarray:
    """Computes the partial loudness [B, N] of added distortions in sone (section 4.3)."""
    threshold = internal_noise()
    reference, test = patterns.adapted
    slope_reference, slope_test = (0.15 * m + 0.5 for m in patterns.modulation)
    masking = np.exp(-1.5 * (test - reference) / reference)
    added = np.maximum(slope_test * test - slope_reference * reference, 0.0)
    ratio = added / (threshold + slope_reference * reference * masking)
    terms = (threshold / slope_test) ** 0.23 * ((1.0 + ratio) ** 0.23 - 1.0)
    return np.maximum(0.0, 24.0 / terms.shape[-1] * np.sum(terms, axis=-1))


def loudness(excitation: np.ndarray) -> np.ndarray:
    """Computes the total loudness in sone, [..., 109] -> [...] (Zwicker; section 3.3)."""
    threshold, index, scale = _loudness_tables()
    terms = scale * ((1.0 - index + index * excitation / threshold) ** 0.23 - 1.0)
    return 24.0 / len(threshold) * np.sum(np.maximum(terms, 0.0), axis=-1)


@functools.cache
def _loudness_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns threshold, threshold index and scale of the loudness in each band."""
    _, center, _ = bands()
    threshold = 10.0 ** (0.364 * (center / 1000.0) ** -0.8)
    index = 10.0 ** ((-2.0 - 2.05 * np.arctan(center / 4000.0) - 0.75 * np.arctan((center / 1600.0) ** 2)) / 10.0)
    return threshold, index, 1.07664 * (threshold / (index * 1e4)) ** 0.23


def bandwidths(power: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the bandwidths of reference and test in bins (section 4.4).

    They are defined in frames whose reference has a bin above 346 that is 10 dB above the test from bin 921 upward. Sounds
    sampled at 16 kHz never have such a bin, nor does noise over the full band.

    Args:
      power: [2, B, N, 1025] power spectra.

    Returns:
      (reference, test), [B, N] each; -1 where undefined.
    """
    reference, test = power
    floor = np.max(test[..., BANDWIDTH_TOP : FRAME // 2], axis=-1, keepdims=True)
    of_reference = _last_true(reference[..., :BANDWIDTH_TOP] >= 10.0 * floor)
    defined = of_reference > BANDWIDTH_LOWEST
    inside = np.arange(1, BANDWIDTH_TOP + 1) <= of_reference[..., None]
    of_test = _last_true((test[..., :BANDWIDTH_TOP] >= 10.0**0.5 * floor) & inside)
    return np.where(defined, of_reference, -1), np.where(defined, of_test, -1)


def _last_true(flags: np.ndarray) -> np.ndarray:
    """Returns the number of bins up to the last true one, [..., K] -> [...]; 0 if none is."""
    count = flags.shape[-1]
    return np.where(flags.any(-1), count - np.argmax(flags[..., ::-1], axis=-1), 0)


def noise_to_mask(noise: np.ndarray, masker: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the noise-to-mask ratio (sections 4.5 and 4.6).

    Args:
      noise: [B, N, 109] energy of the difference.
      masker: [B, N, 109] smeared excitation of the reference.

    Returns:
      (mean, maximum) over the bands, [B, N] each.
    """
    bark = BAND_WIDTH_BARK * np.arange(noise.shape[-1])
    offset_db = np.where(bark <= 12.0, 3.0, 0.25 * bark)
    ratio = noise / (10.0 ** (-offset_db / 10.0) * masker)
    return ratio.mean(-1), ratio.max(-1)


def detection(smeared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the probability of detection and the steps above threshold (section 4.7).

    Args:
      smeared: [2, B, N, 109] excitation of reference and test.

    Returns:
      (probability, steps), [B, N] each.
    """
    reference, test = 10.0 * np.log10(smeared)
    difference = reference - test
    level = 0.3 * np.maximum(reference, test) + 0.7 * test
    audible = np.maximum(level, 1e-9)
    polynomial = -0.198719 + audible * (0.0550197 + audible * (-0.00102438 + audible * (5.05622e-6 + audible * 9.01033e-11)))
    step = np.where(level > 0.0, 5.95072 * (6.39468 / audible) ** 1.71332 + polynomial, 1e30)
    steepness = np.where(difference > 0.0, 4.0, 6.0)
    undetected = 0.5 ** (np.abs(difference / step) ** steepness)
    return 1.0 - np.prod(undetected, axis=-1), np.sum(np.abs(np.trunc(difference)) / step, axis=-1)


def harmonic_structure(power: np.ndarray, frames: np.ndarray, *, lag_window: str = "half") -> np.ndarray:
    """Computes the harmonic structure of the error (section 4.8).

    This is the strongest periodicity of the logarithm of its spectrum.

    Args:
      power: [2, B, N, 1025] power spectra.
      frames: [2, B, N, 2048] samples at 16-bit scale.
      lag_window: window of the autocorrelation over lags 0 to 255. "half": the falling half of a Hann window, mean kept,
        highest peak after a valley (PQevalAudio since 2009). "whole": a whole Hann window, mean removed, highest value (the
        older reading, and that of GstPEAQ).

    Returns:
      [B, N]; -1 in frames in which both sounds are silent (section 5.2.4.3).
    """
    spectra = np.maximum(power[..., : 2 * LAGS - 1], SMALLEST_POWER)
    error = np.log(spectra[1] / spectra[0])
    transform = np.fft.rfft(error, 2 * LAGS)
    first = np.fft.rfft(error[..., :LAGS], 2 * LAGS)
    correlation = np.fft.irfft(np.conj(first) * transform, 2 * LAGS)[..., :LAGS]
    squares = np.cumsum(np.pad(np.square(error), [(0, 0)] * (error.ndim - 1) + [(1, 0)]), axis=-1)
    energy = squares[..., LAGS:] - squares[..., :LAGS]
    scale = energy[..., :1] * energy
    # If the error is only rounding, every lag gets the correlation 1, which means no structure.
    normalized = np.where(scale > 1e-30, correlation / np.sqrt(np.maximum(scale, 1e-30)), 1.0)
    turns = np.pi * np.arange(LAGS) / (LAGS - 1)
    if lag_window == "half":
        spectrum = _power_spectrum(normalized * (0.5 + 0.5 * np.cos(turns)))
        spectrum[..., 0] = 0.0
        rising = np.diff(spectrum, axis=-1) > 0.0
        peaks = rising & (np.cumsum(~rising, axis=-1) > 0)
        peak = np.max(np.where(peaks, spectrum[..., 1:], 0.0), axis=-1)
    else:
        normalized = normalized - normalized.mean(-1, keepdims=True)
        spectrum = _power_spectrum(normalized * (0.5 - 0.5 * np.cos(2.0 * turns)))
        peak = np.max(np.where(spectrum > spectrum[..., :1], spectrum, 0.0), axis=-1)
    quiet = np.all(np.sum(np.square(frames[..., HOP:]), axis=-1) < QUIET_FRAME_ENERGY, axis=0)
    return np.where(quiet, -1.0, 8.0 / 3.0 / LAGS**2 * peak)


def _power_spectrum(values: np.ndarray) -> np.ndarray:
    """Returns the power spectrum of real values."""
    spectrum = np.fft.rfft(values)
    return np.square(spectrum.real) + np.square(spectrum.imag)


def mean_where(values: np.ndarray, where: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Averages values over marked frames, with weights, [B, N] -> [B]; 0 if none are marked."""
    weight = where * (1.0 if weight is None else weight)
    total = np.sum(weight, axis=-1)
    return np.sum(weight * np.where(where, values, 0.0), axis=-1) / np.where(total > 0.0, total, 1.0)


def windowed_mean(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Computes the windowed average of WinModDiff1B, [B, N] -> [B] (section 5.2.3).

    This is the square root of the mean over time of the fourth power of windowed means of square roots.
    """
    if values.shape[-1] < WINDOW_FRAMES:
        return np.zeros(values.shape[0])
    windows = np.lib.stride_tricks.sliding_window_view(np.sqrt(values), WINDOW_FRAMES, axis=-1)
    whole = np.all(np.lib.stride_tricks.sliding_window_view(where, WINDOW_FRAMES, axis=-1), axis=-1)
    return np.sqrt(mean_where(windows.mean(-1) ** 4, whole))


def filtered_maximum(probability: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Returns the maximum of the smoothed probability of detection (section 4.7.1)."""
    smooth = highest = np.zeros(len(probability))
    for n in range(probability.shape[-1]):
        smooth = np.where(counted[:, n], 0.9 * smooth + 0.1 * probability[:, n], smooth)
        highest = np.maximum(highest, smooth)
    return highest
