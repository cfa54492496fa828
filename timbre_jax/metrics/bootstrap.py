"""Percentile intervals (95 %) by resampling whole groups (instruments).

All notes of one instrument are drawn together, because they are one draw from the instruments, not many.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Interval:
    """Statistic and its percentile interval; each float, or arrays [...] where many are estimated at once.

    Attributes:
      value: of the set as it is.
      low, high: nan where an interval cannot be made (fewer than two groups).
      groups: how many groups were resampled.
    """

    value: np.ndarray | float
    low: np.ndarray | float
    high: np.ndarray | float
    groups: int

    def value_low_high(self, *place: int) -> tuple[float, float, float]:
        """Returns the three numbers of one statistic; `place` is its index if many are estimated at once."""
        value, low, high = (float(np.asarray(x)[place]) for x in (self.value, self.low, self.high))
        return value, low, high


def group_ids(groups: np.ndarray | None, count: int) -> tuple[np.ndarray, int]:
    """Returns groups of any kind (names, numbers; None: every item is its own) as ids 0..G-1 [M], and G.

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
    """Returns the sums [G, ...] over the items [M, ...] of each group; ids [M] in 0..G-1."""
    sums = np.zeros((group_count, *terms.shape[1:]))
    np.add.at(sums, ids, terms)
    return sums


def mean_interval(
    values: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    weights: np.ndarray | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """Returns the mean over items with its interval over groups.

    Percentile bootstrap (Efron 1979); clusters are resampled whole.

    Args:
      values: [M, ...]: the mean is over the first axis.
      groups: [M] of any kind; None: every item is its own group.
      weights: [M], default 1 each.
      draws: number of resamples.
      seed: random seed of the resampling.

    Raises:
      ValueError: no items, a value that is not finite, or shapes that do not fit.
    """
    values = _finite(values)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)

    def mean(total: np.ndarray, size: np.ndarray) -> np.ndarray:
        return (total / size[:, None]).reshape(len(total), *values.shape[1:])

    terms = (values.reshape(len(values), -1) * weights[:, None], weights)
    return sums_interval(mean, *terms, groups=groups, draws=draws, seed=seed)


def ratio_interval(
    values: np.ndarray,
    reference: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    seed: int = 0,
) -> Interval:
    """Returns mean(values) / mean(reference) of the same items [M], both resampled together.

    Raises:
      ValueError: shapes that differ, no items, or a value that is not finite.
    """
    if np.shape(values) != np.shape(reference) or np.ndim(values) != 1:
        raise ValueError(f"a ratio is of two sets of the same items [M], not {np.shape(values)} and {np.shape(reference)}")
    values, reference = _finite(values), _finite(reference)

    def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        return above / np.where(below != 0.0, below, np.nan)

    return sums_interval(ratio, values, reference, groups=groups, seed=seed)


def correlation_interval(
    x: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """Returns Pearson correlations of every column of x [M, D] with every column of y [M, L], each [D, L], with intervals.

    For Spearman's correlation pass ranks: they are taken once, over the whole set, not in every resample.
    A column that does not vary has the correlation nan.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    x, y = x - x.mean(0), y - y.mean(0)

    def correlation(n, sum_x, sum_y, sum_xx, sum_yy, sum_xy) -> np.ndarray:
        n = n[:, None]
        mean_x, mean_y, square_x, square_y = sum_x / n, sum_y / n, sum_xx / n, sum_yy / n
        product = sum_xy / n[:, :, None]
        spread = _spread(square_x, mean_x)[:, :, None] * _spread(square_y, mean_y)[:, None, :]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.clip((product - mean_x[:, :, None] * mean_y[:, None, :]) / spread, -1.0, 1.0)

    terms = (np.ones(len(x)), x, y, x * x, y * y, x[:, :, None] * y[:, None, :])
    return sums_interval(correlation, *terms, groups=groups, draws=draws, seed=seed)


def sums_interval(
    statistic: Callable[..., np.ndarray],
    *terms: np.ndarray,
    groups: np.ndarray | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """Returns a statistic of sums over items, with its interval over groups.

    Args:
      statistic: takes the sums [R, ...] of every term over the items of R resampled sets; returns R statistics [R, ...].
      terms: [M, ...] each.
      groups: [M] of any kind; None: every item is its own group.
      draws: number of resamples.
      seed: random seed of the resampling.

    Raises:
      ValueError: not one group an item.
    """
    ids, count = group_ids(groups, len(terms[0]))
    sums = [group_sums(term, ids, count) for term in terms]

    def of_draws(drawn: np.ndarray) -> np.ndarray:
        return statistic(*(drawn @ part if part.ndim < 3 else np.tensordot(drawn, part, 1) for part in sums))

    return resampled_interval(of_draws, count, draws=draws, seed=seed)


def resampled_interval(statistic: Callable[[np.ndarray], np.ndarray], group_count: int, *, draws: int, seed: int) -> Interval:
    """Returns a statistic of the whole set and its percentiles over resamples.

    Args:
      statistic: takes how often each group is in each of R sets, [R, G] float64; returns R statistics [R, ...].
      group_count: G; with fewer than two groups the percentiles are nan.
      draws: number of resamples.
      seed: random seed of the resampling.
    """
    value = statistic(np.ones((1, group_count)))[0]
    low = high = np.full_like(value, np.nan)
    if group_count > 1:
        drawn = resampled_counts(group_count, draws=draws, seed=seed).astype(np.float64)
        low, high = percentiles(statistic(drawn))
    if np.ndim(value) == 0:
        return Interval(float(value), float(low), float(high), group_count)
    return Interval(value, low, high, group_count)


def resampled_counts(group_count: int, *, draws: int, seed: int) -> np.ndarray:
    """Returns how often each group is drawn when `group_count` groups are drawn with replacement: int [draws, G]."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(group_count, np.full(group_count, 1.0 / group_count), size=draws)


def percentiles(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the 2.5th and the 97.5th percentile of samples [draws, ...]; nan where all of them are nan."""
    empty = np.isnan(samples).all(0)
    filled = np.where(empty, 0.0, samples)
    low, high = np.nanpercentile(filled, [2.5, 97.5], axis=0)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def _finite(values: np.ndarray) -> np.ndarray:
    """Returns values as float64; raises a ValueError if there are none, or some are not finite."""
    values = np.asarray(values, np.float64)
    if len(values) == 0:
        raise ValueError("there are no values to average")
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} of {values.size} values are not finite")
    return values


def _spread(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    variance = square - mean**2
    # Rounding of a constant column leaves about 1e-17 of its square: that is no variance.
    return np.sqrt(np.where(variance > 1e-12 * np.maximum(square, 1e-30), variance, np.nan))
