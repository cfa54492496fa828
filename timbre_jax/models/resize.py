"""Bilinear resizing as weighted sums of two neighbours, and its gradient as weighted sums of the few that used a pixel."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.records import Array

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
    low = np.minimum(place.astype(int), max(old - 2, 0))
    matrix = np.zeros((new, old), np.float32)
    matrix[np.arange(new), low] = 1.0 - (place - low)
    matrix[np.arange(new), np.minimum(low + 1, old - 1)] += place - low
    return matrix


def resize(x: Array, size: tuple[int, int], kind: str = "half_pixel") -> Array:
    """Bilinear interpolation of pictures [B, h, w, C] to [B, *size, C]; see `interpolation`. For enlarging: no antialiasing."""
    for axis, new in enumerate(size, start=1):
        x = banded_product(x, x.shape[axis], new, axis, kind)
    return x


def banded_product(x: Array, old: int, new: int, axis: int, kind: str) -> Array:
    """`interpolation(old, new, kind)` times x along an axis, only where the matrix is not 0."""

    @jax.custom_vjp
    def product(x):
        return _gathered(x, _bands(old, new, kind, False), axis)

    def backward(_, gradient):
        return (_gathered(gradient, _bands(old, new, kind, True), axis),)

    product.defvjp(lambda x: (product(x), None), backward)
    return product(x)


@functools.lru_cache(maxsize=256)
def _bands(old: int, new: int, kind: str, transposed: bool) -> tuple[np.ndarray, np.ndarray]:
    """For each row of the matrix the places [k, rows] and weights [k, rows] of what is not 0, filled up with weights of 0."""
    matrix = interpolation(old, new, kind)
    matrix = matrix.T if transposed else matrix
    order = np.argsort(matrix == 0, axis=1, kind="stable")[:, : max((matrix != 0).sum(1).max(), 1)]
    return order.T, np.take_along_axis(matrix, order, 1).T


def _gathered(x: Array, bands: tuple[np.ndarray, np.ndarray], axis: int) -> Array:
    shape = [-1 if a == axis else 1 for a in range(x.ndim)]
    return sum(
        jnp.take(x, places, axis=axis, unique_indices=False, indices_are_sorted=False, mode="clip")
        * weights.reshape(shape).astype(x.dtype)
        for places, weights in zip(*bands, strict=True)
    )
