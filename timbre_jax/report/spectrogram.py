"""Small spectrograms of sounds as 8-bit images for pages, in numpy."""

from __future__ import annotations

import functools

import numpy as np

RANGE_DB = 80.0
LOWEST_HZ = 40.0
_FFT = 1024


def spectrogram_image(wave: np.ndarray, sample_rate: int, *, rows: int = 96, columns: int = 160) -> np.ndarray:
    """Computes a spectrogram with logarithmic frequency bands.

    Args:
      wave: [T].
      sample_rate: in Hz.
      rows: bands, evenly spaced in log frequency from 40 Hz to half the sample rate.
      columns: Hann frames of 1024 samples, evenly spaced over the sound.

    Returns:
      uint8 [rows, columns] with the highest band in the first row; -80 to 0 dB below the loudest band are 0 to 255, and
      silence is 0.
    """
    wave = np.asarray(wave, np.float32)
    centers = np.linspace(0, max(len(wave) - 1, 0), columns).astype(np.int64)
    padded = np.pad(wave, (_FFT // 2, _FFT))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[centers] * np.hanning(_FFT).astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(frames, axis=1))).astype(np.float32) @ _bands(sample_rate, rows)
    loudest = float(power.max(initial=0.0))
    if not loudest > 0.0:
        return np.zeros((rows, columns), np.uint8)
    level = 10.0 * np.log10(np.maximum(power / loudest, 10.0 ** (-RANGE_DB / 10.0)))
    return np.round((1.0 + level / RANGE_DB) * 255.0).astype(np.uint8).T[::-1]


@functools.lru_cache(maxsize=8)
def _bands(sample_rate: int, rows: int) -> np.ndarray:
    """Returns triangular weights [bins, rows] around log-spaced centers, at least a bin wide."""
    frequency = np.arange(_FFT // 2 + 1) * (sample_rate / _FFT)
    edges = np.geomspace(min(LOWEST_HZ, sample_rate / 8), sample_rate / 2, rows + 2)
    center = edges[1:-1]
    reach = np.maximum(np.maximum(center - edges[:-2], edges[2:] - center), sample_rate / _FFT)
    return np.maximum(0.0, 1.0 - np.abs(frequency[:, None] - center) / reach).astype(np.float32)
