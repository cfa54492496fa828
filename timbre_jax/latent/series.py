"""Series of latents: how they move; one point that stands for a whole series; and a series space seen as a static one.

A point of a sound is the mean of its latents over the frames within its real length, weighted by the frames' amplitude
(10^(dB / 20) of the level that the space sets aside), so that release and silence hardly count. A point is made to sound by
holding it: the same latent in every frame, at the median level of the training set or with the level curve of the sound that
it came from. So everything that asks questions of points asks them of a series too, and hears an answer.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from timbre_jax.latent.series_path import real_frames
from timbre_jax.metrics.table import Table
from timbre_jax.models.base import TimbreModel, Variables
from timbre_jax.records import Array, Features, Latent, Posterior
from timbre_jax.space import TimbreSpace

LEVELS = ("loudness", "gain_db")
"""Conditions that say a frame's level in dB."""


def level_name(conditions) -> str | None:
    """Which of the conditions (names, or a mapping of them) is the level in dB; None: none is."""
    return next((name for name in LEVELS if name in conditions), None)


def point_weights(latent: Latent) -> Array:
    """Weights [B, M] that sum to 1: amplitude within the real length; equal ones where the space sets no level aside."""
    mask = jnp.ones(latent.values.shape[:2]) if latent.mask is None else latent.mask
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


def latent_rate(space: TimbreSpace) -> float:
    """Latents a second of a series space."""
    return float(space.representation.rate) / int(getattr(space.model, "stride", 1))


def frames_of(space: TimbreSpace, seconds: float) -> int:
    """Latents that last so long, at least 1."""
    return max(1, round(seconds * latent_rate(space)))


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
    return latent.replace(mask=jnp.ones((len(values), count), jnp.float32), rate=latent_rate(space))


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
    def draws(self) -> bool:
        """Whether the decoder draws noise."""
        return self.inner.draws

    @property
    def stride(self) -> int:
        """Frames a latent of the series."""
        return int(getattr(self.inner, "stride", 1))

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
        decoded = self.inner.decode(series, train=train, **({"key": key} if self.draws else {}))
        return decoded.replace(
            values=decoded.values[:, :frames],
            mask=mask,
            conditions={name: x[:, :frames] if jnp.ndim(x) > 1 else x for name, x in decoded.conditions.items()},
        )


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


@dataclasses.dataclass(frozen=True)
class SeriesStatistics:
    """How the latents of a set of series move; over the frames within the sounds, [D] each.

    Attributes:
      mean, deviation: over all frames. low, high: 1st and 99th percentile.
      within: share of the variance that lies within sounds, 0..1 (the rest is between their means).
      lag_one: autocorrelation from one latent to the next, about each sound's own mean; nan where nothing moves.
      memory: seconds until the autocorrelation falls under 1/e, linearly between frames; the longest lag looked at where it
        does not, nan where nothing moves.
      speed: mean |change| a second, in deviations.
      rate: latents a second. frames: how many there were. sounds: how many series.
    """

    mean: np.ndarray
    deviation: np.ndarray
    low: np.ndarray
    high: np.ndarray
    within: np.ndarray
    lag_one: np.ndarray
    memory: np.ndarray
    speed: np.ndarray
    rate: float
    frames: int
    sounds: int

    def table(self) -> Table:
        """One row a latent."""
        names = ("mean", "deviation", "low", "high", "within", "lag_one", "memory", "speed")
        rows = zip(range(len(self.mean)), *(getattr(self, name).tolist() for name in names), strict=True)
        caption = (
            f"{self.frames} latents of {self.sounds} sounds, {self.rate:.4g} a second. low, high: 1st and 99th percentile; "
            "within: share of the variance within sounds; lag_one: autocorrelation from one latent to the next about each "
            "sound's mean; memory: seconds until it falls under 1/e; speed: mean change a second in deviations."
        )
        columns = ("latent", "mean", "std", "low", "high", "within", "lag_one", "memory_seconds", "speed")
        return Table("series", columns, tuple(rows), caption)


def series_statistics(latent: Latent, *, longest: float = 2.0) -> SeriesStatistics:
    """Of series [B, M, D]. `longest`: seconds of lag up to which the autocorrelation is looked at.

    Raises:
      ValueError: not a series, no rate, or latents that are not finite.
    """
    values = np.asarray(latent.values, np.float64)
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(f"series are [B, M, D] with at least one latent, not {values.shape}")
    if not latent.rate > 0:
        raise ValueError("the series says no rate (latents a second)")
    if not np.isfinite(values).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(values))} of {values.size} latents are not finite")
    lengths = real_frames(latent)
    sounds = [series[:length] for series, length in zip(values, lengths, strict=True)]
    frames = np.concatenate(sounds)
    mean, deviation = frames.mean(0), frames.std(0)
    low, high = np.percentile(frames, [1.0, 99.0], axis=0)
    moves = np.concatenate([np.abs(np.diff(sound, axis=0)) for sound in sounds])
    speed = moves.mean(0) * latent.rate if len(moves) else np.zeros_like(mean)
    centred = [sound - sound.mean(0) for sound in sounds]
    square = sum(np.square(sound).sum(0) for sound in centred)
    total = np.square(frames - mean).sum(0)
    moving = square > 1e-12 * np.maximum(np.square(frames).sum(0), 1e-30)
    lags = _autocorrelation(centred, min(int(lengths.max()) - 1, max(1, round(longest * latent.rate))))
    with np.errstate(invalid="ignore", divide="ignore"):
        return SeriesStatistics(
            mean=mean,
            deviation=deviation,
            low=low,
            high=high,
            within=np.where(total > 0, square / total, np.nan),
            lag_one=np.where(moving, lags[1], np.nan) if len(lags) > 1 else np.full_like(mean, np.nan),
            memory=np.where(moving, _memory(lags), np.nan) / latent.rate,
            speed=np.where(deviation > 0, speed / deviation, 0.0),
            rate=float(latent.rate),
            frames=len(frames),
            sounds=len(sounds),
        )


def _autocorrelation(centred: list[np.ndarray], longest: int) -> np.ndarray:
    """[1 + longest, D]: of all sounds together at lags 0..longest; each lag over the pairs that there are."""
    size = centred[0].shape[1]
    sums, pairs = np.zeros((1 + longest, size)), np.zeros((1 + longest, 1))
    for sound in centred:
        for lag in range(min(longest, len(sound) - 1) + 1):
            sums[lag] += np.einsum("nd,nd->d", sound[: len(sound) - lag], sound[lag:])
            pairs[lag] += len(sound) - lag
    with np.errstate(invalid="ignore", divide="ignore"):
        return (sums / pairs) / (sums[:1] / pairs[:1])


def _memory(lags: np.ndarray) -> np.ndarray:
    """Lag [D] at which autocorrelations [L, D] first fall under 1/e, linearly between lags; L - 1 where they do not."""
    found = np.full(lags.shape[1], len(lags) - 1.0)
    for d, line in enumerate(lags.T):
        below = np.flatnonzero(line < np.exp(-1.0))
        if len(below):
            n = int(below[0])
            found[d] = n - 1 + (line[n - 1] - np.exp(-1.0)) / (line[n - 1] - line[n])
    return found
