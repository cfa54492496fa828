"""Features of a split that are analyzed whenever they are read, and kept nowhere."""

from __future__ import annotations

import numpy as np

from timbre_jax.data.example_source import Example, ExampleSource, Positions
from timbre_jax.data.features import analyze_sounds, check_store, sounds_at_once
from timbre_jax.data.store import StoredSounds
from timbre_jax.representations import Representation


class AnalyzedSource(ExampleSource):
    """What `cached_features` gives, but for its rounding to 16 bits: analyzed on the device at every reading.

    Nothing is waited for before training and no disk is needed beside the store; every pass over the sounds costs their
    analysis again, on the device that trains. It pays where that is quicker than reading (`experiments/benchmark.py
    --only=features` measures both), or where not even one pass is taken.

    Attributes:
      index: [n] int32, the sounds' numbers in the store.

    Raises:
      ValueError: another sample rate, no such split, or features that are not finite.
    """

    def __init__(self, store: StoredSounds, split: str, representation: Representation):
        check_store(store, split, representation)
        self._store, self._split, self._representation = store, split, representation
        self._batch = sounds_at_once(store, representation)
        self.index = store.metadata(split, ("index",))["index"].astype(np.int32)

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, positions: Positions) -> Example:
        """[n, ...] of several at once: "values", "mask", "index" and the conditions by name."""
        positions = self._checked(positions)
        parts = []
        for start in range(0, len(positions), self._batch):
            here = positions[start : start + self._batch]
            features = analyze_sounds(self._store, self._split, here, self._representation, self._batch)
            parts.append({"values": features.values, "mask": features.mask, **features.conditions})
        return {"index": self.index[positions], **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]}}
