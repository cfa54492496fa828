"""Bilinear resizing and the convolution after it, in one: weighted sums of few neighbors, both ways.

XLA differentiates neither `jax.image.resize` nor gathers quickly on CPU. Here a gradient is again a gather, of the few pixels
that used one.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.models.ops.chunks import chunks, joined
from timbre_jax.types import Array

KINDS = ("half_pixel", "corner")


@functools.lru_cache(maxsize=256)
def interpolation(old: int, new: int, kind: str = "half_pixel") -> np.ndarray:
    """The matrix [new, old] of linear interpolation from `old` pixels to `new`; every row sums to 1.

    "half_pixel": pixel i lies at (i + 1/2) * old / new - 1/2, as in `jax.image.resize` and PyTorch where it enlarges.
    "corner": at i * old / new, as TensorFlow 1 had it. Beyond the outermost pixels their values go on.

    Raises:
      ValueError: another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"there is no resizing {kind!r}; there are {', '.join(KINDS)}")
    shift = 0.5 if kind == "half_pixel" else 0.0
    place = np.clip((np.arange(new) + shift) * old / new - shift, 0, old - 1)
    return linear_weights(place, old)


def linear_weights(places: np.ndarray, count: int) -> np.ndarray:
    """The matrix [N, count] of linear interpolation at places [N] within 0..count - 1."""
    rows, low = np.arange(len(places)), np.minimum(places.astype(int), max(count - 2, 0))
    matrix = np.zeros((len(places), count), np.float32)
    matrix[rows, low] = 1.0 - (places - low)
    matrix[rows, np.minimum(low + 1, count - 1)] += places - low
    return matrix


def resized_conv(x: Array, kernel: Array, size: tuple[int, int], kind: str = "half_pixel") -> Array:
    """Bilinear resizing of pictures, then convolution with a 3x3 kernel and "SAME" padding: [B, h, w, C] to [B, H, W, K].

    Both are linear and one works on pixels, the other on channels, so the channels can go first: one product of the small
    picture with the nine taps of the kernel, which are resized, shifted and added. A quarter of the arithmetic where the
    picture doubles, and the large picture with its many channels is never made. Two pictures at a time.

    Args:
      x: [B, h, w, C].
      kernel: [3, 3, C, K].
      size: (H, W), not smaller than (h, w): nothing here keeps frequencies from folding.
      kind: see `interpolation`.
    """
    _, height, width, channels = x.shape
    features = kernel.shape[-1]
    taps = kernel.transpose(2, 0, 1, 3).reshape(channels, 9 * features)

    def few(x: Array) -> Array:
        y = (x.reshape(-1, channels) @ taps).reshape(-1, height, width, 3, 3, features)
        return _add_taps(_add_taps(y, 1, size[0], kind), 2, size[1], kind)

    return joined(jax.lax.map(few, chunks(x, 2)))


def _add_taps(y: Array, axis: int, new: int, kind: str) -> Array:
    """Resizes along an axis, shifts by each of three taps and adds them up: `axis` 1 of [B, h, w, 3, ...] or 2 of
    [B, H, w, 3, K]; the axis of the taps, 3, goes away."""
    old = y.shape[axis]

    @jax.custom_vjp
    def add(y):
        return sum(
            jnp.take(y[:, :, :, tap], places, axis=axis, mode="clip") * _along(weights, axis, y.ndim - 1, y.dtype)
            for tap in range(3)
            for places, weights in zip(*_bands(old, new, kind)[tap], strict=True)
        )

    def backward(_, gradient):
        if axis == 1:
            # A product, though most of it is zeros: XLA would take the sums along axis 2 anew for each of these that read one.
            taps = np.stack([_shifted(old, new, kind, shift) for shift in (-1, 0, 1)]).astype(gradient.dtype)
            return (jnp.einsum("tHh,bHw...->bhwt...", taps, gradient, precision="highest"),)
        # One gather for the places of all taps together: [.., old * 3, ..].
        bands = [_bands(old, new, kind, transposed=True)[tap] for tap in range(3)]
        count = max(len(places) for places, _ in bands)
        total = 0.0
        for band in range(count):
            places = np.stack([p[band] if band < len(p) else np.zeros(old, int) for p, _ in bands], 1).reshape(-1)
            weights = np.stack([w[band] if band < len(w) else np.zeros(old, np.float32) for _, w in bands], 1).reshape(-1)
            part = jnp.take(gradient, places, axis=axis, mode="clip")
            total = total + part * _along(weights, axis, gradient.ndim, gradient.dtype)
        return (total.reshape(*gradient.shape[:axis], old, 3, *gradient.shape[axis + 1 :]),)

    add.defvjp(lambda y: (add(y), None), backward)
    return add(y)


def _along(weights: np.ndarray, axis: int, ndim: int, dtype) -> np.ndarray:
    return weights.reshape([-1 if a == axis else 1 for a in range(ndim)]).astype(dtype)


@functools.lru_cache(maxsize=256)
def _bands(old: int, new: int, kind: str, transposed: bool = False) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each of three taps of a convolution, its shifted interpolation: the places [k, rows] and weights [k, rows] of what
    is not 0 in the rows of the matrix [new, old], or of its transpose; rows with fewer are filled up with weights of 0."""
    bands = []
    for shift in (-1, 0, 1):
        shifted = _shifted(old, new, kind, shift)
        rows = shifted.T if transposed else shifted
        order = np.argsort(rows == 0, axis=1, kind="stable")[:, : max((rows != 0).sum(1).max(), 1)]
        bands.append((order.T, np.take_along_axis(rows, order, 1).T))
    return bands


def _shifted(old: int, new: int, kind: str, shift: int) -> np.ndarray:
    """`interpolation` [new, old] of one tap of a convolution: row i is row i + shift, and zero beyond the edge."""
    matrix = interpolation(old, new, kind)
    shifted = np.zeros_like(matrix)
    shifted[max(-shift, 0) : new - max(shift, 0)] = matrix[max(shift, 0) : new + min(shift, 0)]
    return shifted
