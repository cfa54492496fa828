"""Base class of the representations, which map waves to features and back."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from timbre_jax.types import Array, Features


class Representation(abc.ABC):
    """Base class of all representations, frozen dataclasses of plain settings.

    Representations are hashable and can be saved as JSON. The class declares every optional capability with the value for a
    representation that lacks it; subclasses override those that apply, by a setting, class attribute or property.

    Attributes:
      sample_rate: sample rate in Hz of the waves; others must be resampled first.
      length: samples to which `analyze` cuts or pads sounds; 0 for no change.
      hop: samples per frame.
      range_db: range in dB of feature values 0..1, or None.
      texture_db: standard deviation in dB of the noise that `synthesize` adds to the values.
      f0_scale: scale of f0 in the features, "log" or "hz", or None.
    """

    name: ClassVar[str]
    """Name in the registry `timbre_jax.representations.REPRESENTATIONS`."""
    version: ClassVar[int] = 1
    """Version of `analyze`; raise it when features change at equal settings, to invalidate caches."""
    synthesis_fields: ClassVar[tuple[str, ...]] = ()
    """Settings that only `synthesize` uses, on which cached features do not depend."""
    optional_since: ClassVar[tuple[str, ...]] = ()
    """Later settings whose defaults keep features cached without them valid."""
    is_harmonic: ClassVar[bool] = False
    """True if features are f0 and amplitudes of harmonics (`normalize`, `denormalize`, `f0_range`, `amplitude_range`)."""
    is_mel: ClassVar[bool] = False
    """True if features are mel bands (`features_to_mel`, `magnitudes`), from which an inverter reconstructs phases."""

    sample_rate: int
    length: int = 0
    hop: int = 1
    range_db: float | None = None
    texture_db: float = 0.0
    f0_scale: str | None = None

    @property
    def feature_shape(self) -> tuple[int, int]:
        """(N, F), the shape of the features of a sound of standard length."""
        raise NotImplementedError(f"{type(self).__name__}: has no feature_shape")

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop

    @property
    def frame_length(self) -> int:
        """Length of a frame in samples."""
        return self.hop

    @property
    def reach(self) -> int | None:
        """Samples on each side of its center on which a frame depends; None for all."""
        return None

    @property
    def look_ahead(self) -> int:
        """Look-ahead of streaming analysis, in samples after the center of a frame."""
        return 0

    @property
    def synthesis_iterations(self) -> dict[str, int]:
        """Settings that trade quality for speed of `synthesize`, with their numbers of iterations."""
        return {}

    @abc.abstractmethod
    def analyze(self, waves: Array, lengths: Array | None = None) -> Features:
        """Computes the features of waves.

        Args:
          waves: [B, T] in [-1, 1].
          lengths: [B] lengths of padded sounds in samples, or None if no sound is padded.

        Returns:
          Features whose mask is 1 for frames within the sound.
        """

    def synthesize(self, features: Features, key: Array | None = None) -> Array:
        """Synthesizes waves [B, T] from features.

        Args:
          features: features, silent outside their mask.
          key: key of random noise or phase, one per sound [B] or one for all; None for fixed ones.
        """
        raise NotImplementedError(f"{type(self).__name__}: cannot synthesize sound")

    def quality(self, waves: Array) -> dict[str, Array]:
        """Returns measures [B] of how suitable sounds are; empty if every sound is suitable."""
        return {}

    def with_length(self, samples: int) -> Representation:
        """Returns the representation for sounds of another length, with all frames."""
        return dataclasses.replace(self, length=samples)  # type: ignore[type-var]

    def analysis_settings(self) -> dict[str, Any]:
        """Returns the settings on which features depend, the key of a feature cache."""
        values = dataclasses.asdict(self)  # type: ignore[call-overload]
        defaults = {field.name: field.default for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        unused = {*self.synthesis_fields, *(key for key in self.optional_since if values[key] == defaults[key])}
        return {key: value for key, value in representation_settings(self).items() if key not in unused}


def fit_waves(waves: Array, length: int) -> Array:
    """Cuts or pads waves [B, T] with silence to `length` samples, float32.

    Raises:
      ValueError: the waves are not floats of shape [B, T].
    """
    if waves.ndim != 2:
        raise ValueError(f"waves: must have shape [B, T] (got {waves.shape})")
    if not jnp.issubdtype(waves.dtype, jnp.floating):
        raise ValueError(f"waves: must be floats in [-1, 1] (got {waves.dtype}); divide integers by their full scale")
    waves = waves[:, :length].astype(jnp.float32)
    return jnp.pad(waves, ((0, 0), (0, length - waves.shape[1])))


def length_mask(values: Array, hop: int, lengths: Array | None) -> Array:
    """Returns the mask [B, N] of values [B, N, F], 1 for frames n with n * hop < length.

    Args:
      values: [B, N, F].
      hop: samples per frame.
      lengths: [B] in samples, or None for a mask of ones.
    """
    if lengths is None:
        return jnp.ones(values.shape[:2], jnp.float32)
    return (jnp.asarray(lengths)[:, None] > np.arange(values.shape[1], dtype=np.int32) * hop).astype(jnp.float32)


def representation_settings(representation: Representation) -> dict[str, Any]:
    """Returns the settings of a representation as JSON values, for `make_representation`."""
    settings = dataclasses.asdict(representation)  # type: ignore[call-overload]
    return {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
