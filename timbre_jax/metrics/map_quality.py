"""How good a map (2-D or 3-D) of latents is: neighborhoods kept, classes told, and what comes back through its inverse."""

from __future__ import annotations

import numpy as np

from timbre_jax.metrics.bootstrap import Interval, sums_interval
from timbre_jax.metrics.knn import (
    NeighborAccuracy,
    Neighbors,
    accuracy_of,
    nearest_neighbors,
    square_distances,
    standardize,
    vote,
)


def trustworthiness(points: np.ndarray, mapped: np.ndarray, *, k: int = 5, chunk: int = 512) -> float:
    """Are neighbors on the map neighbors in truth? 1: all; about 0.5: a random map (Venna & Kaski 2001, eq. 3.1).

        1 - 2 / (n k (2 n - 3 k - 1)) * sum over i and j of max(0, rank(i, j) - k)

    over the k nearest j of i on the map, ranked by their distance in truth; as `sklearn.manifold.trustworthiness`, in
    chunks of rows.

    Args:
      points: [n, D] before the map. mapped: [n, d] after.
      k: neighbors, fewer than n / 2.

    Raises:
      ValueError: shapes that do not fit, or k too large.
    """
    points, mapped = np.asarray(points, np.float64), np.asarray(mapped, np.float64)
    count = len(points)
    if mapped.shape[:1] != points.shape[:1] or points.ndim != 2 or mapped.ndim != 2:
        raise ValueError(f"points and their places are [n, D] and [n, d], not {points.shape} and {mapped.shape}")
    if not 1 <= k < count / 2:
        raise ValueError(f"k = {k} neighbors of {count} points: k is at least 1 and less than half of them")
    near = _others(mapped, k)
    intrusion = 0
    for start in range(0, count, chunk):
        rows = np.arange(start, min(start + chunk, count))
        distance = square_distances(points[rows], points)
        distance[np.arange(len(rows)), rows] = -1.0
        order = np.argsort(distance, axis=1, kind="stable")
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.arange(count)[None, :], axis=1)
        intrusion += np.maximum(np.take_along_axis(ranks, near[rows], axis=1) - k, 0).sum()
    return float(1.0 - intrusion * 2.0 / (count * k * (2.0 * count - 3.0 * k - 1.0)))


def continuity(points: np.ndarray, mapped: np.ndarray, *, k: int = 5) -> float:
    """Are neighbors in truth neighbors on the map? `trustworthiness` with the two exchanged (Venna & Kaski 2001, eq. 3.2)."""
    return trustworthiness(mapped, points, k=k)


def map_accuracy(mapped: np.ndarray, labels: np.ndarray, *, k: int = 5) -> NeighborAccuracy:
    """How often the k nearest other points on the map name a point's class (leave one out)."""
    mapped, labels = np.asarray(mapped, np.float64), np.asarray(labels)
    if len(mapped) < 2:
        raise ValueError("a neighbor needs at least two points")
    near = _others(standardize(mapped)[0], min(k, len(mapped) - 1))
    return accuracy_of(vote(Neighbors(near, np.zeros(near.shape)), labels), labels, labels)


def variance_kept(
    latents: np.ndarray,
    returned: np.ndarray,
    *,
    mean: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """Share of the latents' variance that a round trip through the map keeps: 1 - sum |z' - z|^2 / sum |z - mean|^2.

    1: all comes back; 0: as good as always answering the mean; below 0: worse.

    Args:
      latents: [M, D] of held-out sounds. returned: [M, D]: the inverse of their places.
      mean: [D], of the sounds that the map was made of; None: of the latents given.
      groups: resampled whole for the interval.

    Raises:
      ValueError: shapes that differ, or values that are not finite.
    """
    latents, returned = np.asarray(latents, np.float64), np.asarray(returned, np.float64)
    if latents.shape != returned.shape or latents.ndim != 2 or len(latents) == 0:
        raise ValueError(f"latents [M, D] before and after are of one shape, not {latents.shape} and {returned.shape}")
    if not (np.isfinite(latents).all() and np.isfinite(returned).all()):
        raise ValueError("some latents are not finite")
    mean = latents.mean(0) if mean is None else np.asarray(mean, np.float64)

    def kept(lost: np.ndarray, spread: np.ndarray) -> np.ndarray:
        return 1.0 - lost / np.where(spread > 0.0, spread, np.nan)

    terms = (np.square(x).sum(1) for x in (returned - latents, latents - mean))
    return sums_interval(kept, *terms, groups=groups, draws=draws, seed=seed)


def _others(points: np.ndarray, k: int) -> np.ndarray:
    """Indices [n, k] of the k nearest other points of each, nearest first."""
    found = nearest_neighbors(points, points, k=k + 1).indices
    own = found == np.arange(len(points))[:, None]
    # Where more than k points lie on the very same place, a point may not be among its own neighbors: drop the last.
    own[~own.any(1), -1] = True
    return found[~own].reshape(len(points), k)
