"""Windows of waves, scaled to a common level, and layers of VQ-VAEs that encode them."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.level import FLOOR_DB, amplitude_to_db, safe_sqrt
from timbre_jax.audio.stft import frame, window_samples
from timbre_jax.types import Array


def centered_windows(waves: Array, *, hop: int, window: int) -> Array:
    """Returns Hann windows [B, N, window] of waves [B, N * hop], centered on n * hop."""
    waves = jnp.pad(waves, ((0, 0), (window // 2, window // 2 - hop)))
    return frame(waves, window, hop) * window_samples("hann", window)


def leveled_windows(windows: Array, *, hop: int) -> tuple[Array, Array]:
    """Scales Hann windows [B, N, window] to a level of 1, silent ones to 0.

    The level is the root of sum (w x)^2 / sum w^2, summed hop by hop so that a stream computes the same number.

    Returns:
      The scaled windows and their levels [B, N] in dB.
    """
    parts = windows.reshape(*windows.shape[:-1], -1, hop)
    weight = np.sum(np.square(window_samples("hann", windows.shape[-1]), dtype=np.float64))
    level = safe_sqrt(jnp.sum(jnp.sum(jnp.square(parts), axis=-1), axis=-1) / np.float32(weight))
    gain = amplitude_to_db(level)
    scale = jnp.where(gain > FLOOR_DB, 1.0 / jnp.where(gain > FLOOR_DB, level, 1.0), 0.0)
    return windows * scale[..., None], gain


def random_crops(keys: Array, count: int, *arrays: Array) -> list[Array]:
    """Returns a random crop of `count` frames per sound of arrays [B, N, ...], with keys [B]."""
    total = arrays[0].shape[1]
    starts = jax.vmap(lambda key: jax.random.randint(key, (), 0, total - count + 1, jnp.int32))(keys)
    return [jax.vmap(lambda x, start: jax.lax.dynamic_slice_in_dim(x, start, count))(x, starts) for x in arrays]


class StridedEncoder(nn.Module):
    """Convolutions of stride 2 and a dense layer, [..., window] to [..., size].

    Ours: group normalization with one group after each convolution (Wu & He 2018).

    Attributes:
      channels: output channels of the convolutions.
      kernel: kernel size of the convolutions.
      size: number of outputs.
    """

    channels: tuple[int, ...]
    kernel: int
    size: int

    @nn.compact
    def __call__(self, windows: Array) -> Array:
        """Returns outputs [..., size] of windows [..., window]."""
        x = windows.reshape(-1, windows.shape[-1], 1)
        for channels in self.channels:
            x = nn.Conv(channels, (self.kernel,), strides=2, padding="SAME", use_bias=False)(x)
            x = nn.leaky_relu(nn.GroupNorm(num_groups=1)(x))
        return nn.Dense(self.size)(x.reshape(*windows.shape[:-1], -1))


class DenseStack(nn.Module):
    """Dense layers, each followed by layer normalization and leaky ReLU.

    Attributes:
      width: units of each layer.
      depth: number of layers.
    """

    width: int
    depth: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Returns outputs [..., width] of x [..., C]."""
        for _ in range(self.depth):
            x = nn.leaky_relu(nn.LayerNorm()(nn.Dense(self.width)(x)))
        return x
