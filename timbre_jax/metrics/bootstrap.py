"""Percentile intervals (95 %) by resampling whole groups, such as instruments.

All notes of an instrument are resampled together: they are alike, so they count as one independent draw.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Interval:
    """Statistic with its percentile interval.

    The fields are floats, or arrays [...] if many statistics are estimated at once.

    Attributes:
      value: statistic of the whole set.
      low: 2.5th percentile; nan with fewer than two groups.
      high: 97.5th percentile; nan with fewer than two groups.
      groups: number of groups that were resampled.
    """

    value: np.ndarray | float
    low: np.ndarray | float
    high: np.ndarray | float
    groups: int

    def value_low_high(self, *index: int) -> tuple[float, float, float]:
        """Returns value, low and high of the statistic at `index`, or of the only one."""
        value, low, high = (float(np.asarray(x)[index]) for x in (self.value, self.low, self.high))
        return value, low, high


def group_ids(groups: np.ndarray | None, count: int) -> tuple[np.ndarray, int]:
    """Numbers the groups of items from 0 to G - 1.

    Args:
      groups: [M] of any type (names, numbers); None: every item is a group of its own.
      count: number M of items.

    Returns:
      (ids [M] int64, G).

    Raises:
      ValueError: there is not one group for each item.
    """
    if groups is None:
        return np.arange(count), count
    groups = np.asarray(groups)
    if groups.shape != (count,):
        raise ValueError(f"groups: must be [{count}], one for each item (got {groups.shape})")
    _, ids = np.unique(groups, return_inverse=True)
    return ids.astype(np.int64), int(ids.max()) + 1 if count else 0


def group_sums(terms: np.ndarray, ids: np.ndarray, group_count: int) -> np.ndarray:
    """Sums terms over the items of each group.

    Args:
      terms: [M, ...] terms of the items.
      ids: [M] ids of the groups, 0 to G - 1.
      group_count: number G of groups.

    Returns:
      [G, ...] float64.
    """
    sums = np.zeros((group_count, *terms.shape[1:]))
    np.add.at(sums, ids, terms)
    return sums


def mean_interval(
    values: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    weights: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Estimates the mean of items, with a bootstrap interval over groups.

    Percentile bootstrap (Efron 1979) that resamples whole groups.

    Args:
      values: [M, ...] values of the items; the mean is over the first axis.
      groups: [M] of any type; None: every item is a group of its own.
      weights: [M] weights of the items; None: 1 each.
      resamples: number of resamples.
      seed: random seed of the resampling.

    Returns:
      Interval of shape [...].

    Raises:
      ValueError: there are no items, a value is not finite, or the shapes do not fit.
    """
    values = _finite(values)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)

    def mean(total: np.ndarray, size: np.ndarray) -> np.ndarray:
        return (total / size[:, None]).reshape(len(total), *values.shape[1:])

    terms = (values.reshape(len(values), -1) * weights[:, None], weights)
    return sums_interval(mean, *terms, groups=groups, resamples=resamples, seed=seed)


def ratio_interval(
    values: np.ndarray,
    reference: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    seed: int = 0,
) -> Interval:
    """Estimates mean(values) / mean(reference) of the same items, resampled together.

    Args:
      values: [M] values of the items.
      reference: [M] values of the same items.
      groups: [M] of any type; None: every item is a group of its own.
      seed: random seed of the resampling.

    Raises:
      ValueError: the shapes differ, there are no items, or a value is not finite.
    """
    if np.shape(values) != np.shape(reference) or np.ndim(values) != 1:
        raise ValueError(f"ratio: must be of the same items [M] (got {np.shape(values)} and {np.shape(reference)})")
    values, reference = _finite(values), _finite(reference)

    def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        return above / np.where(below != 0.0, below, np.nan)

    return sums_interval(ratio, values, reference, groups=groups, seed=seed)


def correlation_interval(
    x: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Estimates correlations of every column of x with every column of y, with intervals.

    They are Pearson's. For Spearman's, pass ranks; resamples then keep the ranks of the whole set. The correlation of a
    constant column is nan.

    Args:
      x: [M, D] values of the items.
      y: [M, L] values of the items.
      groups: [M] of any type; None: every item is a group of its own.
      resamples: number of resamples.
      seed: random seed of the resampling.

    Returns:
      Interval of shape [D, L], in [-1, 1].
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
    return sums_interval(correlation, *terms, groups=groups, resamples=resamples, seed=seed)


def sums_interval(
    statistic: Callable[..., np.ndarray],
    *terms: np.ndarray,
    groups: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Estimates a statistic of sums over items, with a bootstrap interval over groups.

    Args:
      statistic: maps the sums [R, ...] of every term over the items of R resampled sets to R statistics [R, ...].
      *terms: values [M, ...] to sum.
      groups: [M] of any type; None: every item is a group of its own.
      resamples: number of resamples.
      seed: random seed of the resampling.

    Raises:
      ValueError: there is not one group for each item.
    """
    ids, count = group_ids(groups, len(terms[0]))
    sums = [group_sums(term, ids, count) for term in terms]

    def of_counts(counts: np.ndarray) -> np.ndarray:
        return statistic(*(counts @ part if part.ndim < 3 else np.tensordot(counts, part, 1) for part in sums))

    return resampled_interval(of_counts, count, resamples=resamples, seed=seed)


def resampled_interval(
    statistic: Callable[[np.ndarray], np.ndarray], group_count: int, *, resamples: int, seed: int
) -> Interval:
    """Estimates a statistic of the whole set, with an interval over resamples.

    Args:
      statistic: maps the number of times that each group is in each of R sets, [R, G] float64, to R statistics [R, ...].
      group_count: number G of groups.
      resamples: number of resamples.
      seed: random seed of the resampling.
    """
    value = statistic(np.ones((1, group_count)))[0]
    low = high = np.full_like(value, np.nan)
    if group_count > 1:
        counts = resampled_counts(group_count, resamples=resamples, seed=seed).astype(np.float64)
        low, high = percentiles(statistic(counts))
    if np.ndim(value) == 0:
        return Interval(float(value), float(low), float(high), group_count)
    return Interval(value, low, high, group_count)


def resampled_counts(group_count: int, *, resamples: int, seed: int) -> np.ndarray:
    """Draws groups with replacement.

    Args:
      group_count: number G of groups, also the number of groups drawn in a resample.
      resamples: number of resamples.
      seed: random seed.

    Returns:
      Number of times that each group is drawn, [resamples, G] int.
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(group_count, np.full(group_count, 1.0 / group_count), size=resamples)


def percentiles(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the 2.5th and 97.5th percentiles of samples [R, ...]; nan if all are nan."""
    empty = np.isnan(samples).all(0)
    filled = np.where(empty, 0.0, samples)
    low, high = np.nanpercentile(filled, [2.5, 97.5], axis=0)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def _finite(values: np.ndarray) -> np.ndarray:
    """Converts values to float64; raises a ValueError if there are none or any is not finite."""
    values = np.asarray(values, np.float64)
    if len(values) == 0:
        raise ValueError("values: must have at least one item (got 0)")
    if not np.isfinite(values).all():
        raise ValueError(f"values: {int((~np.isfinite(values)).sum())} of {values.size} are not finite; remove them")
    return values


def _spread(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Computes the standard deviation from mean square and mean; nan for a constant."""
    variance = square - mean**2
    # For a constant column, rounding leaves about 1e-17 of the square.
    return np.sqrt(np.where(variance > 1e-12 * np.maximum(square, 1e-30), variance, np.nan))
