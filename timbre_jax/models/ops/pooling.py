"""3x3 convolution followed by max pooling of stride 2, with fast gradients on a CPU.

XLA computes the gradient of a pool by select-and-scatter, which would take most of a training step. A window of 2 is the larger
of a pair, a window of 4 the larger of two neighboring pairs. So a pool is a maximum over disjoint blocks of 2 x 2, and for a
side of 4 a maximum over neighboring results. The block maximum stores its argument in a byte, from which the gradient follows.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.models.ops.chunks import join_chunks, split_chunks
from timbre_jax.models.ops.winograd import block_max_conv, largest_of_four
from timbre_jax.types import Array


def pooled_conv(x: Array, kernel: Array, window: tuple[int, int]) -> Array:
    """Convolves images with a 3x3 kernel ("SAME") and pools them with stride 2 ("VALID").

    Equals `jax.lax.reduce_window(y, -inf, max, (1, *window, 1), (1, 2, 2, 1), "VALID")` of the convolution y. Among equal
    values one receives the gradient, possibly another one than with XLA.

    Args:
      x: [B, H, W, C].
      kernel: [3, 3, C, K].
      window: rows and columns of the pooling window, each 2 or 4.

    Returns:
      [B, (H - window[0]) // 2 + 1, (W - window[1]) // 2 + 1, K].

    Raises:
      ValueError: the window has another size, or the images are smaller than the window.
    """
    if not set(window) <= {2, 4}:
        raise ValueError(f"pooling window: sides must be 2 or 4 (got {window})")
    if x.shape[1] < window[0] or x.shape[2] < window[1]:
        raise ValueError(f"images of {x.shape[1]} x {x.shape[2]}: smaller than the pooling window {window}")
    if x.shape[-1] == 1:
        return _one_channel_conv(x, kernel, window)
    return _pool_neighbors(block_max_conv(x, kernel), window)


def _pool_neighbors(x: Array, window: tuple[int, int]) -> Array:
    """Extends block maxima to windows of 4 by maxima of neighbors."""
    for axis, side in enumerate(window, start=1):
        if side == 4:
            x = _larger_neighbor(x, axis)
    return x


def _one_channel_conv(x: Array, kernel: Array, window: tuple[int, int]) -> Array:
    """Computes `pooled_conv` for images with one channel.

    Here the transforms of `winograd` do not pay off. One product computes the four pixels of a 2 x 2 block as channels. Images
    are processed one by one and recomputed for the gradient, so that intermediate results stay in the cache.
    """
    _, height, width, _ = x.shape
    half, features = (height // 2, width // 2), kernel.shape[-1]
    weights = jnp.zeros((2, 2, 4, 4, features), kernel.dtype)
    for row in (0, 1):
        for column in (0, 1):
            weights = weights.at[row, column, row : row + 3, column : column + 3].set(kernel[:, :, 0])
    weights = weights.transpose(2, 3, 0, 1, 4).reshape(16, 4 * features)
    rows, columns = (2 * np.arange(count)[:, None] + np.arange(4) for count in half)

    @jax.checkpoint
    def convolve_chunk(x: Array) -> Array:
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1)))
        patches = padded[:, rows[:, None, :, None], columns[None, :, None, :]]
        blocks = (patches.reshape(-1, 16) @ weights).reshape(-1, *half, 4 * features)
        return _pool_neighbors(_largest_of_four(blocks), window)

    return join_chunks(jax.lax.map(convolve_chunk, split_chunks(x[..., 0], 1)))


@jax.custom_vjp
def _largest_of_four(x: Array) -> Array:
    """Returns the maximum of the four quarters of the last axis, [..., 4 * C] to [..., C]."""
    return _largest_forward(x)[0]


def _largest_forward(x):
    return largest_of_four(*jnp.split(x, 4, axis=-1))


def _largest_backward(winner, gradient):
    # A comparison broadcast over a new axis takes XLA three times as long.
    return (jnp.concatenate([jnp.where(winner == place, gradient, 0) for place in range(4)], -1),)


_largest_of_four.defvjp(_largest_forward, _largest_backward)


def _larger_neighbor(x: Array, axis: int) -> Array:
    """Returns the maximum of each two neighbors along an axis, which becomes one shorter."""
    count = x.shape[axis] - 1

    @jax.custom_vjp
    def larger(x):
        return forward(x)[0]

    def part(x, start, stop):
        return jax.lax.slice_in_dim(x, start, stop, axis=axis)

    def forward(x):
        return jnp.maximum(part(x, 0, count), part(x, 1, count + 1)), x

    def backward(x, gradient):
        # A value receives the gradient of the pair that it starts, unless the next value is larger, and of the one it ends.
        edge = [(1, 1) if a == axis else (0, 0) for a in range(x.ndim)]
        values, gradient = jnp.pad(x, edge, constant_values=-jnp.inf), jnp.pad(gradient, edge)
        begins = jnp.where(x >= part(values, 2, count + 3), part(gradient, 1, count + 2), 0)
        return (begins + jnp.where(x > part(values, 0, count + 1), part(gradient, 0, count + 1), 0),)

    larger.defvjp(forward, backward)
    return larger(x)
