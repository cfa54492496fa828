"""Windows of waves at a level of 1, and the networks that encode them: for VQ-VAEs of sound."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.level import FLOOR_DB, amplitude_to_db, root
from timbre_jax.audio.stft import frame, window_samples
from timbre_jax.types import Array


def centered_windows(waves: Array, *, hop: int, window: int) -> Array:
    """Returns the Hann windows centered on n * hop of waves [B, N * hop], [B, N, window]; silence before and after."""
    waves = jnp.pad(waves, ((0, 0), (window // 2, window // 2 - hop)))
    return frame(waves, window, hop) * window_samples("hann", window)


def leveled_windows(windows: Array, *, hop: int) -> tuple[Array, Array]:
    """Scales Hann windows [B, N, window] to a level of 1 (silent ones to 0) and returns their levels [B, N] in dB, too.

    The level is the root of sum (w x)^2 / sum w^2, summed hop by hop: a stream, which gets one frame at a time, computes the
    same number.
    """
    parts = windows.reshape(*windows.shape[:-1], -1, hop)
    weight = np.sum(np.square(window_samples("hann", windows.shape[-1]), dtype=np.float64))
    level = root(jnp.sum(jnp.sum(jnp.square(parts), axis=-1), axis=-1) / np.float32(weight))
    gain = amplitude_to_db(level)
    scale = jnp.where(gain > FLOOR_DB, 1.0 / jnp.where(gain > FLOOR_DB, level, 1.0), 0.0)
    return windows * scale[..., None], gain


def random_stretches(keys: Array, count: int, *arrays: Array) -> list[Array]:
    """Returns `count` frames of every sound's arrays [B, N, ...], from a random frame on that the sound's key decides."""
    total = arrays[0].shape[1]
    starts = jax.vmap(lambda key: jax.random.randint(key, (), 0, total - count + 1, jnp.int32))(keys)
    return [jax.vmap(lambda x, start: jax.lax.dynamic_slice_in_dim(x, start, count))(x, starts) for x in arrays]


class StridedEncoder(nn.Module):
    """Windows [..., window] to [..., size]: 1-D convolutions of stride 2, each followed by leaky ReLU, and a dense layer.

    Ours: after a convolution, all of a window's values together are brought to mean 0 and variance 1 (Wu & He 2018, one group).
    """

    channels: tuple[int, ...]
    kernel: int
    size: int

    @nn.compact
    def __call__(self, windows: Array) -> Array:
        x = windows.reshape(-1, windows.shape[-1], 1)
        for channels in self.channels:
            x = nn.Conv(channels, (self.kernel,), strides=2, padding="SAME", use_bias=False)(x)
            x = nn.leaky_relu(nn.GroupNorm(num_groups=1)(x))
        return nn.Dense(self.size)(x.reshape(*windows.shape[:-1], -1))


class DenseStack(nn.Module):
    """`depth` dense layers of one width, each followed by layer normalization and leaky ReLU."""

    width: int
    depth: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for _ in range(self.depth):
            x = nn.leaky_relu(nn.LayerNorm()(nn.Dense(self.width)(x)))
        return x
