"""Bilinear resizing followed by a 3x3 convolution, with fast gradients.

On a CPU, XLA differentiates neither `jax.image.resize` nor gathers quickly. Here the gradient is again a gather, of the few
output pixels that depend on an input pixel.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.models.ops.chunks import join_chunks, split_chunks
from timbre_jax.types import Array

KINDS = ("half_pixel", "corner")


@functools.lru_cache(maxsize=256)
def interpolation(old: int, new: int, kind: str = "half_pixel") -> np.ndarray:
    """Returns the matrix [new, old] of linear interpolation; every row sums to 1.

    Args:
      old: number of input pixels.
      new: number of output pixels.
      kind: "half_pixel" for output pixel i at (i + 1/2) * old / new - 1/2 (as `jax.image.resize` and PyTorch for enlarging), or
        "corner" for i * old / new (as TensorFlow 1). Values are constant beyond the outermost pixels.

    Raises:
      ValueError: the kind is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"resizing {kind!r}: unknown name (expected one of {', '.join(KINDS)})")
    shift = 0.5 if kind == "half_pixel" else 0.0
    position = np.clip((np.arange(new) + shift) * old / new - shift, 0, old - 1)
    return linear_weights(position, old)


def linear_weights(positions: np.ndarray, count: int) -> np.ndarray:
    """Returns the matrix [N, count] of linear interpolation at positions [N] in 0..count - 1."""
    rows, low = np.arange(len(positions)), np.minimum(positions.astype(int), max(count - 2, 0))
    matrix = np.zeros((len(positions), count), np.float32)
    matrix[rows, low] = 1.0 - (positions - low)
    matrix[rows, np.minimum(low + 1, count - 1)] += positions - low
    return matrix


def resized_conv(x: Array, kernel: Array, size: tuple[int, int], kind: str = "half_pixel") -> Array:
    """Enlarges images bilinearly and convolves them with a 3x3 kernel and "SAME" padding.

    Resizing works on pixels and the product with the kernel on channels, so the product can come first: the small image is
    multiplied by the nine taps, whose results are resized, shifted and added. This takes a quarter of the arithmetic for a
    doubled image and never computes the large image with all channels.

    Args:
      x: [B, h, w, C].
      kernel: [3, 3, C, K].
      size: (H, W), at least (h, w), because there is no filter against aliasing.
      kind: see `interpolation`.

    Returns:
      [B, H, W, K].
    """
    _, height, width, channels = x.shape
    features = kernel.shape[-1]
    taps = kernel.transpose(2, 0, 1, 3).reshape(channels, 9 * features)

    def convolve_chunk(x: Array) -> Array:
        y = (x.reshape(-1, channels) @ taps).reshape(-1, height, width, 3, 3, features)
        return _add_taps(_add_taps(y, 1, size[0], kind), 2, size[1], kind)

    return join_chunks(jax.lax.map(convolve_chunk, split_chunks(x, 2)))


def _add_taps(y: Array, axis: int, new: int, kind: str) -> Array:
    """Resizes along an axis and adds the three taps of axis 3, each shifted by its offset.

    Args:
      y: [B, h, w, 3, ...] for axis 1 or [B, H, w, 3, K] for axis 2.
      axis: axis to resize.
      new: its new size.
      kind: see `interpolation`.
    """
    old = y.shape[axis]

    @jax.custom_vjp
    def add(y):
        return sum(
            jnp.take(y[:, :, :, tap], positions, axis=axis, mode="clip") * _along(weights, axis, y.ndim - 1, y.dtype)
            for tap in range(3)
            for positions, weights in zip(*_bands(old, new, kind)[tap], strict=True)
        )

    def backward(_, gradient):
        if axis == 1:
            # A product, although most factors are zeros, because XLA would recompute the sums along axis 2 for each reader.
            taps = np.stack([_shifted(old, new, kind, shift) for shift in (-1, 0, 1)]).astype(gradient.dtype)
            return (jnp.einsum("tHh,bHw...->bhwt...", taps, gradient, precision="highest"),)
        # One gather for the positions of all taps, [..., old * 3, ...].
        bands = [_bands(old, new, kind, transposed=True)[tap] for tap in range(3)]
        count = max(len(positions) for positions, _ in bands)
        total = 0.0
        for band in range(count):
            positions = np.stack([p[band] if band < len(p) else np.zeros(old, int) for p, _ in bands], 1).reshape(-1)
            weights = np.stack([w[band] if band < len(w) else np.zeros(old, np.float32) for _, w in bands], 1).reshape(-1)
            part = jnp.take(gradient, positions, axis=axis, mode="clip")
            total = total + part * _along(weights, axis, gradient.ndim, gradient.dtype)
        return (total.reshape(*gradient.shape[:axis], old, 3, *gradient.shape[axis + 1 :]),)

    add.defvjp(lambda y: (add(y), None), backward)
    return add(y)


def _along(weights: np.ndarray, axis: int, ndim: int, dtype) -> np.ndarray:
    """Returns weights [N] shaped to multiply one axis of an array."""
    return weights.reshape([-1 if a == axis else 1 for a in range(ndim)]).astype(dtype)


@functools.lru_cache(maxsize=256)
def _bands(old: int, new: int, kind: str, transposed: bool = False) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the nonzero entries of the shifted interpolation matrix of each of three taps.

    Returns:
      For each tap, positions [k, rows] and weights [k, rows] of the entries in each row of the matrix [new, old] or of its
      transpose, padded with weights of 0.
    """
    bands = []
    for shift in (-1, 0, 1):
        shifted = _shifted(old, new, kind, shift)
        rows = shifted.T if transposed else shifted
        order = np.argsort(rows == 0, axis=1, kind="stable")[:, : max((rows != 0).sum(1).max(), 1)]
        bands.append((order.T, np.take_along_axis(rows, order, 1).T))
    return bands


def _shifted(old: int, new: int, kind: str, shift: int) -> np.ndarray:
    """Returns `interpolation` with rows shifted by a tap's offset, 0 beyond the edge."""
    matrix = interpolation(old, new, kind)
    shifted = np.zeros_like(matrix)
    shifted[max(-shift, 0) : new - max(shift, 0)] = matrix[max(shift, 0) : new + min(shift, 0)]
    return shifted
