"""Mel filterbanks, and their inversion from mel bands to power spectra."""

from __future__ import annotations

import functools
import math
import warnings

import numpy as np

from timbre_jax.audio.nnls import nnls
from timbre_jax.types import Array

MEL_SCALES = ("slaney", "htk")
# Slaney's scale is linear up to 1 kHz (15 mel); above, 27 mel are a factor of 6.4.
_BREAK_HZ, _HZ_PER_MEL, _LOG_STEP = 1000.0, 200.0 / 3.0, math.log(6.4) / 27.0


def hz_to_mel(frequency: np.ndarray | float, *, scale: str = "slaney") -> np.ndarray:
    """Converts frequencies in Hz to mel.

    Args:
      frequency: frequencies in Hz, any shape.
      scale: "slaney" (Auditory Toolbox, Slaney 1998: linear up to 1 kHz, logarithmic above) or "htk" (2595 log10(1 + f / 700)).
    """
    _check_scale(scale)
    frequency = np.asarray(frequency, np.float64)
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + frequency / 700.0)
    above = _BREAK_HZ / _HZ_PER_MEL + np.log(np.maximum(frequency, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(frequency < _BREAK_HZ, frequency / _HZ_PER_MEL, above)


def mel_to_hz(mel: np.ndarray | float, *, scale: str = "slaney") -> np.ndarray:
    """Converts frequencies in mel to Hz; inverse of `hz_to_mel`.

    Args:
      mel: frequencies in mel, any shape.
      scale: "slaney" or "htk".
    """
    _check_scale(scale)
    mel = np.asarray(mel, np.float64)
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    first = _BREAK_HZ / _HZ_PER_MEL
    return np.where(mel < first, mel * _HZ_PER_MEL, _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, first) - first)))


def _check_scale(scale: str) -> None:
    if scale not in MEL_SCALES:
        raise ValueError(f"scale={scale!r}: must be one of {', '.join(MEL_SCALES)}")


@functools.lru_cache(maxsize=64)
def mel_filterbank(
    *, sample_rate: int, n_fft: int, n_mels: int, fmin: float = 0.0, fmax: float = 0.0, scale: str = "slaney"
) -> np.ndarray:
    """Returns triangular mel filters of unit area, as `librosa.filters.mel(norm="slaney")`.

    Filter m rises from the m-th to the (m + 1)-th of n_mels + 2 frequencies that are equally spaced in mel, and falls to the
    next. Its height is 2 / (its width in Hz).

    Args:
      sample_rate: sample rate in Hz.
      n_fft: transform length in samples.
      n_mels: number of bands.
      fmin: lowest frequency in Hz.
      fmax: highest frequency in Hz; 0 means half the sample rate.
      scale: a name of `MEL_SCALES`.

    Returns:
      [n_mels, n_fft // 2 + 1] float32, read-only.

    Raises:
      ValueError: the settings do not fit each other.

    Warns:
      UserWarning: some filters contain no bin, so that their bands are always 0.
    """
    fmax = fmax or 0.5 * sample_rate
    if n_mels < 1 or n_fft < 2:
        raise ValueError(f"n_mels={n_mels}, n_fft={n_fft}: must be at least 1 and at least 2")
    if not 0.0 <= fmin < fmax <= 0.5 * sample_rate:
        raise ValueError(f"fmin={fmin:g}, fmax={fmax:g}: must be 0 <= fmin < fmax <= {sample_rate / 2:g} Hz")
    bins = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)
    edges = mel_to_hz(np.linspace(*hz_to_mel(np.array([fmin, fmax]), scale=scale), n_mels + 2), scale=scale)
    widths = np.diff(edges)
    slopes = edges[:, None] - bins
    triangles = np.maximum(0.0, np.minimum(-slopes[:-2] / widths[:-1, None], slopes[2:] / widths[1:, None]))
    filters = (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)
    empty = np.flatnonzero(filters.max(axis=1) == 0.0)
    if empty.size:
        warnings.warn(
            f"{empty.size} of {n_mels} mel filters are empty (the first is {empty[0]}): n_fft={n_fft} at {sample_rate} Hz has "
            "no bin in them; use fewer n_mels, a larger n_fft or a higher fmin",
            stacklevel=2,
        )
    filters.setflags(write=False)
    return filters


@functools.lru_cache(maxsize=64)
def filterbank_inverse(
    *, sample_rate: int, n_fft: int, n_mels: int, fmin: float = 0.0, fmax: float = 0.0, scale: str = "slaney"
) -> np.ndarray:
    """Returns the pseudo-inverse of the `mel_filterbank` of the same settings.

    Shape [n_fft // 2 + 1, n_mels], float32, read-only.
    """
    filters = mel_filterbank(sample_rate=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax, scale=scale)
    inverse = np.linalg.pinv(filters.astype(np.float64), rcond=1e-6).astype(np.float32)
    inverse.setflags(write=False)
    return inverse


def mel_to_stft_nnls(
    mel: Array,
    *,
    sample_rate: int,
    n_fft: int,
    fmin: float = 0.0,
    fmax: float = 0.0,
    scale: str = "slaney",
    iterations: int = 100,
) -> Array:
    """Estimates power spectra from mel bands by non-negative least squares.

    Minimizes |filters x - mel|^2 over x >= 0 for each frame, starting at the clipped pseudo-inverse. The clipped pseudo-inverse
    alone has errors of several dB in the gaps between partials.

    Args:
      mel: [..., M], power of the bands.
      sample_rate: sample rate in Hz.
      n_fft: transform length in samples.
      fmin: lowest frequency of the filters in Hz.
      fmax: highest frequency of the filters in Hz; 0 means half the sample rate.
      scale: a name of `MEL_SCALES`.
      iterations: steps of `nnls`.

    Returns:
      [..., n_fft // 2 + 1], power of the bins.
    """
    settings = dict(sample_rate=sample_rate, n_fft=n_fft, n_mels=mel.shape[-1], fmin=fmin, fmax=fmax, scale=scale)
    return nnls(mel_filterbank(**settings), mel, start=filterbank_inverse(**settings), iterations=iterations)
