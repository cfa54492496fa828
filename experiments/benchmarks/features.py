"""Pipeline with cached features, against features analyzed on the fly: `features`.

Reads harmonic tracks of 4 s and log-mel spectrograms of 2 s at 16 kHz, of 256 synthetic sounds, in batches of 128, from the
file cache of the system. `caching` is the rate at which the cache is made. Caching pays if making it and reading it in every
pass take less time than an analysis in every pass: 1 / caching + passes / ours < passes / theirs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from experiments.benchmarks.timing import best_seconds, rates_row, row, step_clock

SOUNDS, BATCH, ROUNDS = 256, 128, 3


def run() -> list[dict]:
    """Returns the rows of the benchmark."""
    from experiments.benchmarks.configs import Tones
    from timbre_jax.data.importers.base import NOTE_FORMAT
    from timbre_jax.data.prepare.build import build_store
    from timbre_jax.representations import HarmonicTracks, LogMel

    rows = []
    with tempfile.TemporaryDirectory(prefix="timbre_features_") as folder:
        store = build_store(Tones(NOTE_FORMAT, (("train", SOUNDS),)), Path(folder) / "store", workers=1, progress=False)
        for representation in (HarmonicTracks(), LogMel()):
            cached, fly, caching = _speeds(store, representation)
            name = f"features/{representation.name}"
            rows.append(rates_row(name, "sounds/s (theirs: on the fly)", cached, fly))
            rows.append(row(f"{name}/caching", "sounds/s", caching))
    return rows


def _speeds(store, representation) -> tuple[float, float, float]:
    """Returns sounds per second: cached, on the fly, and when the cache is made."""
    from timbre_jax.data.features import cached_features
    from timbre_jax.data.loader import make_pipeline
    from timbre_jax.data.on_the_fly import AnalyzedSource

    clock = step_clock()
    fly = AnalyzedSource(store, "train", representation)
    fly.batch(range(BATCH))  # compiles the analysis
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
