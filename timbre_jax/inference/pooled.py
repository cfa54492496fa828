"""One point that stands for a whole series, and a series space seen as a static one.

A point of a sound is the mean of its latents over the frames within its real length, weighted by the frames' amplitude
(10^(dB / 20) of the level that the space sets aside), so that release and silence hardly count. A point is made to sound by
holding it: the same latent in every frame, at the median level of the training set or with the level curve of the sound that
it came from. So everything that asks questions of points asks them of a series too, and hears an answer.
"""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from timbre_jax.models.base import TimbreModel, Variables
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Features, Latent, Posterior, frame_mask, slice_frames

LEVELS = ("loudness", "gain_db")
"""Conditions that say a frame's level in dB."""


def level_name(conditions) -> str | None:
    """Which of the conditions (names, or a mapping of them) is the level in dB; None: none is."""
    return next((name for name in LEVELS if name in conditions), None)


def point_weights(latent: Latent) -> Array:
    """Weights [B, M] that sum to 1: amplitude within the real length; equal ones where the space sets no level aside."""
    mask = frame_mask(latent)
    # A sound without one real frame (silence of length 0) still has a point.
    mask = jnp.where(jnp.sum(mask, axis=1, keepdims=True) > 0, mask, 1.0)
    name = level_name(latent.conditions)
    if name is None:
        weights = mask
    else:
        level = jnp.where(mask > 0, latent.conditions[name], -jnp.inf)
        loudest = jnp.max(level, axis=1, keepdims=True)
        weights = jnp.exp((level - loudest) * (np.log(10.0) / 20.0)) * mask
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def points(latent: Latent) -> Array:
    """The point [B, D] of every series [B, M, D]: `point_weights` mean of its latents."""
    return jnp.einsum("bm,bmd->bd", point_weights(latent), latent.values)


def frames_of(space: TimbreSpace, seconds: float) -> int:
    """Latents that last so long, at least 1."""
    return max(1, round(seconds * space.latent_rate))


def held(space: TimbreSpace, values: Array, *, seconds: float, level_db: float | None = None) -> Latent:
    """Points [B, D] as series [B, M, D] that last `seconds`: the same latent in every frame.

    Args:
      level_db: of all frames; None: the training set's median.
    """
    values = jnp.asarray(values, jnp.float32)
    if values.ndim != 2 or values.shape[1] != space.latent_size:
        raise ValueError(f"points of this space are [B, {space.latent_size}], not {values.shape}")
    count = frames_of(space, seconds)
    latent = space.latent(jnp.repeat(values[:, None], count, axis=1))
    name = level_name(latent.conditions)
    if level_db is not None and name is not None:
        latent = latent.replace(conditions={**latent.conditions, name: jnp.full((len(values), count), level_db)})
    return latent.replace(mask=jnp.ones((len(values), count), jnp.float32), rate=space.latent_rate)


class HeldSeries(TimbreModel):
    """A series model that takes and gives one point a sound: its latents are `points`, and it decodes a point by holding it.

    A latent that came from a sound keeps that sound's length (`mask` [B, N] of its features) and its level curve
    (`conditions` [B, M]); a bare one is held for `frames` latents at the level that its conditions [B] say.

    Attributes:
      inner: the series model; its variables lie under "inner" in every collection.
      frames: latents that a bare point is held.
    """

    kind: ClassVar[str] = "static"

    inner: TimbreModel | None = None
    frames: int = 48

    @property
    def stochastic_decoder(self) -> bool:
        """Whether the decoder draws noise."""
        return self.inner.stochastic_decoder

    @property
    def wrapped(self) -> TimbreModel:
        """The series model."""
        return self.inner

    @property
    def stride(self) -> int:
        """Frames a latent of the series."""
        return self.inner.stride

    def posterior(self, features: Features, *, train: bool = False) -> Posterior:
        latent = self._point(self.inner.posterior(features, train=train).mode(), features)
        log_variance = jnp.full_like(latent.values, -jnp.inf)
        return Posterior(latent.values, log_variance, latent.mask, latent.conditions, latent.rate)

    def embed(self, variables: Variables, features: Features) -> Latent:
        return self._point(self.inner.embed(unwrapped(variables), features), features)

    @staticmethod
    def _point(latent: Latent, features: Features) -> Latent:
        return latent.replace(values=points(latent), mask=features.mask, codes=None)

    def decode(self, latent: Latent, *, train: bool = False, key: Array | None = None) -> Features:
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
    """A series space as a static one whose points are held for `seconds`; a static space as it is.

    Statistics are those of the frames: a point that is drawn from them is a frame that could be.
    """
    if space.kind == "static":
        return space
    model = HeldSeries(
        feature_shape=space.model.feature_shape,
        latent_size=space.latent_size,
        inner=space.model,
        frames=frames_of(space, seconds),
    )
    return space.replace(model=model, variables={name: {"inner": value} for name, value in space.variables.items()})


def unwrapped(variables: Variables) -> Variables:
    """The variables of `HeldSeries.inner`."""
    return {name: value["inner"] for name, value in variables.items()}
