"""Quality of a map of latents: kNN accuracy of the classes on the map, and the variance that its inverse keeps.

Trustworthiness and continuity are `sklearn.manifold.trustworthiness`, of the map and with map and latents exchanged.
"""

from __future__ import annotations

import numpy as np

from timbre_jax.metrics.bootstrap import Interval, sums_interval
from timbre_jax.metrics.knn import NeighborAccuracy, Neighbors, accuracy_of, nearest_neighbors, standardize, vote


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
    return sums_interval(kept, *terms, groups=groups)


def _others(points: np.ndarray, k: int) -> np.ndarray:
    """Indices [n, k] of the k nearest other points of each, nearest first."""
    found = nearest_neighbors(points, points, k=k + 1).indices
    own = found == np.arange(len(points))[:, None]
    # Where more than k points lie on the very same place, a point may not be among its own neighbors: drop the last.
    own[~own.any(1), -1] = True
    return found[~own].reshape(len(points), k)
