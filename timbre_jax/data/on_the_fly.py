"""Source of features that are analyzed each time they are read."""

from __future__ import annotations

import numpy as np

from timbre_jax.data.example_source import Example, ExampleSource, Positions
from timbre_jax.data.features import analyze_sounds, check_store, sounds_at_once
from timbre_jax.data.store import StoredSounds
from timbre_jax.representations import Representation


class AnalyzedSource(ExampleSource):
    """Source of features that are analyzed on the device at every reading.

    Its examples are those of `cached_features` without their rounding to 16 bits. Training starts at once and needs no disk
    besides the store, but every pass over the sounds repeats the analysis on the device that trains. Prefer it if analyzing
    is faster than reading (`experiments/benchmark.py --only=features` measures both), or for less than one pass. `index` [n]
    int32 contains the indices of the sounds in the store.

    Raises:
      ValueError: the sample rates differ, the split does not exist, or features are not finite.
    """

    def __init__(self, store: StoredSounds, split: str, representation: Representation):
        check_store(store, split, representation)
        self._store, self._split, self._representation = store, split, representation
        self._batch = sounds_at_once(store, representation)
        self.index = store.metadata(split, ("index",))["index"].astype(np.int32)

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, positions: Positions) -> Example:
        """Returns "values", "mask", "index" and the conditions by name, [n, ...] each."""
        positions = self._checked(positions)
        parts = []
        for start in range(0, len(positions), self._batch):
            here = positions[start : start + self._batch]
            features = analyze_sounds(self._store, self._split, here, self._representation, self._batch)
            parts.append({"values": features.values, "mask": features.mask, **features.conditions})
        return {"index": self.index[positions], **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]}}
