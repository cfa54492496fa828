"""Map points to latents, and similar sounds: `inverse_map` and `similar_sounds`.

`inverse_map` inverts one point of a map of 1,500 latents with 64 dimensions in 20 clusters, against `inverse_transform` of
umap-learn (McInnes et al. 2018; 100 neighbors, min_dist 0.8, as in the thesis). Milliseconds per point, the median of 500 calls
of ours and 5 of theirs, after a first call that compiles. The first import of umap-learn can take a minute.

`similar_sounds` searches the 10 nearest of 100,000 latents with 64 dimensions, against scikit-learn's brute-force
`NearestNeighbors`. Both indexes are built beforehand; the median of 7 searches.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from experiments.benchmarks.timing import row


def _median_ms(function: Callable[[int], object], calls: int) -> float:
    """Returns the median time of calls in ms, after a first call."""
    import numpy as np

    function(0)
    times = []
    for i in range(1, calls + 1):
        begin = time.perf_counter()
        function(i)
        times.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(times))


def run() -> list[dict]:
    """Returns the row of `inverse_map`; its ratio is that of the speeds."""
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
    return [row("inverse_map", "ms per point (lower is better)", ours, theirs, theirs / ours)]


def run_similar() -> list[dict]:
    """Returns the row of `similar_sounds`; its ratio is that of the speeds."""
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
    return [row("similar_sounds", "ms per search of 100,000 sounds (lower is better)", ours, theirs, theirs / ours)]
