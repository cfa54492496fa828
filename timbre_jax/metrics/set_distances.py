"""Distances between two sets of embedded sounds: Fréchet's and the kernel distance.

Both compare clouds of points, so they need an embedding (`metrics.embedding`) and say nothing of single sounds. The Fréchet
distance of finite sets is biased upwards, the more the more features and the fewer sounds; the kernel distance is not
biased, has an interval, and is the headline. Either means something only beside that of two real sets.
"""

from __future__ import annotations

import numpy as np

from timbre_jax.metrics.bootstrap import Interval, group_ids
from timbre_jax.metrics.knn import square_distances

MAXIMUM_FEATURES = 256


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of sets a [N, D] and b [M, D] taken as Gaussian.

    Fréchet distance of Dowson & Landau 1982 as Heusel et al. 2017 use it (FID), Kilgour et al. 2019 for sound (FAD).

    Raises:
      ValueError: sets that do not fit, fewer than two points, more than 256 features, or values that are not finite.
    """
    a, b = _checked(a, b)
    mean = a.mean(0) - b.mean(0)
    covariance_a, covariance_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    # The eigenvalues of S_a S_b are those of the symmetric root S_b root: real, and not below 0.
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
    """Unbiased squared maximum mean discrepancy of sets a [N, D] (the reference) and b [M, D], with a 95 % interval.

        MMD^2 = mean k(a_i, a_j), i != j, + mean k(b_i, b_j), i != j, - 2 mean k(a_i, b_j)     (Gretton et al. 2012, eq. 3)

    with k(x, y) = exp(-|x - y|^2 / (2 s^2)), s the reference's median distance (KAD, Chung et al. 2025). 0 on average for two
    samples of one distribution, so it may come out below 0.

    Args:
      groups_a, groups_b: of any kind: what belongs together (instrument, file) is left out together for the interval
        (jackknife); None: every point is its own group.
      chunk: rows of the kernel matrix at once.

    Returns:
      value +- 1.96 standard errors; nan where a set has fewer than two groups. `groups` is the smaller number.

    Raises:
      ValueError: as `frechet_distance`.
    """
    a, b = _checked(a, b)
    function = _gaussian_kernel(a)
    within = [_sums(function, x, x, chunk) for x in (a, b)]
    across = _sums(function, a, b, chunk)
    ids, blocks = [], []
    for x, groups in ((a, groups_a), (b, groups_b)):
        named, count = group_ids(groups, len(x))
        ids.append((named, count))
        members = np.split(np.argsort(named, kind="stable"), np.cumsum(np.bincount(named, minlength=count))[:-1])
        # Of each group: the sum of the kernel over its own pairs, and over its points with themselves.
        blocks.append(np.array([[(own := function(x[m], x[m])).sum(), np.trace(own)] for m in members]))
    value = _mmd([(w.sum() - block[:, 1].sum(), len(w)) for w, block in zip(within, blocks, strict=True)], across.sum())
    if min(count for _, count in ids) < 2:
        return Interval(value, np.nan, np.nan, min(count for _, count in ids))
    variance = 0.0
    for side, (named, count) in enumerate(ids):
        rows = np.bincount(named, within[side], minlength=count)
        sizes = np.bincount(named, minlength=count)
        crossing = np.bincount(named, across if side == 0 else _sums(function, b, a, chunk), minlength=count)
        own, diagonal = blocks[side].T
        left = within[side].sum() - 2.0 * rows + own - (diagonal.sum() - diagonal)
        other = within[1 - side].sum() - blocks[1 - side][:, 1].sum()
        parts = [(left, len(within[side]) - sizes), (other, len(within[1 - side]))]
        without = _mmd(parts, across.sum() - crossing)
        variance += (count - 1) / count * np.sum(np.square(without - without.mean()))
    error = 1.96 * np.sqrt(variance)
    return Interval(value, value - error, value + error, min(count for _, count in ids))


def _mmd(within, across):
    """From (sum over pairs of different points, number of points) of both sets, and the sum over pairs across."""
    (sum_a, a), (sum_b, b) = within
    value = sum_a / np.maximum(a * (a - 1), 1) + sum_b / np.maximum(b * (b - 1), 1) - 2.0 * across / (a * b)
    return float(value) if np.ndim(value) == 0 else value


def _gaussian_kernel(reference: np.ndarray):
    some = reference[np.linspace(0, len(reference) - 1, min(len(reference), 2000)).astype(int)]
    width = np.median(square_distances(some, some)[np.triu_indices(len(some), 1)])
    return lambda x, y: np.exp(-square_distances(x, y) / (2.0 * max(width, 1e-12)))


def _sums(function, x: np.ndarray, y: np.ndarray, chunk: int) -> np.ndarray:
    """Sums [N] of the kernel of every point of x with all of y."""
    return np.concatenate([function(x[start : start + chunk], y).sum(1) for start in range(0, len(x), chunk)])


def _checked(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"two sets of points [N, D] and [M, D] are compared, not {a.shape} and {b.shape}")
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a set needs at least two points, there are {len(a)} and {len(b)}")
    if a.shape[1] > MAXIMUM_FEATURES:
        raise ValueError(
            f"{a.shape[1]} features are too many for sets of sounds; at most {MAXIMUM_FEATURES} (project them first)"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("some values are not finite")
    return a, b
