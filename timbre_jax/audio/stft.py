"""Short-time Fourier transform and its inverse, batched, made of slices and FFTs only (no gather, no scatter).

Conventions: time before frequency, [B, N, K]; a centered transform has frame n centered on sample n * hop, as in
`librosa.stft(center=True, pad_mode="constant")`, whose values it reproduces (transposed).
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np

from timbre_jax.types import Array

# Cosine-sum windows, w[m] = sum_k (-1)^k a_k cos(2 pi k m / M) (Harris 1978, "On the use of windows").
COSINE_WINDOWS = {
    "rectangular": (1.0,),
    "hann": (0.5, 0.5),
    "hamming": (0.54, 0.46),
    "blackman": (0.42, 0.5, 0.08),
}


@functools.lru_cache(maxsize=64)
def window_samples(name: str, length: int) -> np.ndarray:
    """A periodic ("DFT-even") window, [length] float32, as `scipy.signal.get_window(name, length)`.

    Raises ValueError for an unknown name or a length under 1.
    """
    if name not in COSINE_WINDOWS:
        raise ValueError(f"window must be one of {', '.join(COSINE_WINDOWS)}, got {name!r}")
    if length < 1:
        raise ValueError(f"window length must be at least 1 sample, got {length}")
    turns = 2.0 * np.pi * np.arange(length) / length
    terms = [(-1) ** k * a * np.cos(k * turns) for k, a in enumerate(COSINE_WINDOWS[name])]
    samples = np.sum(terms, axis=0).astype(np.float32)
    samples.setflags(write=False)
    return samples


def frame(x: Array, frame_length: int, hop: int) -> Array:
    """Overlapping frames, [..., T] -> [..., N, frame_length] with N = 1 + (T - frame_length) // hop.

    Frame n is x[n * hop : n * hop + frame_length]. Built from slices of hop-long blocks, so its gradient is pads and
    sums rather than a scatter.

    Raises ValueError where x is shorter than one frame.
    """
    length = x.shape[-1]
    if hop < 1 or frame_length < 1:
        raise ValueError(f"hop and frame_length must be at least 1 sample, got {hop} and {frame_length}")
    if length < frame_length:
        raise ValueError(f"x has {length} samples, fewer than one frame of {frame_length}: pad it first")
    count = 1 + (length - frame_length) // hop
    blocks_per_frame = -(-frame_length // hop)
    total = (count + blocks_per_frame - 1) * hop
    x = x[..., :total]
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, total - x.shape[-1])])
    blocks = x.reshape(*x.shape[:-1], total // hop, hop)
    parts = [blocks[..., k : k + count, :] for k in range(blocks_per_frame)]
    parts[-1] = parts[-1][..., : frame_length - (blocks_per_frame - 1) * hop]
    return jnp.concatenate(parts, axis=-1)


def squared_magnitude(spectra: Array) -> Array:
    """Returns |X|^2 of complex spectra; unlike the square of `abs`, it has a gradient at 0."""
    return jnp.square(spectra.real) + jnp.square(spectra.imag)


def impulse_phase(bins: int) -> np.ndarray:
    """Returns the phases of an impulse in the middle of a frame, 0 and pi in turn, [bins] float32 radians."""
    return np.float32(np.pi) * np.mod(np.arange(bins, dtype=np.float32), 2)


def overlap_add(frames: Array, hop: int) -> Array:
    """The transpose of `frame`: [..., N, L] -> [..., (N - 1) * hop + L], overlapping samples summed."""
    *lead, count, frame_length = frames.shape
    blocks_per_frame = -(-frame_length // hop)
    padding = blocks_per_frame * hop - frame_length
    frames = jnp.pad(frames, [(0, 0)] * (len(lead) + 1) + [(0, padding)])
    blocks = frames.reshape(*lead, count, blocks_per_frame, hop)
    total = sum(
        jnp.pad(blocks[..., k, :], [(0, 0)] * len(lead) + [(k, blocks_per_frame - 1 - k), (0, 0)])
        for k in range(blocks_per_frame)
    )
    total = total.reshape(*lead, (count + blocks_per_frame - 1) * hop)
    return total[..., : (count - 1) * hop + frame_length]


def _check(n_fft: int, hop: int, window_length: int) -> None:
    if hop < 1:
        raise ValueError(f"hop must be at least 1 sample, got {hop}")
    if not 1 <= window_length <= n_fft:
        raise ValueError(f"window_length must lie in 1..n_fft={n_fft}, got {window_length}")


def stft(
    waves: Array,
    *,
    n_fft: int,
    hop: int,
    window: str = "hann",
    window_length: int | None = None,
    center: bool = True,
) -> Array:
    """Short-time spectra, [..., T] real -> [..., N, n_fft // 2 + 1] complex64.

    Args:
      waves: any number of leading axes.
      n_fft: transform length in samples; bin k lies at k * sample_rate / n_fft Hz.
      hop: samples between frames.
      window: a name of `COSINE_WINDOWS`, not normalized: a sine of amplitude a peaks at a * sum(window) / 2.
      window_length: samples, n_fft if None; a shorter window stands in the middle of the n_fft samples.
      center: pad with n_fft // 2 zeros at both ends, so that N = 1 + T // hop and frame n is centered on n * hop.

    Raises ValueError for settings that do not fit each other.
    """
    window_length = n_fft if window_length is None else window_length
    _check(n_fft, hop, window_length)
    if center:
        waves = jnp.pad(waves, [(0, 0)] * (waves.ndim - 1) + [(n_fft // 2, n_fft - n_fft // 2)])
    elif waves.shape[-1] < n_fft:
        raise ValueError(f"waves have {waves.shape[-1]} samples, fewer than n_fft={n_fft}: pad them first")
    count = 1 + (waves.shape[-1] - n_fft) // hop
    # A short window sees only the middle of the n_fft samples: frame those alone, then put the zeros back.
    left = (n_fft - window_length) // 2
    segment = waves[..., left : left + (count - 1) * hop + window_length]
    frames = frame(segment, window_length, hop) * window_samples(window, window_length)
    frames = jnp.pad(frames, [(0, 0)] * (frames.ndim - 1) + [(left, n_fft - window_length - left)])
    return jnp.fft.rfft(frames)


def istft(
    spectra: Array,
    *,
    hop: int,
    window: str = "hann",
    window_length: int | None = None,
    center: bool = True,
    length: int | None = None,
) -> Array:
    """Least-squares inverse of `stft` (Griffin & Lim 1984, eq. 6), [..., N, K] complex -> [..., T] float32.

    Exact (to float32 rounding) wherever the windows cover every sample; samples that no window covers come out 0. With
    `center`, the result starts at the center of frame 0.

    Args:
      spectra, hop, window, window_length, center: as given to or returned by `stft`; n_fft is 2 * (K - 1).
      length: samples to return: cut, or padded with zeros. None: all that the frames cover.
    """
    n_fft = 2 * (spectra.shape[-1] - 1)
    window_length = n_fft if window_length is None else window_length
    _check(n_fft, hop, window_length)
    count = spectra.shape[-2]
    left = (n_fft - window_length) // 2
    samples = window_samples(window, window_length)
    frames = jnp.fft.irfft(spectra, n_fft)[..., left : left + window_length] * samples
    waves = overlap_add(frames, hop)
    weight = np.zeros((count - 1) * hop + window_length)
    for n in range(count):
        weight[n * hop : n * hop + window_length] += np.square(samples.astype(np.float64))
    # Under a billionth of the largest weight there is nothing but rounding to divide up.
    weight = np.where(weight > 1e-9 * weight.max(), weight, np.inf).astype(np.float32)
    waves = waves / weight
    waves = jnp.pad(waves, [(0, 0)] * (waves.ndim - 1) + [(left, n_fft - window_length - left)])
    if center:
        waves = waves[..., n_fft // 2 :]
    if length is None:
        return waves[..., : waves.shape[-1] - n_fft // 2] if center else waves
    missing = max(0, length - waves.shape[-1])
    return jnp.pad(waves[..., :length], [(0, 0)] * (waves.ndim - 1) + [(0, missing)])


def istft_inner(spectra: Array, *, hop: int) -> Array:
    """The hops that all of their frames cover, of spectra [..., N + R - 1, K] with R = n_fft / hop: [..., N * hop].

    As `istft` with a Hann window, but without the ends, where frames are missing: what is between frame R/2 - 1 and frame
    N + R/2 - 1. A chunk of a longer sound, to the bit: its first frames are the last R - 1 of the chunk before.

    Raises ValueError where n_fft is no even multiple of the hop, or frames are too few.
    """
    count, n_fft = spectra.shape[-2], 2 * (spectra.shape[-1] - 1)
    ratio = overlap_ratio(n_fft, hop)
    if count < ratio:
        raise ValueError(f"{count} frames are fewer than the {ratio} that one hop of sound takes")
    samples = window_samples("hann", n_fft)
    weight = np.square(samples, dtype=np.float64).reshape(ratio, hop).sum(0)
    waves = overlap_add(jnp.fft.irfft(spectra, n_fft) * samples, hop)
    return waves[..., (ratio - 1) * hop : count * hop] / np.float32(weight.mean())


def overlap_ratio(n_fft: int, hop: int) -> int:
    """R = n_fft / hop, the hops that a frame covers.

    Raises ValueError where it is not 4, 6, 8 ..: squared Hann windows do not sum to a constant with less.
    """
    ratio, rest = divmod(n_fft, hop)
    if rest or ratio % 2 or ratio < 4:
        raise ValueError(f"n_fft must be 4, 6, 8 .. times the hop, got n_fft={n_fft} and hop={hop}")
    return ratio
