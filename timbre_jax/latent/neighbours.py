"""Which known sounds are like a sound, and what they say of its class."""

from __future__ import annotations

import dataclasses

import numpy as np

from timbre_jax.metrics.neighbours import Neighbours, nearest_neighbours
from timbre_jax.space import TimbreSpace


def neighbours(
    space: TimbreSpace, known: np.ndarray, queries: np.ndarray, *, k: int = 5, standardised: bool = True
) -> Neighbours:
    """The k of the known latents [P, D] that are nearest to each query [Q, D].

    Distances are counted in the latents' training standard deviations (a latent that does not vary counts nothing), or
    in the latents' own units where `standardised` is False.
    """
    known, queries = np.asarray(known, np.float64), np.asarray(queries, np.float64)
    if standardised:
        deviation = np.asarray(space.statistics["latent_std"], np.float64)
        scale = np.where(deviation > 1e-9, deviation, np.inf)
        known, queries = known / scale, queries / scale
    return nearest_neighbours(known, queries, k=k)


@dataclasses.dataclass(frozen=True)
class NamedClass:
    """What the nearest labelled sounds say: the class of most of them, and their share that agrees (0 to 1)."""

    name: str
    agreement: float


def name_by_neighbours(labels: np.ndarray, found: Neighbours) -> list[NamedClass]:
    """For each query the most frequent label among its neighbours; of equally frequent ones that of the nearest.

    Args:
      labels: [P] str, of the known sounds.
      found: neighbours [Q, k] among them.
    """
    labels = np.asarray(labels)
    named = []
    for row in labels[found.indices]:
        names, first, counts = np.unique(row, return_index=True, return_counts=True)
        best = np.lexsort((first, -counts))[0]
        named.append(NamedClass(str(names[best]), float(counts[best] / len(row))))
    return named
