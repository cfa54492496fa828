"""Descriptors of sound that musicians have words for: batched, pure jnp, differentiable where a gradient means something.

Those of a spectrum have two forms: of magnitudes [..., N, K] with the frequencies of their bins (so that they can be taken of
what a decoder makes, and followed back through it), and of waves [B, T], frame by frame: frame n is centered on sample
n * hop, [B, 1 + T // hop], as librosa's. Where a frame is silent, what has no value there is 0.
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

from timbre_jax.audio.level import FLOOR_DB, frame_level, root
from timbre_jax.audio.pitch import yin
from timbre_jax.audio.stft import stft, window_samples
from timbre_jax.types import Array

N_FFT, HOP = 2048, 256
APERIODIC = 0.3
"""Frames whose period explains less than 1 - this of their power have no f0."""
SILENT_DB = -70.0
"""Frames under this level (RMS) have no f0 and no harmonicity."""
POWER_FLOOR = 1e-10
"""Of a bin, for the flatness: librosa's."""


def bin_frequencies(sample_rate: int, n_fft: int) -> np.ndarray:
    """Frequencies of an FFT's bins in Hz, [n_fft // 2 + 1] float32."""
    return (np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)).astype(np.float32)


# Of magnitudes. ----------------------------------------------------------------------------------------------------------


def centroid(magnitude: Array, frequencies: Array) -> Array:
    """Center of gravity of magnitudes [..., K] over frequencies [K], in their unit, [...]: sum(f |X|) / sum(|X|).

    0 for silence. As `librosa.feature.spectral_centroid`.
    """
    total = jnp.sum(magnitude, axis=-1)
    return jnp.where(total > 0, magnitude @ jnp.asarray(frequencies, magnitude.dtype) / jnp.where(total > 0, total, 1.0), 0.0)


def bandwidth(magnitude: Array, frequencies: Array) -> Array:
    """Standard deviation of frequency about the centroid, weighted by magnitudes [..., K], in Hz, [...].

    sqrt(sum(|X| (f - c)^2) / sum(|X|)); 0 for silence. As `librosa.feature.spectral_bandwidth` (p = 2).
    """
    frequencies = jnp.asarray(frequencies, magnitude.dtype)
    total = jnp.sum(magnitude, axis=-1)
    center = centroid(magnitude, frequencies)
    spread = jnp.sum(magnitude * jnp.square(frequencies - center[..., None]), axis=-1) / jnp.where(total > 0, total, 1.0)
    return root(spread)


def flatness(magnitude: Array, frequencies: Array | None = None) -> Array:
    """Geometric over arithmetic mean of power |X|^2, [..., K] -> [...]: 0 for a line, about 0.56 for white noise, 1 for a
    flat spectrum and for silence.

    As `librosa.feature.spectral_flatness`: power is at least 1e-10. `frequencies` have no part in it.
    """
    power = jnp.maximum(jnp.square(magnitude), POWER_FLOOR)
    return jnp.exp(jnp.mean(jnp.log(power), axis=-1)) / jnp.mean(power, axis=-1)


def rolloff(magnitude: Array, frequencies: Array, *, share: float = 0.85) -> Array:
    """The frequency in Hz under which `share` of the summed magnitude lies, [..., K] -> [...]; 0 for silence.

    `librosa.feature.spectral_rolloff` gives the first bin where the share is reached; here it is linear between the bin
    before and that one, so that it has a gradient: never more than a bin under librosa's.
    """
    frequencies = jnp.asarray(frequencies, magnitude.dtype)
    running = jnp.cumsum(magnitude, axis=-1)
    wanted = share * running[..., -1:]
    index = jnp.argmax(running >= wanted, axis=-1)[..., None]
    here = jnp.take_along_axis(running, index, axis=-1)
    own = jnp.take_along_axis(magnitude, index, axis=-1)
    back = jnp.where(own > 0, (here - wanted) / jnp.where(own > 0, own, 1.0), 0.0)
    step = jnp.where(index > 0, frequencies[index] - frequencies[jnp.maximum(index - 1, 0)], 0.0)
    return jnp.where(wanted > 0, frequencies[index] - jnp.clip(back, 0.0, 1.0) * step, 0.0)[..., 0]


def a_weighting(frequencies: np.ndarray) -> np.ndarray:
    """A-weighting in dB of frequencies in Hz (IEC 61672-1, eq. E.6), 0 dB at 1 kHz; -inf at 0 Hz."""
    squared = np.square(np.asarray(frequencies, np.float64))
    with np.errstate(divide="ignore"):
        gain = (12194.217**2 * squared**2) / (
            (squared + 20.598997**2) * np.sqrt((squared + 107.65265**2) * (squared + 737.86223**2)) * (squared + 12194.217**2)
        )
        return 20 * np.log10(gain) + 2.0


def weighted_level(magnitude: Array, frequencies: np.ndarray, *, scale: float = 1.0, floor_db: float = FLOOR_DB) -> Array:
    """A-weighted level of one-sided magnitudes [..., K] in dB, [...]: 10 log10(scale * sum(A^2 |X|^2)), at least `floor_db`.

    Args:
      frequencies: [K] Hz, known when the program is compiled.
      scale: what makes the sum a mean square, see `power_scale`.
    """
    weights = (10 ** (a_weighting(np.asarray(frequencies)) / 10)).astype(np.float32)
    power = scale * (jnp.square(magnitude) @ weights)
    smallest = 10 ** (floor_db / 10)
    return jnp.log(jnp.maximum(power, smallest)) * (10 / math.log(10))


def power_scale(n_fft: int) -> float:
    """Returns the factor from the sum of |X|^2 over the one-sided bins of an `stft` frame to the mean square (Parseval).

    Of a Hann window. DC and the highest bin count twice so; nothing is there where the A-weighting lets anything through.
    """
    return 2.0 / (n_fft * float(np.sum(np.square(window_samples("hann", n_fft).astype(np.float64)))))


# Of waves. ---------------------------------------------------------------------------------------------------------------


def magnitudes(waves: Array, *, n_fft: int = N_FFT, hop: int = HOP) -> Array:
    """Magnitude spectra of waves [B, T] with a Hann window, [B, 1 + T // hop, n_fft // 2 + 1]."""
    return jnp.abs(stft(waves, n_fft=n_fft, hop=hop))


def _of_frames(of_spectrum: Callable[[Array, np.ndarray], Array]) -> Callable[..., Array]:
    """Returns the descriptor of every frame of waves, given that of magnitude spectra."""

    def of_waves(waves: Array, *, sample_rate: int, n_fft: int = N_FFT, hop: int = HOP) -> Array:
        return of_spectrum(magnitudes(waves, n_fft=n_fft, hop=hop), bin_frequencies(sample_rate, n_fft))

    return of_waves


def loudness(waves: Array, *, sample_rate: int, n_fft: int = N_FFT, hop: int = HOP) -> Array:
    """A-weighted level of every frame in dB, [B, T] -> [B, 1 + T // hop], at least -100: a sine of amplitude 1 at 1 kHz has
    -3 dB, its root mean square."""
    spectra = magnitudes(waves, n_fft=n_fft, hop=hop)
    return weighted_level(spectra, bin_frequencies(sample_rate, n_fft), scale=power_scale(n_fft))


LOWEST_F0 = 60.0


def yin_reach(sample_rate: int, hop: int) -> int:
    """Samples after a frame's center that `f0` and `harmonicity` read: half of YIN's window, and its longest lag behind."""
    lag = math.ceil(sample_rate / LOWEST_F0) + 1
    return math.ceil(2.5 * (lag - 1) / hop) * hop // 2 + lag


def _yin(waves: Array, sample_rate: int, hop: int, n_fft: int) -> tuple[Array, Array, Array]:
    """f0, aperiodicity and whether a frame is heard; YIN looks at 2.5 periods of `LOWEST_F0`, whatever `n_fft` is."""
    f_max = min(2100.0, 0.45 * sample_rate)
    f0_hz, aperiodicity = yin(waves, sample_rate=sample_rate, hop=hop, f_min=LOWEST_F0, f_max=f_max, threshold=0.2)
    window_hops = 2 * max(1, round(0.5 * n_fft / hop))
    return f0_hz, aperiodicity, frame_level(waves, hop=hop, window_hops=window_hops) > SILENT_DB


def f0(waves: Array, *, sample_rate: int, n_fft: int = N_FFT, hop: int = HOP) -> Array:
    """Fundamental frequency of every frame in Hz (YIN, 60 to 2100 Hz), [B, T] -> [B, 1 + T // hop]; 0 where there is none:
    the frame is silent, or under 70 % of its power repeats. Its gradient means nothing."""
    frequency, aperiodicity, heard = _yin(waves, sample_rate, hop, n_fft)
    return jnp.where(heard & (aperiodicity < APERIODIC), frequency, 0.0)


def harmonicity(waves: Array, *, sample_rate: int, n_fft: int = N_FFT, hop: int = HOP) -> Array:
    """Share of every frame's power that repeats with its period, in [0, 1], [B, T] -> [B, 1 + T // hop]; 0 for silence.

    1 - d'(tau) at YIN's period (de Cheveigne & Kawahara 2002): about P / (P + Q) for a periodic sound of power P in white
    noise of power Q, so 10 log10(h / (1 - h)) is a harmonics-to-noise ratio in dB.
    """
    _, aperiodicity, heard = _yin(waves, sample_rate, hop, n_fft)
    return jnp.where(heard, 1.0 - aperiodicity, 0.0)


def brightness(waves: Array, *, sample_rate: int, n_fft: int = 1024, hop: int = 256) -> Array:
    """One spectral centroid a sound in Hz, [B, T] -> [B]: its frames' mean, weighted by their summed magnitude.

    So the release and the silence around a note hardly count. 0 for silence.
    """
    magnitude = jnp.sum(magnitudes(waves, n_fft=n_fft, hop=hop), axis=-2)
    return centroid(magnitude, bin_frequencies(sample_rate, n_fft))


# By name. ----------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Descriptor:
    """A descriptor by name.

    Attributes:
      of_waves: waves [B, T], sample_rate, n_fft, hop -> [B, 1 + T // hop].
      unit: of its values; "" for a share.
      of_spectrum: magnitudes [..., K], frequencies [K] -> [...], or None where a magnitude spectrum does not say it. Of the
        loudness it has an unknown constant.
      proportional: values are positive and compared by their ratio (Hz), not their difference (dB, shares).
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
    """The descriptor of a name.

    Raises ValueError for a name that is none.
    """
    if name not in DESCRIPTORS:
        raise ValueError(f"no descriptor {name!r}; there are {', '.join(DESCRIPTORS)}")
    return DESCRIPTORS[name]


@functools.partial(jax.jit, static_argnames=("name", "sample_rate", "n_fft", "hop"))
def describe(waves: Array, *, name: str, sample_rate: int, n_fft: int = N_FFT, hop: int = HOP) -> Array:
    """A descriptor of waves [B, T], compiled: [B, 1 + T // hop]."""
    return descriptor(name).of_waves(waves, sample_rate=sample_rate, n_fft=n_fft, hop=hop)
