"""`inverse_map`: one point of a map back to a latent, against umap-learn's `inverse_transform`; and `similar_sounds`.

1,500 latents of 64 dimensions that lie in 20 clusters. Ours is called 500 times with one point each, once warm; umap-learn's
(McInnes et al. 2018, thesis settings: 100 neighbors, min_dist 0.8) 5 times with one point, its first call, which compiles, not
counted. Milliseconds a point, the median. umap-learn's import takes up to a minute on a machine that has not seen it.

`similar_sounds`: the 10 nearest of 100,000 latents of 64 dimensions to one, against scikit-learn's brute-force
`NearestNeighbors`. Both are built beforehand; the median of 7 searches.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from experiments.benchmarks.timing import row


def _median_ms(function: Callable[[int], object], calls: int) -> float:
    import numpy as np

    function(0)
    times = []
    for i in range(1, calls + 1):
        begin = time.perf_counter()
        function(i)
        times.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(times))


def run() -> list[dict]:
    """Rows {name, ours, theirs, ratio, unit}; a lower time is a higher ratio."""
    import numpy as np

    from timbre_jax.analysis.projection import umap_model
    from timbre_jax.maps.inverse import kernel_inverse, unit_square

    generator = np.random.default_rng(0)
    centers = generator.normal(size=(20, 64)) * 3
    latents = (centers[generator.integers(0, 20, 1500)] + generator.normal(size=(1500, 64))).astype(np.float32)
    model = umap_model(latents)
    coordinates, low, high = unit_square(model.embedding_)
    inverse = kernel_inverse(coordinates, latents)
    points = generator.random((600, 2))
    ours = _median_ms(lambda i: inverse(points[i : i + 1]), 500)
    theirs = _median_ms(lambda i: model.inverse_transform(low + points[i : i + 1] * (high - low)), 5)
    return [row("inverse_map", "ms a point (less is better)", ours, theirs, theirs / ours)]


def run_similar() -> list[dict]:
    """As `run`."""
    import numpy as np
    from sklearn.neighbors import NearestNeighbors

    from timbre_jax.analysis.neighbors import SoundIndex

    generator = np.random.default_rng(0)
    known = generator.normal(size=(100_000, 64)).astype(np.float32)
    queries = generator.normal(size=(8, 64)).astype(np.float32)
    index = SoundIndex(known, np.einsum("pd,pd->p", known, known), np.ones(64))
    theirs_index = NearestNeighbors(n_neighbors=10, algorithm="brute").fit(known)
    ours = _median_ms(lambda i: index.search(queries[i : i + 1], k=10), 7)
    theirs = _median_ms(lambda i: theirs_index.kneighbors(queries[i : i + 1]), 7)
    return [row("similar_sounds", "ms a search in 100,000 sounds", ours, theirs, theirs / ours)]
