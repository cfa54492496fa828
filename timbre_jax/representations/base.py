"""Base class of the representations: pairs of maps between waves and features."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from timbre_jax.types import Array, Features


class Representation(abc.ABC):
    """Base of every representation. Subclasses are frozen dataclasses of plain settings (numbers, strings, tuples).

    So a representation is hashable and can be written as JSON. Everything that only some representations have is declared
    here with the value of one that has it not; a subclass overrides it by a setting, a class attribute or a property.

    Attributes:
      sample_rate: Hz; waves of another rate have to be resampled first.
      length: samples that `analyze` cuts and pads sounds to; 0 for as many as there are.
      hop: samples per frame.
      range_db: dB that feature values 0..1 span, or None.
      texture_db: deviation of the noise that `synthesize` adds to values, in dB.
      f0_scale: scale of f0 in the features, "log" or "hz", or None.
    """

    name: ClassVar[str]
    """Name in the registry `timbre_jax.representations.REPRESENTATIONS`."""
    version: ClassVar[int] = 1
    """Raised when `analyze` gives other features for the same settings: features in the cache are then made anew."""
    synthesis_fields: ClassVar[tuple[str, ...]] = ()
    """Settings that only `synthesize` uses: cached features do not depend on them."""
    optional_since: ClassVar[tuple[str, ...]] = ()
    """Settings added later that change nothing at their default: features cached without them stay valid."""
    is_harmonic: ClassVar[bool] = False
    """Whether features are f0 and amplitudes of harmonics: has `normalize`, `denormalize`, `f0_range`, `amplitude_range`."""
    is_mel: ClassVar[bool] = False
    """Whether features are mel bands: has `features_to_mel`, `magnitudes`, and phases are found by an inverter."""

    sample_rate: int
    length: int = 0
    hop: int = 1
    range_db: float | None = None
    texture_db: float = 0.0
    f0_scale: str | None = None

    @property
    def feature_shape(self) -> tuple[int, int]:
        """(N, F) of a sound of the representation's standard length."""
        raise NotImplementedError(f"{type(self).__name__} has no feature_shape")

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop

    @property
    def frame_length(self) -> int:
        """Samples that a frame spans."""
        return self.hop

    @property
    def reach(self) -> int | None:
        """Samples before and after its center that a frame depends on; None if on the whole sound."""
        return None

    @property
    def look_ahead(self) -> int:
        """Samples after a frame's center that a stream of features waits for."""
        return 0

    @property
    def synthesis_iterations(self) -> dict[str, int]:
        """Iterations of `synthesize` by setting; fewer are faster and sound worse. Empty if it does not iterate."""
        return {}

    @abc.abstractmethod
    def analyze(self, waves: Array, lengths: Array | None = None) -> Features:
        """Computes features of waves [B, T] in [-1, 1]; `lengths` [B] in samples if sounds are padded."""

    def synthesize(self, features: Features, key: Array | None = None) -> Array:
        """Synthesizes waves [B, T] from features; `key` is for noise or phase that is drawn."""
        raise NotImplementedError(f"{type(self).__name__} cannot synthesize sound")

    def quality(self, waves: Array) -> dict[str, Array]:
        """Returns measures [B] of whether sounds are fit for this representation; empty if every sound is."""
        return {}

    def with_length(self, samples: int) -> Representation:
        """Returns the representation for sounds of `samples` samples, with all of their frames."""
        return dataclasses.replace(self, length=samples)  # type: ignore[type-var]

    def analysis_settings(self) -> dict[str, Any]:
        """Returns the settings that features depend on, without those of `optional_since` at their default."""
        values = dataclasses.asdict(self)  # type: ignore[call-overload]
        defaults = {field.name: field.default for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        unused = {*self.synthesis_fields, *(key for key in self.optional_since if values[key] == defaults[key])}
        return {key: value for key, value in representation_settings(self).items() if key not in unused}


def fit_waves(waves: Array, length: int) -> Array:
    """Returns waves [B, T] cut or padded with silence to `length` samples, float32.

    Raises:
      ValueError: other than floats [B, T].
    """
    if waves.ndim != 2:
        raise ValueError(f"waves must be [B, T], got shape {waves.shape}")
    if not jnp.issubdtype(waves.dtype, jnp.floating):
        raise ValueError(f"waves must be floats in [-1, 1], got {waves.dtype}: divide integers by their full scale")
    waves = waves[:, :length].astype(jnp.float32)
    return jnp.pad(waves, ((0, 0), (0, length - waves.shape[1])))


def length_mask(values: Array, hop: int, lengths: Array | None) -> Array:
    """Returns the mask [B, N] of values [B, N, F]: 1 for frames whose sample n * hop lies within `lengths` [B], or if None."""
    if lengths is None:
        return jnp.ones(values.shape[:2], jnp.float32)
    return (jnp.asarray(lengths)[:, None] > np.arange(values.shape[1], dtype=np.int32) * hop).astype(jnp.float32)


def representation_settings(representation: Representation) -> dict[str, Any]:
    """Returns the settings as plain JSON values: `make_representation(r.name, **settings)` makes `r` again."""
    settings = dataclasses.asdict(representation)  # type: ignore[call-overload]
    return {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
