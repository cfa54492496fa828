"""The 3x3 convolutions of small pictures as matrix products, which XLA differentiates quickly on every backend.

XLA's convolutions on CPU are fast forwards, but the gradient of a strided, transposed or one-channel convolution falls to
slow loops. Gathering the neighbors of every pixel and multiplying once is as fast forwards and takes half the time with the
gradient (`experiments/benchmark.py --only=train_step/natsiou2023`), in one code path for all backends.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from timbre_jax.types import Array


def downsample_conv(x: Array, kernel: Array) -> Array:
    """Convolution of stride 2 with a 3x3 kernel and "SAME" padding: [B, H, W, C] to [B, H/2, W/2, K], H and W even.

    What `jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME")` computes.

    Args:
      x: [B, H, W, C].
      kernel: [3, 3, C, K].
    """
    batch, height, width, channels = x.shape
    if height % 2 or width % 2:
        raise ValueError(f"a picture of {height} x {width} does not halve; both sides must be even")
    half_height, half_width = height // 2, width // 2
    # "SAME" at stride 2 pads an even side by one pixel, at its end; the second is to make pairs.
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
    """Transposed convolution of stride 2 with a 3x3 kernel and "SAME" padding: [B, H, W, C] to [B, 2H, 2W, K].

    Exactly what `jax.lax.conv_transpose(x, kernel, (2, 2), "SAME")` and linen's `ConvTranspose` compute, written as one
    product that gives the four phases of the output as channels, then depth-to-space. Along one axis

        out[2m] = kernel[0] x[m - 1] + kernel[2] x[m],    out[2m + 1] = kernel[1] x[m].

    7 of the 16 taps are zeros; a product for each phase would save them and be slower for its shape.

    Args:
      x: [B, H, W, C].
      kernel: [3, 3, C, K].
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
    """Convolution of stride 1 with a 3x3 kernel and "SAME" padding to few channels: [B, H, W, C] to [B, H, W, K].

    What `jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME")` computes: the product comes first and its nine results are
    shifted and added, so that K channels move about and not C.

    Args:
      x: [B, H, W, C].
      kernel: [3, 3, C, K].
    """
    batch, height, width, channels = x.shape
    features = kernel.shape[-1]
    y = x.reshape(-1, channels) @ kernel.transpose(2, 0, 1, 3).reshape(channels, 9 * features)
    y = jnp.pad(y.reshape(batch, height, width, 3, 3, features), ((0, 0), (1, 1), (1, 1), (0, 0), (0, 0), (0, 0)))
    return sum(y[:, row : row + height, column : column + width, row, column] for row in range(3) for column in range(3))


_KINDS = {"down": downsample_conv, "up": upsample_conv, "same": narrow_conv}


class Conv3x3(nn.Module):
    """Linen layer around the functions above; its parameters are those of `nn.Conv` and `nn.ConvTranspose`.

    Attributes:
      features: K.
      kind: "down" (stride 2), "up" (transposed, stride 2) or "same".
    """

    features: int
    kind: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return _KINDS[self.kind](x, kernel) + bias
