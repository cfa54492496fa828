"""The samples themselves, hop by hop, with the level of the window around each frame: for models that hear waves."""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.level import amplitude_to_db, root
from timbre_jax.audio.stft import frame, window_samples
from timbre_jax.representations.base import Representation
from timbre_jax.types import Array, Features


@dataclasses.dataclass(frozen=True)
class WaveFrames(Representation):
    """Frame n is the samples n * hop .. (n + 1) * hop - 1, in [-1, 1].

    `conditions["gain_db"]` [B, N] is the level of the Hann window of `window` samples that is centred on sample n * hop (as
    an STFT's frame n is): 10 log10(sum (w x)^2 / sum w^2), at least -100 dB, the root mean square of the sound as the window
    sees it. Samples before the beginning and after the end are 0.

    Attributes:
      sample_rate: Hz.
      length: samples of a sound, T; others are cut or padded with silence by `analyse`. 0: as they are, padded to whole hops.
      hop: samples a frame. window: samples, a multiple of 2 hops.
    """

    name: ClassVar[str] = "wave_frames"

    sample_rate: int = 16000
    length: int = 64000
    hop: int = 512
    window: int = 2048

    def __post_init__(self):
        if self.hop < 1 or self.length < 0 or self.window < 1 or self.window % (2 * self.hop):
            raise ValueError(
                "wave_frames: hop must be at least 1, length not negative and window a multiple of 2 hops, got "
                f"hop={self.hop}, length={self.length}, window={self.window}"
            )

    @property
    def feature_shape(self) -> tuple[int, int]:
        """(N, hop)."""
        return max(1, -(-self.length // self.hop)), self.hop

    @property
    def frame_length(self) -> int:
        return self.window

    @property
    def reach(self) -> int:
        return self.window // 2

    @functools.partial(jax.jit, static_argnums=0)
    def analyse(self, waves: Array, lengths: Array | None = None) -> Features:
        """Waves [B, T] in [-1, 1] to values [B, N, hop], with `gain_db` [B, N] beside them.

        `lengths` [B] in samples where sounds are padded: the mask is 1 for frames that begin within them.
        """
        if waves.ndim != 2:
            raise ValueError(f"waves must be [B, T], got shape {waves.shape}")
        if not jnp.issubdtype(waves.dtype, jnp.floating):
            raise ValueError(f"waves must be floats in [-1, 1], got {waves.dtype}: divide integers by their full scale")
        length = self.length or waves.shape[1]
        count = max(1, -(-length // self.hop))
        waves = waves[:, :length].astype(jnp.float32)
        waves = jnp.pad(waves, ((0, 0), (0, count * self.hop - waves.shape[1])))
        values = waves.reshape(waves.shape[0], count, self.hop)
        mask = jnp.ones(values.shape[:2], jnp.float32)
        if lengths is not None:
            starts = np.arange(count, dtype=np.int32) * self.hop
            mask = (starts < jnp.asarray(lengths)[:, None]).astype(jnp.float32)
        gain = window_level_db(waves, hop=self.hop, window=self.window)
        return Features(values=values, mask=mask, conditions={"gain_db": gain}, rate=self.rate)

    @functools.partial(jax.jit, static_argnums=0)
    def synthesise(self, features: Features, key: Array | None = None) -> Array:
        """Features to waves [B, T]: the samples; frames outside the mask are silent. `key` is not used.

        T is `length` where there are as many frames as `feature_shape` says, else frames * hop.
        """
        del key
        values = features.values if features.mask is None else features.values * features.mask[..., None]
        waves = values.reshape(values.shape[0], -1)
        return waves[:, : self.length] if self.length and values.shape[1] == self.feature_shape[0] else waves


def window_level_db(waves: Array, *, hop: int, window: int) -> Array:
    """Levels of the Hann windows centred on n * hop of waves [B, N * hop], [B, N] in dB; at least -100."""
    return amplitude_to_db(root(window_power(centred_windows(waves, hop=hop, window=window), hop=hop)))


def centred_windows(waves: Array, *, hop: int, window: int) -> Array:
    """The Hann windows centred on n * hop of waves [B, N * hop], [B, N, window]; silence before and after."""
    waves = jnp.pad(waves, ((0, 0), (window // 2, window // 2 - hop)))
    return frame(waves, window, hop) * window_samples("hann", window)


def window_power(windows: Array, *, hop: int) -> Array:
    """sum (w x)^2 / sum w^2 of Hann windows [..., window] of a sound: its mean square as they see it, [...].

    Summed hop by hop: then a stream that sees one frame at a time comes to the same number.
    """
    parts = windows.reshape(*windows.shape[:-1], -1, hop)
    weight = np.sum(np.square(window_samples("hann", windows.shape[-1]), dtype=np.float64))
    return jnp.sum(jnp.sum(jnp.square(parts), axis=-1), axis=-1) / np.float32(weight)
