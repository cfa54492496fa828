"""Points that represent whole series, and series spaces used as static spaces.

The point of a sound is the mean of its latents over the frames within its real length, weighted by the amplitude of the frames
(10^(dB / 20) of the level condition), so that release and silence have little weight. A point is rendered by holding it: every
frame gets the same latent, at the median level of the training set or with the level curve of the sound that was encoded to the
point. With `held_space`, every analysis of static spaces works on series spaces as well.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from timbre_jax.models.base import TimbreModel, Variables
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Features, Latent, Posterior, frame_mask, slice_frames

LEVELS = ("loudness", "gain_db")
"""Names of conditions that are the level of a frame in dB."""


def level_name(conditions: Collection[str]) -> str | None:
    """Returns the name of the condition that is the level in dB; None if there is none."""
    return next((name for name in LEVELS if name in conditions), None)


def point_weights(latent: Latent) -> Array:
    """Returns weights [B, M] of the frames of series, whose sum is 1.

    Weights are amplitudes, or equal if the series have no level. Frames outside the mask have weight 0.
    """
    mask = frame_mask(latent)
    # A sound of length 0, which has no real frame, still needs a point.
    mask = jnp.where(jnp.sum(mask, axis=1, keepdims=True) > 0, mask, 1.0)
    name = level_name(latent.conditions)
    if name is None:
        weights = mask
    else:
        level = jnp.where(mask > 0, latent.conditions[name], -jnp.inf)
        loudest = jnp.max(level, axis=1, keepdims=True)
        weights = jnp.exp((level - loudest) * (np.log(10.0) / 20.0)) * mask
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def mean_points(latent: Latent) -> Array:
    """Averages series to points [B, D], weighted by `point_weights`."""
    return jnp.einsum("bm,bmd->bd", point_weights(latent), latent.values)


def latent_count(space: TimbreSpace, seconds: float) -> int:
    """Returns the number of latents in a series of a duration in seconds, at least 1."""
    return max(1, round(seconds * space.latent_rate))


def hold_points(space: TimbreSpace, values: Array, *, seconds: float, level_db: float | None = None) -> Latent:
    """Repeats points as constant series [B, M, D].

    Args:
      space: series space.
      values: points [B, D].
      seconds: duration of the series.
      level_db: level of all frames; None for the median of the training set.

    Raises:
      ValueError: the values have another shape.
    """
    values = jnp.asarray(values, jnp.float32)
    if values.ndim != 2 or values.shape[1] != space.latent_size:
        raise ValueError(f"points: must be [B, {space.latent_size}] in this space (got {values.shape})")
    count = latent_count(space, seconds)
    latent = space.latent(jnp.repeat(values[:, None], count, axis=1))
    name = level_name(latent.conditions)
    if level_db is not None and name is not None:
        latent = latent.replace(conditions={**latent.conditions, name: jnp.full((len(values), count), level_db)})
    return latent.replace(mask=jnp.ones((len(values), count), jnp.float32), rate=space.latent_rate)


class HeldSeries(TimbreModel):
    """Static model that wraps a series model; its latents are points, held over the frames.

    The latent of a sound contains the length (`mask` [B, N] of the features) and level curve (`conditions` [B, M]) of the
    sound. A latent without a mask is held for `frames` latents at the level in its conditions [B].

    Attributes:
      inner: series model. Its variables are under "inner" in every collection.
      frames: number of latents for which a latent without a mask is held.
    """

    kind: ClassVar[str] = "static"

    inner: TimbreModel | None = None
    frames: int = 48

    @property
    def stochastic_decoder(self) -> bool:
        """Returns whether the decoder draws noise."""
        return self.inner.stochastic_decoder

    @property
    def wrapped(self) -> TimbreModel:
        """Returns the series model."""
        return self.inner

    @property
    def stride(self) -> int:
        """Returns the number of frames per latent of the series."""
        return self.inner.stride

    def posterior(self, features: Features, *, train: bool = False) -> Posterior:
        """Encodes each sound to a point, with variance 0."""
        latent = self._to_point(self.inner.posterior(features, train=train).mode(), features)
        log_variance = jnp.full_like(latent.values, -jnp.inf)
        return Posterior(latent.values, log_variance, latent.mask, latent.conditions, latent.rate)

    def embed(self, variables: Variables, features: Features) -> Latent:
        """Encodes each sound to a point."""
        return self._to_point(self.inner.embed({name: value["inner"] for name, value in variables.items()}, features), features)

    @staticmethod
    def _to_point(latent: Latent, features: Features) -> Latent:
        return latent.replace(values=mean_points(latent), mask=features.mask, codes=None)

    def decode(self, latent: Latent, *, train: bool = False, key: Array | None = None) -> Features:
        """Decodes points, each held over the frames of its sound."""
        batch, stride = latent.values.shape[0], self.stride
        mask = jnp.ones((batch, self.frames * stride), jnp.float32) if latent.mask is None else latent.mask
        frames = mask.shape[1]
        count = -(-frames // stride)
        series = Latent(
            values=jnp.broadcast_to(latent.values[:, None], (batch, count, self.latent_size)),
            mask=jnp.pad(mask, ((0, 0), (0, count * stride - frames))).reshape(batch, count, stride).max(-1),
            conditions={
                name: jnp.broadcast_to(value[:, None], (batch, count)) if jnp.ndim(value) == 1 else value
                for name, value in latent.conditions.items()
            },
            rate=latent.rate,
        )
        decoded = self.inner.decode(series, train=train, **({"key": key} if self.stochastic_decoder else {}))
        return slice_frames(decoded, 0, frames).replace(mask=mask)


def held_space(space: TimbreSpace, *, seconds: float = 1.0) -> TimbreSpace:
    """Converts a series space to a static space, whose latents are points.

    The statistics stay those of the frames. A static space is returned unchanged.

    Args:
      space: series or static space.
      seconds: duration of points that have no length of their own.
    """
    if space.kind == "static":
        return space
    model = HeldSeries(
        feature_shape=space.model.feature_shape,
        latent_size=space.latent_size,
        inner=space.model,
        frames=latent_count(space, seconds),
    )
    return space.replace(model=model, variables={name: {"inner": value} for name, value in space.variables.items()})
