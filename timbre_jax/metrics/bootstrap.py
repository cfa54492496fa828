"""Percentile intervals by resampling whole groups (instruments).

So many notes of one instrument count as what they are: one draw from the instruments there are, not many.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Interval:
    """A statistic and its percentile interval; each float, or arrays [...] where many are estimated at once.

    Attributes:
      value: of the set as it is.
      low, high: nan where an interval cannot be made (fewer than two groups).
      groups: how many groups were resampled.
    """

    value: np.ndarray | float
    low: np.ndarray | float
    high: np.ndarray | float
    groups: int

    def at(self, *place: int) -> tuple[float, float, float]:
        """Returns value, low and high as floats; `place` is the index of one of many estimates."""
        value, low, high = (float(np.asarray(x)[place]) for x in (self.value, self.low, self.high))
        return value, low, high


def group_ids(groups: np.ndarray | None, count: int) -> tuple[np.ndarray, int]:
    """Groups of any kind (names, numbers; None: every item is its own) as ids 0..G-1 [M], and G.

    Raises:
      ValueError: not one group an item.
    """
    if groups is None:
        return np.arange(count), count
    groups = np.asarray(groups)
    if groups.shape != (count,):
        raise ValueError(f"groups are [{count}], one for each item, not {groups.shape}")
    _, ids = np.unique(groups, return_inverse=True)
    return ids.astype(np.int64), int(ids.max()) + 1 if count else 0


def group_sums(terms: np.ndarray, ids: np.ndarray, group_count: int) -> np.ndarray:
    """Sums [G, ...] over the items [M, ...] of each group; ids [M] in 0..G-1."""
    sums = np.zeros((group_count, *terms.shape[1:]))
    np.add.at(sums, ids, terms)
    return sums


def resampled_counts(group_count: int, *, draws: int, seed: int) -> np.ndarray:
    """How often each group is drawn when `group_count` groups are drawn with replacement: int [draws, G]."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(group_count, np.full(group_count, 1.0 / group_count), size=draws)


def mean_interval(
    values: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    weights: np.ndarray | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The mean over items with its interval over groups (percentile bootstrap; Efron 1979, clusters resampled whole).

    Args:
      values: [M, ...]: the mean is over the first axis. Items that are not finite are an error, not dropped.
      groups: [M] of any kind; None: every item is its own group.
      weights: [M], default 1 each.
      draws: how many resamples.
      level: 0.95 gives the 2.5th and the 97.5th percentile.
      seed: of the resampling.

    Raises:
      ValueError: no items, a value that is not finite, or shapes that do not fit.
    """
    values = np.asarray(values, np.float64)
    count = len(values)
    if count == 0:
        raise ValueError("there are no values to average")
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} of {values.size} values are not finite")
    flat = values.reshape(count, -1)
    weights = np.ones(count) if weights is None else np.asarray(weights, np.float64)
    ids, group_count = group_ids(groups, count)
    sums, sizes = group_sums(flat * weights[:, None], ids, group_count), np.bincount(ids, weights, minlength=group_count)

    def mean(drawn: np.ndarray) -> np.ndarray:
        return ((drawn @ sums) / (drawn @ sizes)[:, None]).reshape(len(drawn), *values.shape[1:])

    return resampled_interval(mean, group_count, draws=draws, level=level, seed=seed)


def ratio_interval(
    values: np.ndarray,
    reference: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """mean(values) / mean(reference) of the same items [M], both resampled together: how much better on the same notes.

    Raises:
      ValueError: shapes that differ, no items, or a value that is not finite.
    """
    values, reference = np.asarray(values, np.float64), np.asarray(reference, np.float64)
    if values.shape != reference.shape or values.ndim != 1 or len(values) == 0:
        raise ValueError(f"a ratio is of two sets of the same items [M], not {values.shape} and {reference.shape}")
    if not (np.isfinite(values).all() and np.isfinite(reference).all()):
        raise ValueError("some values are not finite")
    ids, group_count = group_ids(groups, len(values))
    above, below = (np.bincount(ids, x, minlength=group_count) for x in (values, reference))

    def ratio(drawn: np.ndarray) -> np.ndarray:
        total = drawn @ below
        return (drawn @ above) / np.where(total != 0.0, total, np.nan)

    return resampled_interval(ratio, group_count, draws=draws, level=level, seed=seed)


def correlation_interval(
    x: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Pearson correlations of every column of x [M, D] with every column of y [M, L], each [D, L], with intervals.

    Give ranks for Spearman's: ranks are taken once, over the whole set, not anew in every resample.
    A column that does not vary has the correlation nan.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    count = len(x)
    x, y = x - x.mean(0), y - y.mean(0)
    ids, group_count = group_ids(groups, count)
    size = np.bincount(ids, minlength=group_count).astype(np.float64)

    products = (x, y, x * x, y * y, x[:, :, None] * y[:, None, :])
    sums = [group_sums(terms, ids, group_count) for terms in products]

    def correlation(drawn: np.ndarray) -> np.ndarray:
        n = (drawn @ size)[:, None]
        mean_x, mean_y, square_x, square_y = (drawn @ s / n for s in sums[:4])
        product = np.tensordot(drawn, sums[4], 1) / n[:, :, None]
        spread = _spread(square_x, mean_x)[:, :, None] * _spread(square_y, mean_y)[:, None, :]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.clip((product - mean_x[:, :, None] * mean_y[:, None, :]) / spread, -1.0, 1.0)

    return resampled_interval(correlation, group_count, draws=draws, level=level, seed=seed)


def resampled_interval(
    statistic: Callable[[np.ndarray], np.ndarray], group_count: int, *, draws: int, level: float, seed: int
) -> Interval:
    """Of a statistic [R, ...] of how often each group is in each of R sets, [R, G] float64: of the set as it is, and its
    percentiles over resamples; nan for these where there are fewer than two groups."""
    value = statistic(np.ones((1, group_count)))[0]
    low = high = np.full_like(value, np.nan)
    if group_count > 1:
        drawn = resampled_counts(group_count, draws=draws, seed=seed).astype(np.float64)
        low, high = percentiles(statistic(drawn), level)
    if np.ndim(value) == 0:
        return Interval(float(value), float(low), float(high), group_count)
    return Interval(value, low, high, group_count)


def percentiles(samples: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The two ends of the central `level` of samples [draws, ...]; nan where all of them are nan."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is between 0 and 1 (0.95), not {level}")
    tail = 50.0 * (1.0 - level)
    empty = np.isnan(samples).all(0)
    filled = np.where(empty, 0.0, samples)
    low, high = np.nanpercentile(filled, [tail, 100.0 - tail], axis=0)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def _spread(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    variance = square - mean**2
    # Rounding of a constant column leaves about 1e-17 of its square: that is no variance.
    return np.sqrt(np.where(variance > 1e-12 * np.maximum(square, 1e-30), variance, np.nan))
