"""Recorded sounds with features and labels: the input of analyzes and scores, from a store or from arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from timbre_jax.inference.batched import map_batches, take
from timbre_jax.metrics.reconstruction import common_features
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features


class Sounds(Protocol):
    """Interface of M recorded sounds: `evaluation.runs.Notes` reads them from a store, `SoundArrays` holds them.

    Attributes:
      features: in the space's own representation.
      target: the same on the common scale of all scores.
      labels: id, instrument, family, source (str) and pitch, velocity (int, -1 if unknown), [M] each. The instrument is the
        group that intervals resample.
    """

    @property
    def features(self) -> Features: ...

    @property
    def target(self) -> Features: ...

    @property
    def labels(self) -> dict[str, np.ndarray]: ...

    def audio(self, rows: np.ndarray) -> np.ndarray:
        """Returns the waves [n, T] of some of the sounds."""
        ...

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """Returns the real samples [n] of some of the sounds; the rest of their waves is padding."""
        ...

    def varying_lengths(self, rows: np.ndarray, *, most: int) -> np.ndarray | None:
        """Returns `lengths`, at most `most`, or None if all sounds have one length."""
        ...

    def part(self, rows: np.ndarray) -> Sounds:
        """Returns some of the sounds."""
        ...


@dataclasses.dataclass(frozen=True)
class SoundArrays:
    """Sounds whose waves are an array; implements `Sounds`.

    Attributes:
      waves: [M, T], at the space's sample rate.
      features: in the space's own representation.
      target: the same on the common scale of all scores.
      labels: id, instrument, family, source (str) and pitch, velocity (int, -1 if unknown), [M] each.
      real_lengths: [M] samples; None if every sound fills its row.
    """

    waves: np.ndarray
    features: Features
    target: Features
    labels: dict[str, np.ndarray]
    real_lengths: np.ndarray | None = None

    @classmethod
    def from_waves(
        cls,
        space: TimbreSpace,
        waves: np.ndarray,
        labels: Mapping[str, np.ndarray] | None = None,
        *,
        lengths: np.ndarray | None = None,
    ) -> SoundArrays:
        """Returns sounds from waves, with the features that a space sees.

        Args:
          space: its representation makes the features.
          waves: [M, T] at the space's sample rate.
          labels: arrays [M] by name. Labels that are missing say that every sound is an instrument of its own, that all are of
            one family, and that pitch and velocity are unknown.
          lengths: real samples [M]; None: every sound fills its row.
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
        return cls(waves, features, target, {**missing, "pitch": unknown, "velocity": unknown, **known}, ends)

    def audio(self, rows: np.ndarray) -> np.ndarray:
        """Returns the waves [n, T] of some of the sounds."""
        return self.waves[np.asarray(rows, np.int64)]

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """Returns the real samples [n] of some of the sounds."""
        rows = np.asarray(rows, np.int64)
        return np.full(len(rows), self.waves.shape[1]) if self.real_lengths is None else self.real_lengths[rows]

    def varying_lengths(self, rows: np.ndarray, *, most: int) -> np.ndarray | None:
        """Returns `lengths`, at most `most`, or None if all sounds have one length."""
        return None if self.real_lengths is None else np.minimum(self.lengths(rows), most)

    def part(self, rows: np.ndarray) -> SoundArrays:
        """Returns some of the sounds."""
        return SoundArrays(
            self.waves[rows],
            take(self.features, rows),
            take(self.target, rows),
            take(self.labels, rows),
            None if self.real_lengths is None else self.real_lengths[rows],
        )
