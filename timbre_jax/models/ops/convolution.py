"""3x3 convolutions of small images as matrix products with fast gradients.

On a CPU, XLA's convolutions are fast, but the gradients of strided, transposed and one-channel convolutions use slow loops.
Gathering the neighbors of every pixel and multiplying once is as fast and takes half the time with the gradient
(`experiments/benchmark.py --only=train_step/natsiou2023`).
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from timbre_jax.types import Array


def downsample_conv(x: Array, kernel: Array) -> Array:
    """Convolves images with a 3x3 kernel, stride 2 and "SAME" padding.

    Equals `jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME")`.

    Args:
      x: [B, H, W, C], H and W even.
      kernel: [3, 3, C, K].

    Returns:
      [B, H / 2, W / 2, K].

    Raises:
      ValueError: a side is odd.
    """
    batch, height, width, channels = x.shape
    if height % 2 or width % 2:
        raise ValueError(f"images of {height} x {width}: both sides must be even")
    half_height, half_width = height // 2, width // 2
    # "SAME" at stride 2 pads an even side by one pixel at its end; the second pixel completes the pairs.
    pairs = jnp.pad(x, ((0, 0), (0, 2), (0, 2), (0, 0))).reshape(batch, half_height + 1, 2, half_width + 1, 2, channels)
    taps = [
        pairs[:, row // 2 : row // 2 + half_height, row % 2, column // 2 : column // 2 + half_width, column % 2]
        for row in range(3)
        for column in range(3)
    ]
    features = kernel.shape[-1]
    y = jnp.concatenate(taps, axis=-1).reshape(-1, 9 * channels) @ kernel.reshape(9 * channels, features)
    return y.reshape(batch, half_height, half_width, features)


def upsample_conv(x: Array, kernel: Array) -> Array:
    """Convolves images with a transposed 3x3 kernel, stride 2 and "SAME" padding.

    Equals `jax.lax.conv_transpose(x, kernel, (2, 2), "SAME")` and linen's `ConvTranspose`. One product computes the four phases
    of the output as channels, followed by depth-to-space. Along one axis,

        out[2m] = kernel[0] x[m - 1] + kernel[2] x[m],    out[2m + 1] = kernel[1] x[m].

    7 of the 16 taps are zeros; separate products per phase would save them but be slower.

    Args:
      x: [B, H, W, C].
      kernel: [3, 3, C, K].

    Returns:
      [B, 2 H, 2 W, K].
    """
    batch, height, width, channels = x.shape
    features = kernel.shape[-1]
    zero = jnp.zeros_like(kernel[0])
    rows = jnp.stack([jnp.stack([kernel[0], kernel[2]]), jnp.stack([zero, kernel[1]])])  # [phase, tap, 3, C, K]
    zero = jnp.zeros_like(rows[:, :, 0])
    even, odd = jnp.stack([rows[:, :, 0], rows[:, :, 2]], 2), jnp.stack([zero, rows[:, :, 1]], 2)
    phases = jnp.stack([even, odd], 1)  # [row phase, column phase, row tap, column tap, C, K]
    weights = phases.transpose(2, 3, 4, 0, 1, 5).reshape(4 * channels, 4 * features)
    padded = jnp.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0)))
    taps = [padded[:, row : row + height, column : column + width] for row in range(2) for column in range(2)]
    y = jnp.concatenate(taps, axis=-1).reshape(-1, 4 * channels) @ weights
    y = y.reshape(batch, height, width, 2, 2, features).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(batch, 2 * height, 2 * width, features)


def narrow_conv(x: Array, kernel: Array) -> Array:
    """Convolves images with a 3x3 kernel, stride 1 and "SAME" padding to few channels.

    Equals `jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME")`. The product comes first and its nine results are shifted
    and added, so that only K channels are moved, not C.

    Args:
      x: [B, H, W, C].
      kernel: [3, 3, C, K].

    Returns:
      [B, H, W, K].
    """
    batch, height, width, channels = x.shape
    features = kernel.shape[-1]
    y = x.reshape(-1, channels) @ kernel.transpose(2, 0, 1, 3).reshape(channels, 9 * features)
    y = jnp.pad(y.reshape(batch, height, width, 3, 3, features), ((0, 0), (1, 1), (1, 1), (0, 0), (0, 0), (0, 0)))
    return sum(y[:, row : row + height, column : column + width, row, column] for row in range(3) for column in range(3))


_KINDS = {"down": downsample_conv, "up": upsample_conv, "same": narrow_conv}


class Conv3x3(nn.Module):
    """3x3 convolution layer with the parameters of `nn.Conv` and `nn.ConvTranspose`.

    Attributes:
      features: number of output channels K.
      kind: "down" (`downsample_conv`), "up" (`upsample_conv`) or "same" (`narrow_conv`).
    """

    features: int
    kind: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Returns the convolution of images x [B, H, W, C]."""
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return _KINDS[self.kind](x, kernel) + bias
