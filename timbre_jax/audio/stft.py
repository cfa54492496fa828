"""Short-time Fourier transform and its inverse, for batches of waves.

Both consist of slices and FFTs, without gather or scatter. Arrays have time before frequency, [B, N, K]. Frame n of a centered
transform is centered on sample n * hop, as in `librosa.stft(center=True, pad_mode="constant")`, whose values (transposed)
`stft` reproduces.
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
    """Returns a periodic ("DFT-even") window, as `scipy.signal.get_window(name, length)`.

    Args:
      name: a name of `COSINE_WINDOWS`.
      length: length in samples.

    Returns:
      [length] float32, read-only.

    Raises:
      ValueError: the name is unknown or the length is below 1.
    """
    if name not in COSINE_WINDOWS:
        raise ValueError(f"window={name!r}: must be one of {', '.join(COSINE_WINDOWS)}")
    if length < 1:
        raise ValueError(f"window length={length}: must be at least 1 sample")
    turns = 2.0 * np.pi * np.arange(length) / length
    terms = [(-1) ** k * a * np.cos(k * turns) for k, a in enumerate(COSINE_WINDOWS[name])]
    samples = np.sum(terms, axis=0).astype(np.float32)
    samples.setflags(write=False)
    return samples


def frame(x: Array, frame_length: int, hop: int) -> Array:
    """Cuts a signal into overlapping frames; frame n is x[n * hop : n * hop + frame_length].

    Slices of hop-long blocks make the gradient a sum of padded arrays, where a gather would make it a scatter.

    Args:
      x: [..., T] signal.
      frame_length: samples per frame.
      hop: samples between frames.

    Returns:
      [..., N, frame_length], N = 1 + (T - frame_length) // hop.

    Raises:
      ValueError: x is shorter than one frame, or a length is below 1.
    """
    length = x.shape[-1]
    if hop < 1 or frame_length < 1:
        raise ValueError(f"hop={hop}, frame_length={frame_length}: must be at least 1 sample")
    if length < frame_length:
        raise ValueError(f"x: must have at least {frame_length} samples, one frame (got {length}); pad it first")
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
    """Returns |X|^2 of complex spectra, without the square root of `abs`."""
    return jnp.square(spectra.real) + jnp.square(spectra.imag)


def impulse_phase(bins: int) -> np.ndarray:
    """Returns the phases [bins] of an impulse in the middle of a frame: 0, pi, 0 ..."""
    return np.float32(np.pi) * np.mod(np.arange(bins, dtype=np.float32), 2)


def overlap_add(frames: Array, hop: int) -> Array:
    """Adds overlapping frames, [..., N, L] -> [..., (N - 1) * hop + L]; transpose of `frame`."""
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


def _check_settings(n_fft: int, hop: int, window_length: int) -> None:
    """Raises a ValueError if the settings of a transform do not fit each other."""
    if hop < 1:
        raise ValueError(f"hop={hop}: must be at least 1 sample")
    if not 1 <= window_length <= n_fft:
        raise ValueError(f"window_length={window_length}: must be from 1 to n_fft={n_fft}")


def stft(
    waves: Array,
    *,
    n_fft: int,
    hop: int,
    window: str = "hann",
    window_length: int | None = None,
    center: bool = True,
) -> Array:
    """Computes the short-time Fourier transform of waves.

    Args:
      waves: [..., T], real.
      n_fft: transform length in samples; bin k is at k * sample_rate / n_fft Hz.
      hop: samples between frames.
      window: a name of `COSINE_WINDOWS`, not normalized: a sine of amplitude a peaks at a * sum(window) / 2.
      window_length: length of the window in samples; a window shorter than n_fft is centered in the frame. None: n_fft.
      center: pads n_fft // 2 zeros at both ends, so that N = 1 + T // hop and frame n is centered on sample n * hop.

    Returns:
      [..., N, n_fft // 2 + 1] complex64.

    Raises:
      ValueError: the settings do not fit each other.
    """
    window_length = n_fft if window_length is None else window_length
    _check_settings(n_fft, hop, window_length)
    if center:
        waves = jnp.pad(waves, [(0, 0)] * (waves.ndim - 1) + [(n_fft // 2, n_fft - n_fft // 2)])
    elif waves.shape[-1] < n_fft:
        raise ValueError(f"waves: must have at least n_fft={n_fft} samples (got {waves.shape[-1]}); pad them first")
    count = 1 + (waves.shape[-1] - n_fft) // hop
    # Under a short window, only the middle of a frame is nonzero. That part is cut out and then padded to n_fft.
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
    """Computes the least-squares inverse of `stft` (Griffin & Lim 1984, eq. 6).

    It is exact up to float32 rounding where windows cover a sample; samples that no window covers are 0.

    Args:
      spectra: [..., N, K] complex spectra; n_fft is 2 * (K - 1).
      hop: samples between frames.
      window: name of the window, as for `stft`.
      window_length: length of the window in samples, as for `stft`.
      center: whether frame 0 is centered on the first sample returned.
      length: samples to return, cut or padded with zeros; None: all that the frames cover.

    Returns:
      [..., T] float32.

    Raises:
      ValueError: the settings do not fit each other.
    """
    n_fft = 2 * (spectra.shape[-1] - 1)
    window_length = n_fft if window_length is None else window_length
    _check_settings(n_fft, hop, window_length)
    count = spectra.shape[-2]
    left = (n_fft - window_length) // 2
    samples = window_samples(window, window_length)
    frames = jnp.fft.irfft(spectra, n_fft)[..., left : left + window_length] * samples
    waves = overlap_add(frames, hop)
    weight = np.zeros((count - 1) * hop + window_length)
    for n in range(count):
        weight[n * hop : n * hop + window_length] += np.square(samples.astype(np.float64))
    # Sums of squared windows below a billionth of the largest are rounding noise.
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
    """Computes the hops of an inverse STFT whose frames are all given (Hann window).

    This is `istft` from the center of frame R/2 - 1 to that of frame N + R/2 - 1, with R = n_fft / hop. Chunks of a long sound
    join bit for bit if the first R - 1 frames of a chunk are the last ones of the previous chunk.

    Args:
      spectra: [..., N + R - 1, K] complex spectra.
      hop: samples between frames.

    Returns:
      [..., N * hop].

    Raises:
      ValueError: n_fft is not an even multiple of the hop, at least 4, or there are fewer than R frames.
    """
    count, n_fft = spectra.shape[-2], 2 * (spectra.shape[-1] - 1)
    ratio = overlap_ratio(n_fft, hop)
    if count < ratio:
        raise ValueError(f"spectra: must have at least {ratio} frames for one hop (got {count})")
    samples = window_samples("hann", n_fft)
    weight = np.square(samples, dtype=np.float64).reshape(ratio, hop).sum(0)
    waves = overlap_add(jnp.fft.irfft(spectra, n_fft) * samples, hop)
    return waves[..., (ratio - 1) * hop : count * hop] / np.float32(weight.mean())


def overlap_ratio(n_fft: int, hop: int) -> int:
    """Returns the number of hops that a frame covers, R = n_fft / hop.

    Raises:
      ValueError: R is not 4, 6, 8 ...; with fewer hops, squared Hann windows do not sum to a constant.
    """
    ratio, rest = divmod(n_fft, hop)
    if rest or ratio % 2 or ratio < 4:
        raise ValueError(f"n_fft={n_fft}: must be 4, 6, 8 ... times hop={hop}")
    return ratio
