"""A 3x3 convolution and the max pooling of stride 2 after it, in one, without what XLA is slow at on CPU: the gradients of a
pool (select-and-scatter would take most of a step) and of the convolution.

A window of 2 is the larger of a pair; one of 4 the larger of two neighboring pairs. So a pool is a maximum over blocks of
2 x 2, which do not overlap, and where a side is 4 one over neighbors after it. Each remembers in a byte who won, and its
gradient is a comparison with that.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.models.ops.chunks import chunks, joined
from timbre_jax.models.ops.winograd import conv_of_blocks, largest_of_four
from timbre_jax.types import Array


def pooled_conv(x: Array, kernel: Array, window: tuple[int, int]) -> Array:
    """Convolution with a 3x3 kernel and "SAME" padding, then max pooling with stride 2 and no padding ("VALID").

    Pictures [B, H, W, C] to [B, (H - window[0]) // 2 + 1, (W - window[1]) // 2 + 1, K], what `jax.lax.reduce_window(y, -inf,
    max, (1, *window, 1), (1, 2, 2, 1), "VALID")` computes of the convolution y. Of equal values one gets the gradient (XLA's
    choice among them may be another).

    Args:
      x: [B, H, W, C].
      kernel: [3, 3, C, K].
      window: rows and columns of the pool's window, each 2 or 4.

    Raises:
      ValueError: another window, or a picture that is smaller than it.
    """
    if not set(window) <= {2, 4}:
        raise ValueError(f"windows of pooled_conv have sides of 2 or 4, not {window}")
    if x.shape[1] < window[0] or x.shape[2] < window[1]:
        raise ValueError(f"a window of {window} does not fit into a picture of {x.shape[1]} x {x.shape[2]}")
    if x.shape[-1] == 1:
        return _first_conv(x, kernel, window)
    return _overlapping(conv_of_blocks(x, kernel), window)


def _overlapping(x: Array, window: tuple[int, int]) -> Array:
    for axis, side in enumerate(window, start=1):
        if side == 4:
            x = _neighbors(x, axis)
    return x


def _first_conv(x: Array, kernel: Array, window: tuple[int, int]) -> Array:
    """`pooled_conv` of pictures of one channel, [B, H, W, 1]: too few for transforms of their neighborhoods to pay.

    One picture after another, computed again for the gradient: so what lies between stays in the cache. One product gives the
    four pixels of a 2 x 2 block as channels.
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
    def few(x: Array) -> Array:
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1)))
        patches = padded[:, rows[:, None, :, None], columns[None, :, None, :]]
        blocks = (patches.reshape(-1, 16) @ weights).reshape(-1, *half, 4 * features)
        return _overlapping(_largest_of_four(blocks), window)

    return joined(jax.lax.map(few, chunks(x[..., 0], 1)))


@jax.custom_vjp
def _largest_of_four(x: Array) -> Array:
    """The largest of the four quarters of the last axis: [.., 4 * C] to [.., C]."""
    return _largest_forward(x)[0]


def _largest_forward(x):
    return largest_of_four(*jnp.split(x, 4, axis=-1))


def _largest_backward(winner, gradient):
    # One after another: a comparison broadcast over a new axis takes XLA three times as long.
    return (jnp.concatenate([jnp.where(winner == place, gradient, 0) for place in range(4)], -1),)


_largest_of_four.defvjp(_largest_forward, _largest_backward)


def _neighbors(x: Array, axis: int) -> Array:
    """The larger of each two neighbors along an axis, which becomes one shorter."""

    count = x.shape[axis] - 1

    @jax.custom_vjp
    def larger(x):
        return forward(x)[0]

    def part(x, start, stop):
        return jax.lax.slice_in_dim(x, start, stop, axis=axis)

    def forward(x):
        return jnp.maximum(part(x, 0, count), part(x, 1, count + 1)), x

    def backward(x, gradient):
        # A value gets the gradient of the window that it begins, unless the next is larger, and of the one that it ends.
        edge = [(1, 1) if a == axis else (0, 0) for a in range(x.ndim)]
        values, gradient = jnp.pad(x, edge, constant_values=-jnp.inf), jnp.pad(gradient, edge)
        begins = jnp.where(x >= part(values, 2, count + 3), part(gradient, 1, count + 2), 0)
        return (begins + jnp.where(x > part(values, 0, count + 1), part(gradient, 0, count + 1), 0),)

    larger.defvjp(forward, backward)
    return larger(x)
