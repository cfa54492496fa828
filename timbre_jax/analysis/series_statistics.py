"""Statistics of how the latents of a series space move."""

from __future__ import annotations

import dataclasses

import numpy as np

from timbre_jax.metrics.table import Table
from timbre_jax.types import Latent, count_real_frames


@dataclasses.dataclass(frozen=True)
class SeriesStatistics:
    """Statistics of how the latents of a set of series move, over the frames within the sounds, [D] each.

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
    """Returns statistics of series [B, M, D], with autocorrelation up to a lag of `longest` seconds.

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
    lengths = count_real_frames(latent)
    sounds = [series[:length] for series, length in zip(values, lengths, strict=True)]
    frames = np.concatenate(sounds)
    mean, deviation = frames.mean(0), frames.std(0)
    low, high = np.percentile(frames, [1.0, 99.0], axis=0)
    moves = np.concatenate([np.abs(np.diff(sound, axis=0)) for sound in sounds])
    speed = moves.mean(0) * latent.rate if len(moves) else np.zeros_like(mean)
    centered = [sound - sound.mean(0) for sound in sounds]
    square = sum(np.square(sound).sum(0) for sound in centered)
    total = np.square(frames - mean).sum(0)
    moving = square > 1e-12 * np.maximum(np.square(frames).sum(0), 1e-30)
    lags = _autocorrelation(centered, min(int(lengths.max()) - 1, max(1, round(longest * latent.rate))))
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


def _autocorrelation(centered: list[np.ndarray], longest: int) -> np.ndarray:
    """[1 + longest, D]: of all sounds together at lags 0..longest; each lag over the pairs that there are."""
    size = centered[0].shape[1]
    sums, pairs = np.zeros((1 + longest, size)), np.zeros((1 + longest, 1))
    for sound in centered:
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
