"""Which known sounds are like a sound, and what they say of its class."""

from __future__ import annotations

import dataclasses

import numpy as np

from timbre_jax.metrics.knn import Neighbors, nearest_neighbors
from timbre_jax.space import TimbreSpace


def neighbors(
    space: TimbreSpace, known: np.ndarray, queries: np.ndarray, *, k: int = 5, standardized: bool = True
) -> Neighbors:
    """The k of the known latents [P, D] that are nearest to each query [Q, D].

    Distances are counted in the latents' training standard deviations (a latent that does not vary counts nothing), or
    in the latents' own units where `standardized` is False.
    """
    scale = _deviations(space) if standardized else 1.0
    return nearest_neighbors(np.asarray(known, np.float64) / scale, np.asarray(queries, np.float64) / scale, k=k)


def _deviations(space: TimbreSpace) -> np.ndarray:
    deviation = np.asarray(space.statistics["latent_std"], np.float64)
    return np.where(deviation > 1e-9, deviation, np.inf)


@dataclasses.dataclass(frozen=True)
class SoundIndex:
    """A library's latents, made ready to be searched again and again: 100,000 of 64 dimensions in about 10 ms a sound.

    Attributes:
      points: [P, D] float32, in training deviations. squares: [P], their squared lengths. scale: [D], the deviations.
    """

    points: np.ndarray
    squares: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, space: TimbreSpace, known: np.ndarray) -> SoundIndex:
        """Of known latents [P, D].

        Raises:
          ValueError: other than [P, D] with at least one sound, or not finite.
        """
        known = np.asarray(known)
        if known.ndim != 2 or known.shape[1] != space.latent_size or not len(known) or not np.isfinite(known).all():
            raise ValueError(f"an index takes finite latents [P, {space.latent_size}], not {known.shape}")
        scale = _deviations(space)
        points = np.ascontiguousarray(known / scale, np.float32)
        return cls(points, np.einsum("pd,pd->p", points, points), scale)

    def search(self, queries: np.ndarray, *, k: int = 5) -> Neighbors:
        """As `neighbors`. The best k + 32 are found in float32 and put in order in float64.

        Raises:
          ValueError: k is not between 1 and P.
        """
        if not 1 <= k <= len(self.points):
            raise ValueError(f"k = {k} neighbors of {len(self.points)} points: k is between 1 and the number of points")
        exact = np.atleast_2d(np.asarray(queries, np.float64)) / self.scale
        few = min(k + 32, len(self.points))
        indices, distances = np.empty((len(exact), k), np.int64), np.empty((len(exact), k))
        for i, query in enumerate(exact):
            rough = self.squares - 2.0 * (self.points @ query.astype(np.float32))
            best = np.sort(np.argpartition(rough, few - 1)[:few])
            distance = np.linalg.norm(self.points[best].astype(np.float64) - query, axis=1)
            order = np.argsort(distance, kind="stable")[:k]
            indices[i], distances[i] = best[order], distance[order]
        return Neighbors(indices, distances)


@dataclasses.dataclass(frozen=True)
class NamedClass:
    """What the nearest labeled sounds say: the class of most of them, and their share that agrees (0 to 1)."""

    name: str
    agreement: float


def name_by_neighbors(labels: np.ndarray, found: Neighbors) -> list[NamedClass]:
    """For each query the most frequent label among its neighbors; of equally frequent ones that of the nearest.

    Args:
      labels: [P] str, of the known sounds.
      found: neighbors [Q, k] among them.
    """
    labels = np.asarray(labels)
    named = []
    for row in labels[found.indices]:
        names, first, counts = np.unique(row, return_index=True, return_counts=True)
        best = np.lexsort((first, -counts))[0]
        named.append(NamedClass(str(names[best]), float(counts[best] / len(row))))
    return named
