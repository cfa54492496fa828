"""`features`: sounds a second of the pipeline, features cached on disk (ours) against features analyzed on the fly (theirs).

Harmonic tracks of 4 s and log-mel spectrograms of 2 s at 16 kHz, of 256 made-up sounds, in batches of 128, from the system's
file cache; CPU seconds where the process may use one core only, else of the wall. `caching` is the sounds a second of making
the cache. Caching pays as soon as it and a reading of every pass together take less than an analysis of every pass:
1 / caching + passes / ours < passes / theirs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

SOUNDS, BATCH, ROUNDS = 256, 128, 3


def run() -> list[dict]:
    """The rows of the benchmark."""
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
            rows += [
                {"name": name, "ours": cached, "theirs": fly, "ratio": cached / fly, "unit": "sounds/s (theirs: on the fly)"},
                {"name": f"{name}/caching", "ours": caching, "theirs": None, "ratio": None, "unit": "sounds/s"},
            ]
    return rows


def _speeds(store, representation) -> tuple[float, float, float]:
    """Sounds a second: cached, on the fly, making the cache."""
    from experiments.benchmarks.arithmetic import step_clock
    from timbre_jax.data.features import cached_features
    from timbre_jax.data.loader import make_pipeline
    from timbre_jax.data.on_the_fly import AnalyzedSource

    clock = step_clock()
    fly = AnalyzedSource(store, "train", representation)
    fly.batch(range(BATCH))  # compiles
    start = clock()
    cached = cached_features(store, "train", representation, progress=False)
    caching = SOUNDS / (clock() - start)
    speeds = []
    for source, batches in ((cached, 40), (fly, 6)):
        best = float("inf")
        for _ in range(ROUNDS):
            start = clock()
            pipeline = make_pipeline(source, batch_size=BATCH, seed=0, prefetch=2)
            for _ in range(batches):
                next(pipeline)
            best = min(best, (clock() - start) / (batches * BATCH))
            del pipeline
        speeds.append(1 / best)
    return speeds[0], speeds[1], caching
