"""Waves divided into frames of one hop, for models that encode samples."""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

import jax

from timbre_jax.representations.base import Representation, fit_waves, length_mask
from timbre_jax.types import Array, Features


@dataclasses.dataclass(frozen=True)
class WaveFrames(Representation):
    """Representation by samples; frame n contains samples n * hop to (n + 1) * hop - 1.

    Attributes:
      sample_rate: sample rate in Hz.
      length: samples T to which `analyze` cuts or pads sounds; 0 for padding to whole hops only.
      hop: samples per frame.
      window: samples of the windows that models encode, a multiple of 2 hops.
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
                "representation 'wave_frames': hop must be positive, length not negative and window a multiple of 2 hops "
                f"(got hop={self.hop}, length={self.length}, window={self.window})"
            )

    @property
    def feature_shape(self) -> tuple[int, int]:
        """(N, hop), the shape of the features of a sound of standard length."""
        return max(1, -(-self.length // self.hop)), self.hop

    @property
    def frame_length(self) -> int:
        """Length of a frame in samples."""
        return self.window

    @property
    def reach(self) -> int:
        """Samples on each side of its center on which a frame depends; None for all."""
        return 0

    @functools.partial(jax.jit, static_argnums=0)
    def analyze(self, waves: Array, lengths: Array | None = None) -> Features:
        """Divides waves into values [B, N, hop]; the mask is 1 for frames that start in a sound."""
        length = self.length or waves.shape[-1]
        count = max(1, -(-length // self.hop))
        values = fit_waves(waves[..., :length], count * self.hop).reshape(len(waves), count, self.hop)
        return Features(values=values, mask=length_mask(values, self.hop, lengths), rate=self.rate)

    @functools.partial(jax.jit, static_argnums=0)
    def synthesize(self, features: Features, key: Array | None = None) -> Array:
        """Returns the samples of features, [B, T]; `key` is unused.

        T is `length` for features of `feature_shape`, else the number of frames times `hop`.
        """
        del key
        values = features.values if features.mask is None else features.values * features.mask[..., None]
        waves = values.reshape(values.shape[0], -1)
        return waves[:, : self.length] if self.length and values.shape[1] == self.feature_shape[0] else waves
