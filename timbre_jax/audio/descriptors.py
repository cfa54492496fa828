"""Spectral, loudness and pitch descriptors of sounds, batched and mostly differentiable.

Spectral descriptors have two forms. One takes magnitudes [..., N, K] and the frequencies of their bins; it also applies to
decoded spectra and passes gradients to them. The other takes waves [B, T] and returns one value for each of the 1 + T // hop
frames (`describe`). Frame n is centered on sample n * hop, as in librosa. In silent frames, undefined values are 0.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.level import FLOOR_DB, frame_level, safe_sqrt
from timbre_jax.audio.pitch import yin
from timbre_jax.audio.stft import stft, window_samples
from timbre_jax.types import Array

N_FFT, HOP = 2048, 256
APERIODIC = 0.3
"""Frames of this aperiodicity or more have no f0."""
SILENT_DB = -70.0
"""RMS level below which a frame has no f0 and no harmonicity."""
POWER_FLOOR = 1e-10
"""Smallest power of a bin for the flatness, as in librosa."""


def bin_frequencies(sample_rate: int, n_fft: int) -> np.ndarray:
    """Returns the frequencies in Hz of the bins of an FFT, [n_fft // 2 + 1] float32."""
    return (np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)).astype(np.float32)


# Magnitudes. -------------------------------------------------------------------------------------------------------------


def centroid(magnitude: Array, frequencies: Array) -> Array:
    """Returns the spectral centroid, sum(f |X|) / sum(|X|).

    As `librosa.feature.spectral_centroid`.

    Args:
      magnitude: [..., K] magnitude spectra.
      frequencies: [K] frequencies of the bins, usually in Hz.

    Returns:
      [...] in the unit of the frequencies; 0 for silence.
    """
    total = jnp.sum(magnitude, axis=-1)
    return jnp.where(total > 0, magnitude @ jnp.asarray(frequencies, magnitude.dtype) / jnp.where(total > 0, total, 1.0), 0.0)


def bandwidth(magnitude: Array, frequencies: Array) -> Array:
    """Returns the standard deviation of frequency about the centroid, weighted by magnitude.

    sqrt(sum(|X| (f - c)^2) / sum(|X|)), as `librosa.feature.spectral_bandwidth` (p = 2).

    Args:
      magnitude: [..., K] magnitude spectra.
      frequencies: [K] frequencies of the bins, usually in Hz.

    Returns:
      [...] in the unit of the frequencies; 0 for silence.
    """
    frequencies = jnp.asarray(frequencies, magnitude.dtype)
    total = jnp.sum(magnitude, axis=-1)
    center = centroid(magnitude, frequencies)
    variance = jnp.sum(magnitude * jnp.square(frequencies - center[..., None]), axis=-1) / jnp.where(total > 0, total, 1.0)
    return safe_sqrt(variance)


def flatness(magnitude: Array, frequencies: Array | None = None) -> Array:
    """Returns the spectral flatness: geometric over arithmetic mean of the power |X|^2.

    As `librosa.feature.spectral_flatness`, with a power of at least 1e-10.

    Args:
      magnitude: [..., K] magnitude spectra.
      frequencies: unused; all spectral descriptors take them.

    Returns:
      [...] in (0, 1]: near 0 for a sine, about 0.56 for white noise, 1 for a flat spectrum and for silence.
    """
    power = jnp.maximum(jnp.square(magnitude), POWER_FLOOR)
    return jnp.exp(jnp.mean(jnp.log(power), axis=-1)) / jnp.mean(power, axis=-1)


def rolloff(magnitude: Array, frequencies: Array, *, share: float = 0.85) -> Array:
    """Returns the spectral rolloff: the frequency below which `share` of the magnitude is.

    `librosa.feature.spectral_rolloff` returns the first bin that reaches the share. This function interpolates between that bin
    and the one before, which makes the value differentiable; it is less than one bin below that of librosa.

    Args:
      magnitude: [..., K] magnitude spectra.
      frequencies: [K] frequencies of the bins, usually in Hz.
      share: share of the summed magnitude, in (0, 1).

    Returns:
      [...] in the unit of the frequencies; 0 for silence.
    """
    frequencies = jnp.asarray(frequencies, magnitude.dtype)
    running = jnp.cumsum(magnitude, axis=-1)
    target = share * running[..., -1:]
    index = jnp.argmax(running >= target, axis=-1)[..., None]
    reached = jnp.take_along_axis(running, index, axis=-1)
    magnitude_at_index = jnp.take_along_axis(magnitude, index, axis=-1)
    excess = jnp.where(
        magnitude_at_index > 0, (reached - target) / jnp.where(magnitude_at_index > 0, magnitude_at_index, 1.0), 0.0
    )
    step = jnp.where(index > 0, frequencies[index] - frequencies[jnp.maximum(index - 1, 0)], 0.0)
    return jnp.where(target > 0, frequencies[index] - jnp.clip(excess, 0.0, 1.0) * step, 0.0)[..., 0]


def a_weighting(frequencies: np.ndarray) -> np.ndarray:
    """Returns the A-weighting of frequencies in dB: 0 dB at 1 kHz, -inf at 0 Hz.

    IEC 61672-1, eq. E.6.

    Args:
      frequencies: any shape, in Hz.
    """
    squared = np.square(np.asarray(frequencies, np.float64))
    with np.errstate(divide="ignore"):
        gain = (12194.217**2 * squared**2) / (
            (squared + 20.598997**2) * np.sqrt((squared + 107.65265**2) * (squared + 737.86223**2)) * (squared + 12194.217**2)
        )
        return 20 * np.log10(gain) + 2.0


def weighted_level(magnitude: Array, frequencies: np.ndarray, *, scale: float = 1.0, floor_db: float = FLOOR_DB) -> Array:
    """Returns the A-weighted level of one-sided magnitudes: 10 log10(scale * sum(A^2 |X|^2)).

    Args:
      magnitude: [..., K] magnitude spectra.
      frequencies: [K] frequencies of the bins in Hz, a constant of the compiled program.
      scale: factor from the sum to a mean square (`power_scale`).
      floor_db: lowest level returned, in dB.

    Returns:
      [...] in dB.
    """
    weights = (10 ** (a_weighting(np.asarray(frequencies)) / 10)).astype(np.float32)
    power = scale * (jnp.square(magnitude) @ weights)
    smallest = 10 ** (floor_db / 10)
    return jnp.log(jnp.maximum(power, smallest)) * (10 / math.log(10))


def power_scale(n_fft: int) -> float:
    """Returns the factor that converts the sum of |X|^2 of an STFT frame to a mean square.

    Parseval's theorem for the one-sided bins of a Hann window of n_fft samples. DC and the highest bin count twice, but
    A-weighting makes them negligible.
    """
    return 2.0 / (n_fft * float(np.sum(np.square(window_samples("hann", n_fft).astype(np.float64)))))


# Waves. ------------------------------------------------------------------------------------------------------------------


def magnitudes(waves: Array, *, n_fft: int = N_FFT, hop: int = HOP) -> Array:
    """Computes magnitude spectra (Hann window), [B, T] -> [B, 1 + T // hop, n_fft // 2 + 1]."""
    return jnp.abs(stft(waves, n_fft=n_fft, hop=hop))


def _of_frames(of_spectrum: Callable[[Array, np.ndarray], Array]) -> Callable[..., Array]:
    """Converts a descriptor of magnitude spectra to a descriptor of waves."""

    def of_waves(waves: Array, *, sample_rate: int, n_fft: int = N_FFT, hop: int = HOP) -> Array:
        return of_spectrum(magnitudes(waves, n_fft=n_fft, hop=hop), bin_frequencies(sample_rate, n_fft))

    return of_waves


def loudness(waves: Array, *, sample_rate: int, n_fft: int = N_FFT, hop: int = HOP) -> Array:
    """Returns the A-weighted level of every frame.

    A sine of amplitude 1 at 1 kHz has its RMS level, -3 dB.

    Args:
      waves: [B, T] samples.
      sample_rate: sample rate in Hz.
      n_fft: transform length in samples.
      hop: samples between frames.

    Returns:
      [B, 1 + T // hop] in dB, at least -100.
    """
    spectra = magnitudes(waves, n_fft=n_fft, hop=hop)
    return weighted_level(spectra, bin_frequencies(sample_rate, n_fft), scale=power_scale(n_fft))


LOWEST_F0 = 60.0
"""Lowest frequency of `f0` and `harmonicity` in Hz."""


def yin_reach(sample_rate: int, hop: int) -> int:
    """Returns the number of samples after the center of a frame that `f0` depends on.

    This is half of the window of YIN plus the longest lag, also for `harmonicity`.
    """
    lag = math.ceil(sample_rate / LOWEST_F0) + 1
    return math.ceil(2.5 * (lag - 1) / hop) * hop // 2 + lag


def _yin(waves: Array, sample_rate: int, hop: int, n_fft: int) -> tuple[Array, Array, Array]:
    """Returns f0 in Hz, the aperiodicity and whether each frame is audible, [B, N] each.

    The window of YIN is 2.5 periods of `LOWEST_F0`; n_fft is only the window of the level.
    """
    f_max = min(2100.0, 0.45 * sample_rate)
    f0_hz, aperiodicity = yin(waves, sample_rate=sample_rate, hop=hop, f_min=LOWEST_F0, f_max=f_max, threshold=0.2)
    window_hops = 2 * max(1, round(0.5 * n_fft / hop))
    return f0_hz, aperiodicity, frame_level(waves, hop=hop, window_hops=window_hops) > SILENT_DB


def f0(waves: Array, *, sample_rate: int, n_fft: int = N_FFT, hop: int = HOP) -> Array:
    """Returns the fundamental frequency of every frame by YIN; its gradient is meaningless.

    Args:
      waves: [B, T] samples.
      sample_rate: sample rate in Hz.
      n_fft: length in samples of the window whose level decides which frames are silent.
      hop: samples between frames.

    Returns:
      [B, 1 + T // hop], 60 to 2100 Hz; 0 for frames that are silent or periodic in less than 70 % of their power.
    """
    frequency, aperiodicity, audible = _yin(waves, sample_rate, hop, n_fft)
    return jnp.where(audible & (aperiodicity < APERIODIC), frequency, 0.0)


def harmonicity(waves: Array, *, sample_rate: int, n_fft: int = N_FFT, hop: int = HOP) -> Array:
    """Returns the harmonicity of every frame: the periodic share of its power.

    1 - d'(tau) at the period of YIN (de Cheveigné & Kawahara 2002). For a periodic sound of power P in white noise of power Q
    it is about P / (P + Q), so that 10 log10(h / (1 - h)) is a harmonics-to-noise ratio in dB.

    Args:
      waves: [B, T] samples.
      sample_rate: sample rate in Hz.
      n_fft: length in samples of the window whose level decides which frames are silent.
      hop: samples between frames.

    Returns:
      [B, 1 + T // hop] in [0, 1]; 0 for silence.
    """
    _, aperiodicity, audible = _yin(waves, sample_rate, hop, n_fft)
    return jnp.where(audible, 1.0 - aperiodicity, 0.0)


def brightness(waves: Array, *, sample_rate: int, n_fft: int = 1024, hop: int = 256) -> Array:
    """Returns the brightness of each sound: the centroid of its magnitudes summed over frames.

    Frames are weighted by their magnitude, so that release and silence have little effect.

    Args:
      waves: [B, T] samples.
      sample_rate: sample rate in Hz.
      n_fft: transform length in samples.
      hop: samples between frames.

    Returns:
      [B] in Hz; 0 for silence.
    """
    magnitude = jnp.sum(magnitudes(waves, n_fft=n_fft, hop=hop), axis=-2)
    return centroid(magnitude, bin_frequencies(sample_rate, n_fft))


# Registry. ---------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Descriptor:
    """Descriptor of sounds: its functions and unit.

    Attributes:
      of_waves: function of waves [B, T], sample_rate, n_fft and hop, which returns [B, 1 + T // hop].
      unit: unit of the values; "" for a share.
      of_spectrum: function of magnitudes [..., K] and frequencies [K], which returns [...]; the loudness takes
        its `scale` as well. None if a magnitude spectrum does not determine the descriptor.
      proportional: whether values are positive and compared by ratio (Hz), not by difference (dB, shares).
    """

    of_waves: Callable[..., Array]
    unit: str
    of_spectrum: Callable[..., Array] | None = None
    proportional: bool = True


DESCRIPTORS = MappingProxyType(
    {
        "centroid": Descriptor(_of_frames(centroid), "Hz", of_spectrum=centroid),
        "bandwidth": Descriptor(_of_frames(bandwidth), "Hz", of_spectrum=bandwidth),
        "flatness": Descriptor(_of_frames(flatness), "", of_spectrum=flatness),
        "rolloff": Descriptor(_of_frames(rolloff), "Hz", of_spectrum=rolloff),
        "loudness": Descriptor(loudness, "dB", of_spectrum=weighted_level, proportional=False),
        "f0": Descriptor(f0, "Hz"),
        "harmonicity": Descriptor(harmonicity, "", proportional=False),
    }
)


def descriptor(name: str) -> Descriptor:
    """Looks up a descriptor by name.

    Raises:
      ValueError: the name is unknown.
    """
    if name not in DESCRIPTORS:
        raise ValueError(f"descriptor={name!r}: must be one of {', '.join(DESCRIPTORS)}")
    return DESCRIPTORS[name]


@functools.partial(jax.jit, static_argnames=("name", "sample_rate", "n_fft", "hop"))
def describe(waves: Array, *, name: str, sample_rate: int, n_fft: int = N_FFT, hop: int = HOP) -> Array:
    """Measures a descriptor in every frame of waves; compiled.

    Args:
      waves: [B, T] samples.
      name: a name of `DESCRIPTORS`.
      sample_rate: sample rate in Hz.
      n_fft: transform length in samples.
      hop: samples between frames.

    Returns:
      [B, 1 + T // hop] in the unit of the descriptor.
    """
    return descriptor(name).of_waves(waves, sample_rate=sample_rate, n_fft=n_fft, hop=hop)
