"""3x3 convolutions by minimal filtering, pooled over blocks of 2 x 2.

F(2x2, 3x3) of Winograd 1980 and Lavin & Gray 2016. The four outputs of a block share 4 x 4 inputs. After transforms that only
add, they need 16 products instead of 36. A block is also what a pool of stride 2 reduces, so the largest array of such a
network, the image between convolution and pool, is never computed. In float32 the relative error is that of plain sums, 3e-7;
with factors in bfloat16 it is a third larger.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.models.ops.chunks import join_chunks, split_chunks
from timbre_jax.types import Array

_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
"""Transform of the three taps of a kernel to four factors (G of Lavin & Gray)."""


@jax.custom_vjp
def block_max_conv(x: Array, kernel: Array) -> Array:
    """Convolves images with a 3x3 kernel ("SAME") and returns the maximum of each 2 x 2 block.

    An odd last row or column is ignored. Images are processed in chunks, so that intermediate results stay in the cache. Among
    equal values one receives the gradient.

    Args:
      x: [B, H, W, C].
      kernel: [3, 3, C, K].

    Returns:
      [B, H // 2, W // 2, K].
    """
    return _forward(x, kernel)[0]


def largest_of_four(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array]:
    """Returns the maximum of four arrays and the index of the first that has it, as uint8."""
    largest = jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))
    return largest, jnp.where(a == largest, 0, jnp.where(b == largest, 1, jnp.where(c == largest, 2, 3))).astype(jnp.uint8)


def _forward(x, kernel):
    factors = _factors(kernel)
    shape = (x.shape[1] // 2, x.shape[2] // 2, kernel.shape[-1])

    def convolve_chunk(x: Array) -> tuple[Array, Array]:
        products = [tiles @ factor for tiles, factor in zip(_tiles(x), factors, strict=True)]
        upper, lower = zip(*(_outputs(*products[column::4]) for column in range(4)), strict=True)
        return tuple(part.reshape(-1, *shape) for part in largest_of_four(*_outputs(*upper), *_outputs(*lower)))

    largest, winner = jax.lax.map(convolve_chunk, split_chunks(x, 1))
    return join_chunks(largest), (x, kernel, join_chunks(winner))


def _backward(saved, gradient):
    x, kernel, winner = saved
    factors = _factors(kernel)

    def differentiate_chunk(total: Array, part: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        x, winner, gradient = part
        a, b, c, d = (jnp.where(winner == place, gradient, 0).reshape(-1, gradient.shape[-1]) for place in range(4))
        left, right = _from_outputs(a, c), _from_outputs(b, d)
        products = [product for row in range(4) for product in _from_outputs(left[row], right[row])]
        kernel_gradient = jnp.stack([tiles.T @ product for tiles, product in zip(_tiles(x), products, strict=True)])
        x_gradient = [product @ factor.T for product, factor in zip(products, factors, strict=True)]
        return total + kernel_gradient, _from_tiles(x_gradient, x.shape)

    total, x_gradient = jax.lax.scan(
        differentiate_chunk, jnp.zeros_like(factors), (split_chunks(x, 1), split_chunks(winner, 1), split_chunks(gradient, 1))
    )
    total = total.reshape(4, 4, *kernel.shape[2:])
    kernel_gradient = jnp.einsum("ia,ijck,jb->abck", _KERNEL, total, _KERNEL, precision="highest")
    return join_chunks(x_gradient), kernel_gradient.astype(kernel.dtype)


block_max_conv.defvjp(_forward, _backward)


def _factors(kernel: Array) -> Array:
    """Transforms a kernel [3, 3, C, K] to factors [16, C, K]."""
    factors = jnp.einsum("ia,abck,jb->ijck", _KERNEL, kernel, _KERNEL, precision="highest")
    return factors.reshape(16, *kernel.shape[2:]).astype(kernel.dtype)


def _tiles(x: Array) -> list[Array]:
    """Transforms images to the 16 inputs of all blocks, each [B * (H // 2) * (W // 2), C]."""
    batch, height, width, channels = x.shape
    rows, columns = 2 * (height // 2) + 2, 2 * (width // 2) + 2
    x = x[:, : rows - 1, : columns - 1]
    x = jnp.pad(x, ((0, 0), (1, rows - 1 - x.shape[1]), (1, columns - 1 - x.shape[2]), (0, 0)))
    x = x.reshape(batch, rows // 2, 2, columns // 2, 2, channels)
    left, right = (_inputs(x[:, :, 0, :, side], x[:, :, 1, :, side], 1) for side in range(2))
    return [tile.reshape(-1, channels) for row in range(4) for tile in _inputs(left[row], right[row], 2)]


def _inputs(even: Array, odd: Array, axis: int) -> tuple[Array, Array, Array, Array]:
    """Transforms the four inputs of each pair of outputs along an axis.

    Inputs 0 and 2 are `even` at i and i + 1, inputs 1 and 3 are `odd` there.
    """

    def at(x: Array, place: int) -> Array:
        return jax.lax.slice_in_dim(x, place, place + x.shape[axis] - 1, axis=axis)

    return (
        at(even, 0) - at(even, 1),
        at(odd, 0) + at(even, 1),
        at(even, 1) - at(odd, 0),
        at(odd, 0) - at(odd, 1),
    )


def _from_tiles(tiles: list[Array], shape: tuple[int, ...]) -> Array:
    """Applies the transpose of `_tiles`, from gradients of the 16 inputs to those of images."""
    batch, height, width, channels = shape
    half = (height // 2, width // 2)
    tiles = [tile.reshape(batch, *half, channels) for tile in tiles]
    columns = [_from_inputs(*tiles[4 * row : 4 * row + 4], 2) for row in range(4)]
    sides = [jnp.stack(_from_inputs(*(column[side] for column in columns), 1), 2) for side in range(2)]
    x = jnp.stack(sides, 4).reshape(batch, 2 * half[0] + 2, 2 * half[1] + 2, channels)[:, 1 : height + 1, 1 : width + 1]
    return jnp.pad(x, ((0, 0), (0, height - x.shape[1]), (0, width - x.shape[2]), (0, 0)))


def _from_inputs(a: Array, b: Array, c: Array, d: Array, axis: int) -> tuple[Array, Array]:
    """Applies the transpose of `_inputs`."""

    def to(x: Array, place: int) -> Array:
        return jnp.pad(x, [(place, 1 - place) if a == axis else (0, 0) for a in range(x.ndim)])

    return to(a, 0) + to(b + c - a, 1), to(b - c + d, 0) - to(d, 1)


def _outputs(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array]:
    """Returns a pair of outputs from its four products."""
    return a + b + c, b - c - d


def _from_outputs(a: Array, b: Array) -> tuple[Array, Array, Array, Array]:
    """Applies the transpose of `_outputs`."""
    return a, a + b, a - b, -b
