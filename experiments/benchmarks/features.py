"""`features`: sounds a second of the pipeline, features cached on disk (ours) against features analyzed on the fly (theirs).

Harmonic tracks of 4 s and log-mel spectrograms of 2 s at 16 kHz, of 256 made-up sounds, in batches of 128, from the system's
file cache; CPU seconds where the process may use one core only, else of the wall. `caching` is the sounds a second of making
the cache. Caching pays as soon as it and a reading of every pass together take less than an analysis of every pass:
1 / caching + passes / ours < passes / theirs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from experiments.benchmarks.timing import best_seconds, rates_row, row, step_clock

SOUNDS, BATCH, ROUNDS = 256, 128, 3


def run() -> list[dict]:
    """The rows of the benchmark."""
    from experiments.benchmarks.configs import Tones
    from timbre_jax.data.importers.base import NOTES
    from timbre_jax.data.prepare.build import build_store
    from timbre_jax.representations import HarmonicTracks, LogMel

    rows = []
    with tempfile.TemporaryDirectory(prefix="timbre_features_") as folder:
        store = build_store(Tones(NOTES, (("train", SOUNDS),)), Path(folder) / "store", workers=1, progress=False)
        for representation in (HarmonicTracks(), LogMel()):
            cached, fly, caching = _speeds(store, representation)
            name = f"features/{representation.name}"
            rows.append(rates_row(name, "sounds/s (theirs: on the fly)", cached, fly))
            rows.append(row(f"{name}/caching", "sounds/s", caching))
    return rows


def _speeds(store, representation) -> tuple[float, float, float]:
    """Sounds a second: cached, on the fly, making the cache."""
    from timbre_jax.data.features import cached_features
    from timbre_jax.data.loader import make_pipeline
    from timbre_jax.data.on_the_fly import AnalyzedSource

    clock = step_clock()
    fly = AnalyzedSource(store, "train", representation)
    fly.batch(range(BATCH))  # compiles
    start = clock()
    cached = cached_features(store, "train", representation, progress=False)
    caching = SOUNDS / (clock() - start)

    def read(source, batches: int) -> None:
        pipeline = make_pipeline(source, batch_size=BATCH, seed=0, prefetch=2)
        for _ in range(batches):
            next(pipeline)

    seconds = best_seconds({40: lambda: read(cached, 40), 6: lambda: read(fly, 6)}, rounds=ROUNDS)
    speed, speed_on_the_fly = (batches * BATCH / best for batches, best in seconds.items())
    return speed, speed_on_the_fly, caching
