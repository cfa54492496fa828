"""What a representation is: a pair of maps between waves and features."""

from __future__ import annotations

from typing import ClassVar, Protocol

from timbre_jax.types import Array, Features


class Representation(Protocol):
    """A frozen dataclass of plain settings (numbers, strings, tuples): hashable, and can be written as JSON.

    Attributes:
      name: its name in the registry `timbre_jax.representations.REPRESENTATIONS`.
      sample_rate: in Hz; waves of another rate have to be resampled first.
      length: samples that `analyse` cuts and pads sounds to, where it has such a length.
      way_back: names of settings that only `synthesise` takes, where there are some: features of a store are kept without.
      came_later: names of settings that earlier versions did not have, and that change nothing at their default: features and
        runs of those versions stay usable.
    """

    name: ClassVar[str]
    sample_rate: int

    @property
    def feature_shape(self) -> tuple[int, int]:
        """(N, F) of a sound of the representation's standard length."""

    def analyse(self, waves: Array, lengths: Array | None = None) -> Features:
        """Waves [B, T] in [-1, 1] to features; `lengths` [B] in samples where sounds are padded."""

    def synthesise(self, features: Features, key: Array | None = None) -> Array:
        """Features to waves [B, T]. `key` where noise or phase is drawn."""
