"""Quality of a map of latents: kNN accuracy of classes, and variance kept by its inverse.

`sklearn.manifold.trustworthiness` computes the trustworthiness, and with latents and map exchanged the continuity.
"""

from __future__ import annotations

import numpy as np

from timbre_jax.metrics.bootstrap import Interval, sums_interval
from timbre_jax.metrics.knn import NeighborAccuracy, Neighbors, label_accuracy, nearest_neighbors, standardize, vote


def map_accuracy(mapped: np.ndarray, labels: np.ndarray, *, k: int = 5) -> NeighborAccuracy:
    """Computes the kNN accuracy of labels on a map, leaving one out.

    Args:
      mapped: [n, d] map points, at least 2.
      labels: [n] labels of the points.
      k: number of neighbors; n - 1 if it is larger.

    Raises:
      ValueError: there are fewer than two points.
    """
    mapped, labels = np.asarray(mapped, np.float64), np.asarray(labels)
    if len(mapped) < 2:
        raise ValueError(f"map: must have at least two points for kNN accuracy (got {len(mapped)})")
    near = _nearest_others(standardize(mapped)[0], min(k, len(mapped) - 1))
    return label_accuracy(vote(Neighbors(near, np.zeros(near.shape)), labels), labels, labels)


def variance_kept(
    latents: np.ndarray,
    returned: np.ndarray,
    *,
    mean: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> Interval:
    """Computes the share of latent variance that a round trip through the map keeps.

    This is 1 - sum |z' - z|^2 / sum |z - mean|^2: 1 for exact inversion, 0 for the mean latent, and negative if worse.

    Args:
      latents: [M, D] of held-out sounds.
      returned: [M, D] inverses of their map points.
      mean: [D] mean latent of the sounds of the map; None: mean of `latents`.
      groups: [M], resampled whole for the interval; None: every sound is a group of its own.

    Raises:
      ValueError: the shapes differ, or values are not finite.
    """
    latents, returned = np.asarray(latents, np.float64), np.asarray(returned, np.float64)
    if latents.shape != returned.shape or latents.ndim != 2 or len(latents) == 0:
        raise ValueError(f"latents: must be [M, D] of one shape (got {latents.shape} and {returned.shape})")
    if not (np.isfinite(latents).all() and np.isfinite(returned).all()):
        raise ValueError("latents: all values must be finite; remove latents with NaN or infinity")
    mean = latents.mean(0) if mean is None else np.asarray(mean, np.float64)

    def kept(lost: np.ndarray, spread: np.ndarray) -> np.ndarray:
        return 1.0 - lost / np.where(spread > 0.0, spread, np.nan)

    terms = (np.square(x).sum(1) for x in (returned - latents, latents - mean))
    return sums_interval(kept, *terms, groups=groups)


def _nearest_others(points: np.ndarray, k: int) -> np.ndarray:
    """Returns the indices [n, k] of the k nearest other points of each point, nearest first."""
    indices = nearest_neighbors(points, points, k=k + 1).indices
    own = indices == np.arange(len(points))[:, None]
    # If more than k points are equal, a point may be missing among its own neighbors. The last neighbor is removed instead.
    own[~own.any(1), -1] = True
    return indices[~own].reshape(len(points), k)
