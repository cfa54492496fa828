"""Nearest sounds of a library in the latent space, and classes inferred from them."""

from __future__ import annotations

import dataclasses

import numpy as np

from timbre_jax.metrics.knn import Neighbors, vote
from timbre_jax.space import TimbreSpace


@dataclasses.dataclass(frozen=True)
class SoundIndex:
    """Index of the latents of a library for nearest-neighbor search.

    A query takes about 10 ms for 100,000 sounds and 64 dimensions on one core.

    Attributes:
      points: latents [P, D] in training standard deviations, float32.
      squares: squared lengths [P] of the points.
      scale: training standard deviations [D]; inf for a latent that does not vary.
    """

    points: np.ndarray
    squares: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, space: TimbreSpace, latents: np.ndarray) -> SoundIndex:
        """Returns the index of latents [P, D].

        Raises:
          ValueError: other than finite latents [P, D] of at least one sound.
        """
        latents = np.asarray(latents)
        if latents.ndim != 2 or latents.shape[1] != space.latent_size or not len(latents) or not np.isfinite(latents).all():
            raise ValueError(f"latents: must be finite [P, {space.latent_size}] (got {latents.shape})")
        deviation = np.asarray(space.statistics["latent_std"], np.float64)
        scale = np.where(deviation > 1e-9, deviation, np.inf)  # A latent that does not vary has no weight.
        points = np.ascontiguousarray(latents / scale, np.float32)
        return cls(points, np.einsum("pd,pd->p", points, points), scale)

    def search(self, queries: np.ndarray, *, k: int = 5) -> Neighbors:
        """Finds the k nearest sounds of each query; distances are in training standard deviations.

        A search in float32 selects k + 32 candidates, which are then sorted by their exact distances.

        Args:
          queries: latents [Q, D].
          k: number of neighbors.

        Raises:
          ValueError: k is not between 1 and P.
        """
        if not 1 <= k <= len(self.points):
            raise ValueError(f"k: must be between 1 and {len(self.points)}, the number of points (got {k})")
        scaled = np.atleast_2d(np.asarray(queries, np.float64)) / self.scale
        count = min(k + 32, len(self.points))
        indices, distances = np.empty((len(scaled), k), np.int64), np.empty((len(scaled), k))
        for i, query in enumerate(scaled):
            approximate = self.squares - 2.0 * (self.points @ query.astype(np.float32))
            candidates = np.sort(np.argpartition(approximate, count - 1)[:count])
            distance = np.linalg.norm(self.points[candidates].astype(np.float64) - query, axis=1)
            order = np.argsort(distance, kind="stable")[:k]
            indices[i], distances[i] = candidates[order], distance[order]
        return Neighbors(indices, distances)


def name_by_neighbors(labels: np.ndarray, neighbors: Neighbors) -> tuple[np.ndarray, np.ndarray]:
    """Returns the most frequent label [Q] among the neighbors of queries, and its share [Q].

    Args:
      labels: labels [P] of the library, str.
      neighbors: neighbors of the queries in the library; ties go to the nearest.
    """
    names = vote(neighbors, labels)
    return names, np.mean(np.asarray(labels)[neighbors.indices] == names[:, None], axis=1)
