"""Recorded sounds with features and labels, the input of analyses and scores."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import numpy as np

from timbre_jax.inference.batched import map_batches, take
from timbre_jax.metrics.reconstruction import common_features
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features


@dataclasses.dataclass(frozen=True)
class Sounds(abc.ABC):
    """Recorded sounds with features and labels; base class of `Notes` and `SoundArrays`.

    Attributes:
      features: features of M sounds in the representation of the space.
      target: features on the common scale of all scores, not clipped by fitted ranges.
      labels: [M] each: id, instrument, family and source (str), pitch and velocity (int, -1 if unknown). Intervals resample
        instruments. In a sample library, the first four are path, group of near-duplicates, class and kit.
    """

    features: Features
    target: Features
    labels: dict[str, np.ndarray]

    per_sound: ClassVar[tuple[str, ...]] = ("features", "target", "labels")
    """Names of the fields with one entry for each sound."""

    @property
    @abc.abstractmethod
    def varies(self) -> bool:
        """True if the sounds have different lengths."""

    @abc.abstractmethod
    def audio(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the waves [n, T] of some of the sounds."""

    @abc.abstractmethod
    def lengths(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the lengths [n] of some of the sounds in samples; their waves are padded."""

    def varying_lengths(self, rows: Sequence[int] | np.ndarray, *, most: int) -> np.ndarray | None:
        """Returns `lengths`, limited to `most` samples; None if all sounds have one length."""
        return np.minimum(self.lengths(rows), most) if self.varies else None

    def part(self, rows: np.ndarray) -> Self:
        """Returns the chosen rows of the sounds."""
        return dataclasses.replace(self, **take({name: getattr(self, name) for name in self.per_sound}, rows))


@dataclasses.dataclass(frozen=True)
class SoundArrays(Sounds):
    """Sounds whose waves are in an array.

    Attributes:
      waves: [M, T] waves at the sample rate of the space.
      real_lengths: [M] lengths in samples; None if all sounds have length T.
    """

    waves: np.ndarray
    real_lengths: np.ndarray | None = None

    per_sound: ClassVar[tuple[str, ...]] = (*Sounds.per_sound, "waves", "real_lengths")

    @classmethod
    def from_waves(
        cls,
        space: TimbreSpace,
        waves: np.ndarray,
        labels: Mapping[str, np.ndarray] | None = None,
        *,
        lengths: np.ndarray | None = None,
    ) -> SoundArrays:
        """Analyzes waves by the representation of a space.

        Args:
          space: space whose representation analyzes the waves.
          waves: [M, T] waves at the sample rate of the space.
          labels: arrays [M] by name. By default, every sound is an instrument of its own, all are of one family, and pitch and
            velocity are unknown.
          lengths: [M] lengths in samples; None if all sounds have length T.
        """
        waves = np.asarray(waves, np.float32)
        count = len(waves)
        own = np.array([str(row) for row in range(count)])
        unknown = np.full(count, -1)
        missing = {"id": own, "instrument": own, "family": np.full(count, "all"), "source": np.full(count, "all")}
        known = {name: np.asarray(label) for name, label in (labels or {}).items()}
        ends = None if lengths is None else np.asarray(lengths, np.int32)
        features = map_batches(space.analyze, waves, ends, batch_size=16)
        target = common_features(space.representation, features)
        return cls(features, target, {**missing, "pitch": unknown, "velocity": unknown, **known}, waves, ends)

    @property
    def varies(self) -> bool:
        """True if the sounds have different lengths."""
        return self.real_lengths is not None

    def audio(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the waves [n, T] of some of the sounds."""
        return self.waves[np.asarray(rows, np.int64)]

    def lengths(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the lengths [n] of some of the sounds in samples."""
        rows = np.asarray(rows, np.int64)
        return np.full(len(rows), self.waves.shape[1]) if self.real_lengths is None else self.real_lengths[rows]
