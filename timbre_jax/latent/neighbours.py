"""Which known sounds lie next to a sound in the space."""

from __future__ import annotations

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
