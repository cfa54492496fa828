"""3x3 convolutions by minimal filtering, pooled over blocks of 2 x 2 (Winograd 1980; Lavin and Gray 2016, F(2x2, 3x3)).

The four outputs of a block share their 4 x 4 inputs: transformed by sums alone, they take 16 products in place of 36. The
block is also what a pool of stride 2 wants, so the picture between the two, the largest thing in such a network, is never
made. In float32 the error is that of plain sums (3e-7 of the result); with factors in bfloat16 a third more than theirs.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.models.ops.chunks import chunks, joined
from timbre_jax.types import Array

_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
"""From a kernel's three taps to its four factors (G of Lavin and Gray)."""


@jax.custom_vjp
def conv_of_blocks(x: Array, kernel: Array) -> Array:
    """The largest of each 2 x 2 block of a 3x3 convolution ("SAME"): [B, H, W, C] to [B, H // 2, W // 2, K].

    An odd last row or column is left out. One picture after another (`chunks`), so that what lies between stays in the cache.
    Of equal values one gets the gradient.

    Args:
      x: [B, H, W, C].
      kernel: [3, 3, C, K].
    """
    return _forward(x, kernel)[0]


def largest_of_four(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array]:
    """The largest of four, and which it is (the first of equal ones), as a byte."""
    largest = jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))
    return largest, jnp.where(a == largest, 0, jnp.where(b == largest, 1, jnp.where(c == largest, 2, 3))).astype(jnp.uint8)


def _forward(x, kernel):
    factors = _factors(kernel)
    shape = (x.shape[1] // 2, x.shape[2] // 2, kernel.shape[-1])

    def few(x: Array) -> tuple[Array, Array]:
        products = [tiles @ factor for tiles, factor in zip(_tiles(x), factors, strict=True)]
        upper, lower = zip(*(_outputs(*products[column::4]) for column in range(4)), strict=True)
        return tuple(part.reshape(-1, *shape) for part in largest_of_four(*_outputs(*upper), *_outputs(*lower)))

    largest, winner = jax.lax.map(few, chunks(x, 1))
    return joined(largest), (x, kernel, joined(winner))


def _backward(saved, gradient):
    x, kernel, winner = saved
    factors = _factors(kernel)

    def few(total: Array, part: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        x, winner, gradient = part
        a, b, c, d = (jnp.where(winner == place, gradient, 0).reshape(-1, gradient.shape[-1]) for place in range(4))
        left, right = _from_outputs(a, c), _from_outputs(b, d)
        products = [product for row in range(4) for product in _from_outputs(left[row], right[row])]
        for_kernel = jnp.stack([tiles.T @ product for tiles, product in zip(_tiles(x), products, strict=True)])
        for_x = [product @ factor.T for product, factor in zip(products, factors, strict=True)]
        return total + for_kernel, _from_tiles(for_x, x.shape)

    total, for_x = jax.lax.scan(few, jnp.zeros_like(factors), (chunks(x, 1), chunks(winner, 1), chunks(gradient, 1)))
    total = total.reshape(4, 4, *kernel.shape[2:])
    for_kernel = jnp.einsum("ia,ijck,jb->abck", _KERNEL, total, _KERNEL, precision="highest")
    return joined(for_x), for_kernel.astype(kernel.dtype)


conv_of_blocks.defvjp(_forward, _backward)


def _factors(kernel: Array) -> Array:
    """[3, 3, C, K] to [16, C, K]."""
    factors = jnp.einsum("ia,abck,jb->ijck", _KERNEL, kernel, _KERNEL, precision="highest")
    return factors.reshape(16, *kernel.shape[2:]).astype(kernel.dtype)


def _tiles(x: Array) -> list[Array]:
    """Pictures [B, H, W, C] to the 16 transformed inputs of all blocks, each [B * H//2 * W//2, C]."""
    batch, height, width, channels = x.shape
    rows, columns = 2 * (height // 2) + 2, 2 * (width // 2) + 2
    x = x[:, : rows - 1, : columns - 1]
    x = jnp.pad(x, ((0, 0), (1, rows - 1 - x.shape[1]), (1, columns - 1 - x.shape[2]), (0, 0)))
    x = x.reshape(batch, rows // 2, 2, columns // 2, 2, channels)
    left, right = (_inputs(x[:, :, 0, :, side], x[:, :, 1, :, side], 1) for side in range(2))
    return [tile.reshape(-1, channels) for row in range(4) for tile in _inputs(left[row], right[row], 2)]


def _inputs(even: Array, odd: Array, axis: int) -> tuple[Array, Array, Array, Array]:
    """The transformed four neighbors of each pair of outputs along an axis: inputs 0 and 2 of them are `even` at i and i + 1,
    1 and 3 are `odd` there."""

    def at(x: Array, place: int) -> Array:
        return jax.lax.slice_in_dim(x, place, place + x.shape[axis] - 1, axis=axis)

    return (
        at(even, 0) - at(even, 1),
        at(odd, 0) + at(even, 1),
        at(even, 1) - at(odd, 0),
        at(odd, 0) - at(odd, 1),
    )


def _from_tiles(tiles: list[Array], shape: tuple[int, ...]) -> Array:
    """What `_tiles` does, transposed: from gradients of the 16 to that of the pictures of this shape."""
    batch, height, width, channels = shape
    half = (height // 2, width // 2)
    tiles = [tile.reshape(batch, *half, channels) for tile in tiles]
    columns = [_from_inputs(*tiles[4 * row : 4 * row + 4], 2) for row in range(4)]
    sides = [jnp.stack(_from_inputs(*(column[side] for column in columns), 1), 2) for side in range(2)]
    x = jnp.stack(sides, 4).reshape(batch, 2 * half[0] + 2, 2 * half[1] + 2, channels)[:, 1 : height + 1, 1 : width + 1]
    return jnp.pad(x, ((0, 0), (0, height - x.shape[1]), (0, width - x.shape[2]), (0, 0)))


def _from_inputs(a: Array, b: Array, c: Array, d: Array, axis: int) -> tuple[Array, Array]:
    """`_inputs` transposed."""

    def to(x: Array, place: int) -> Array:
        return jnp.pad(x, [(place, 1 - place) if a == axis else (0, 0) for a in range(x.ndim)])

    return to(a, 0) + to(b + c - a, 1), to(b - c + d, 0) - to(d, 1)


def _outputs(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array]:
    """A pair of outputs along an axis from its four products."""
    return a + b + c, b - c - d


def _from_outputs(a: Array, b: Array) -> tuple[Array, Array, Array, Array]:
    """`_outputs` transposed."""
    return a, a + b, a - b, -b
