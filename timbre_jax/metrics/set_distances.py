"""Fréchet and kernel distance between two sets of embedded sounds.

Both compare the distributions of sets of points under an embedding (`metrics.embedding`), not single sounds. The Fréchet
distance of finite sets is biased upward, more so with more features and fewer sounds. The kernel distance is unbiased, has an
interval, and should be preferred. Compare either with its value for two sets of real sounds.
"""

from __future__ import annotations

import numpy as np

from timbre_jax.metrics.bootstrap import Interval, group_ids
from timbre_jax.metrics.knn import square_distances

MAXIMUM_FEATURES = 256


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Computes the Fréchet distance of two sets of points, each approximated by a Gaussian.

    |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) (Dowson & Landau 1982), as in FID (Heusel et al. 2017) and, for sound, FAD
    (Kilgour et al. 2019).

    Args:
      a: [N, D] first set, N >= 2, D <= 256.
      b: [M, D] second set, M >= 2.

    Returns:
      The distance, at least 0; 0 for sets of equal mean and covariance.

    Raises:
      ValueError: the shapes do not fit, or values are not finite.
    """
    a, b = _check_sets(a, b)
    mean = a.mean(0) - b.mean(0)
    covariance_a, covariance_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    # S_a S_b has the same eigenvalues as the symmetric matrix S_a^(1/2) S_b S_a^(1/2); they are real and not negative.
    both = np.linalg.eigvalsh(root @ covariance_b @ root)
    distance = mean @ mean + np.trace(covariance_a) + np.trace(covariance_b) - 2.0 * np.sqrt(np.maximum(both, 0.0)).sum()
    return max(0.0, float(distance))


def kernel_distance(
    a: np.ndarray,
    b: np.ndarray,
    *,
    groups_a: np.ndarray | None = None,
    groups_b: np.ndarray | None = None,
    chunk: int = 2048,
) -> Interval:
    """Computes the kernel distance of two sets of points, with a 95 % interval.

    This is the unbiased squared maximum mean discrepancy

        MMD^2 = mean k(a_i, a_j), i != j, + mean k(b_i, b_j), i != j, - 2 mean k(a_i, b_j)     (Gretton et al. 2012, eq. 3)

    with k(x, y) = exp(-|x - y|^2 / (2 s^2)), where s is the median distance in the reference set (KAD, Chung et al. 2025). Its
    mean is 0 for two samples of one distribution, so it can be negative.

    Args:
      a: [N, D] reference set, N >= 2, D <= 256.
      b: [M, D] second set, M >= 2.
      groups_a: [N] of any type; points of a group (instrument, file) are left out together for the interval (jackknife). None:
        every point is a group of its own.
      groups_b: [M] groups of `b`, as `groups_a`.
      chunk: number of rows of the kernel matrix that are computed at once.

    Returns:
      The value +- 1.96 standard errors; the interval is nan if a set has fewer than two groups. `groups` is the smaller number.

    Raises:
      ValueError: the shapes do not fit, or values are not finite.
    """
    a, b = _check_sets(a, b)
    function = _gaussian_kernel(a)
    within = [_kernel_sums(function, x, x, chunk) for x in (a, b)]
    across = _kernel_sums(function, a, b, chunk)
    grouped, blocks = [], []
    for x, groups in ((a, groups_a), (b, groups_b)):
        ids, count = group_ids(groups, len(x))
        grouped.append((ids, count))
        members = np.split(np.argsort(ids, kind="stable"), np.cumsum(np.bincount(ids, minlength=count))[:-1])
        # Each block contains the sum of the kernel over all pairs of a group, and over the pairs of a point with itself.
        blocks.append(np.array([[(own := function(x[m], x[m])).sum(), np.trace(own)] for m in members]))
    value = _squared_mmd([(w.sum() - block[:, 1].sum(), len(w)) for w, block in zip(within, blocks, strict=True)], across.sum())
    if min(count for _, count in grouped) < 2:
        return Interval(value, np.nan, np.nan, min(count for _, count in grouped))
    variance = 0.0
    for side, (ids, count) in enumerate(grouped):
        rows = np.bincount(ids, within[side], minlength=count)
        sizes = np.bincount(ids, minlength=count)
        crossing = np.bincount(ids, across if side == 0 else _kernel_sums(function, b, a, chunk), minlength=count)
        own, diagonal = blocks[side].T
        left = within[side].sum() - 2.0 * rows + own - (diagonal.sum() - diagonal)
        other = within[1 - side].sum() - blocks[1 - side][:, 1].sum()
        parts = [(left, len(within[side]) - sizes), (other, len(within[1 - side]))]
        without = _squared_mmd(parts, across.sum() - crossing)
        variance += (count - 1) / count * np.sum(np.square(without - without.mean()))
    error = 1.96 * np.sqrt(variance)
    return Interval(value, value - error, value + error, min(count for _, count in grouped))


def _squared_mmd(within, across):
    """Computes the squared MMD from sums of the kernel.

    Args:
      within: (sum over pairs of different points, number of points) of both sets.
      across: sum over pairs of one point of each set.
    """
    (sum_a, a), (sum_b, b) = within
    value = sum_a / np.maximum(a * (a - 1), 1) + sum_b / np.maximum(b * (b - 1), 1) - 2.0 * across / (a * b)
    return float(value) if np.ndim(value) == 0 else value


def _gaussian_kernel(reference: np.ndarray):
    """Returns a Gaussian kernel whose width is the median distance of up to 2000 points."""
    subset = reference[np.linspace(0, len(reference) - 1, min(len(reference), 2000)).astype(int)]
    width = np.median(square_distances(subset, subset)[np.triu_indices(len(subset), 1)])
    return lambda x, y: np.exp(-square_distances(x, y) / (2.0 * max(width, 1e-12)))


def _kernel_sums(function, x: np.ndarray, y: np.ndarray, chunk: int) -> np.ndarray:
    """Returns the sums [N] of the kernel of each point of x with all points of y."""
    return np.concatenate([function(x[start : start + chunk], y).sum(1) for start in range(0, len(x), chunk)])


def _check_sets(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Converts both sets to float64; raises a ValueError if they cannot be compared."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"sets: must be [N, D] and [M, D] (got {a.shape} and {b.shape})")
    if min(len(a), len(b)) < 2:
        raise ValueError(f"sets: must have at least two points (got {len(a)} and {len(b)})")
    if a.shape[1] > MAXIMUM_FEATURES:
        raise ValueError(f"sets: must have at most {MAXIMUM_FEATURES} features (got {a.shape[1]}); project them first")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("sets: all values must be finite; remove points with NaN or infinity")
    return a, b
