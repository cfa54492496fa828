"""Waves as frames of one hop of samples each: for models that encode waves."""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

import jax

from timbre_jax.representations.base import Representation, fit_waves, length_mask
from timbre_jax.types import Array, Features


@dataclasses.dataclass(frozen=True)
class WaveFrames(Representation):
    """Frame n is the samples n * hop .. (n + 1) * hop - 1, in [-1, 1].

    Attributes:
      sample_rate: Hz.
      length: samples of a sound, T; others are cut or padded with silence by `analyze`. 0: as they are, padded to whole hops.
      hop: samples a frame. window: samples of the windows in which sounds are compared, a multiple of 2 hops.
    """

    name: ClassVar[str] = "wave_frames"
    version: ClassVar[int] = 2

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
        return 0

    @functools.partial(jax.jit, static_argnums=0)
    def analyze(self, waves: Array, lengths: Array | None = None) -> Features:
        """Cuts waves [B, T] in [-1, 1] into values [B, N, hop].

        `lengths` [B] in samples where sounds are padded: the mask is 1 for frames that begin within them.
        """
        length = self.length or waves.shape[-1]
        count = max(1, -(-length // self.hop))
        values = fit_waves(waves[..., :length], count * self.hop).reshape(len(waves), count, self.hop)
        return Features(values=values, mask=length_mask(values, self.hop, lengths), rate=self.rate)

    @functools.partial(jax.jit, static_argnums=0)
    def synthesize(self, features: Features, key: Array | None = None) -> Array:
        """Features to waves [B, T]: the samples; frames outside the mask are silent. `key` is not used.

        T is `length` where there are as many frames as `feature_shape` says, else frames * hop.
        """
        del key
        values = features.values if features.mask is None else features.values * features.mask[..., None]
        waves = values.reshape(values.shape[0], -1)
        return waves[:, : self.length] if self.length and values.shape[1] == self.feature_shape[0] else waves
