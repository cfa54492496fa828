"""Statistics of the movement of latents over time."""

from __future__ import annotations

import dataclasses

import numpy as np

from timbre_jax.metrics.table import Table
from timbre_jax.types import Latent, real_frames


@dataclasses.dataclass(frozen=True)
class SeriesStatistics:
    """Statistics of D latents over the frames of a set of series.

    Attributes:
      mean: mean [D] over all frames.
      deviation: standard deviation [D].
      low: 1st percentile [D].
      high: 99th percentile [D].
      within: share [D] of the variance within sounds, 0 to 1; the rest is between the means of sounds.
      lag_one: autocorrelation [D] at a lag of one latent, about the mean of each sound; nan for a constant latent.
      memory: time [D] in seconds until the autocorrelation falls below 1/e, at most the longest lag; nan for a constant
        latent.
      speed: mean absolute change [D] per second, in standard deviations.
      rate: latents per second.
      frames: number of latents.
      sounds: number of series.
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
        """Returns the statistics of every latent."""
        names = ("mean", "deviation", "low", "high", "within", "lag_one", "memory", "speed")
        rows = zip(range(len(self.mean)), *(getattr(self, name).tolist() for name in names), strict=True)
        caption = (
            f"{self.frames:,} latents of {self.sounds} sounds, {self.rate:.4g} per second. Memory: time until the "
            "autocorrelation falls below 1/e. Speed: mean absolute change per second, in standard deviations."
        )
        columns = ("latent", "mean", "std", "low", "high", "within", "lag_one", "memory_seconds", "speed")
        return Table("series", columns, tuple(rows), caption)


def series_statistics(latent: Latent, *, longest: float = 2.0) -> SeriesStatistics:
    """Computes the statistics of a set of series.

    Args:
      latent: latents [B, M, D] with mask and rate.
      longest: longest lag of the autocorrelation in seconds.

    Raises:
      ValueError: the latents are not a series, have no rate, or are not finite.
    """
    values = np.asarray(latent.values, np.float64)
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(f"latent: a series must be [B, M, D] with at least one latent (got {values.shape})")
    if not latent.rate > 0:
        raise ValueError(f"latent: no rate, a series needs its latents per second (got {latent.rate})")
    if not np.isfinite(values).all():
        raise ValueError(f"latent: {np.count_nonzero(~np.isfinite(values))} of {values.size} values are not finite")
    lengths = real_frames(latent)
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
    """Returns the autocorrelation [1 + longest, D] of all sounds at lags 0 to `longest`."""
    size = centered[0].shape[1]
    sums, pairs = np.zeros((1 + longest, size)), np.zeros((1 + longest, 1))
    for sound in centered:
        for lag in range(min(longest, len(sound) - 1) + 1):
            sums[lag] += np.einsum("nd,nd->d", sound[: len(sound) - lag], sound[lag:])
            pairs[lag] += len(sound) - lag
    with np.errstate(invalid="ignore", divide="ignore"):
        return (sums / pairs) / (sums[:1] / pairs[:1])


def _memory(lags: np.ndarray) -> np.ndarray:
    """Returns the lag [D] at which autocorrelations [L, D] fall below 1/e, or L - 1."""
    memory = np.full(lags.shape[1], len(lags) - 1.0)
    for d, line in enumerate(lags.T):
        below = np.flatnonzero(line < np.exp(-1.0))
        if len(below):
            n = int(below[0])
            memory[d] = n - 1 + (line[n - 1] - np.exp(-1.0)) / (line[n - 1] - line[n])
    return memory
