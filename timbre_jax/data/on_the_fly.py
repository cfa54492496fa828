"""Features of a split that are analyzed whenever they are read, and kept nowhere."""

from __future__ import annotations

import numpy as np

from timbre_jax.data.example_source import Example, ExampleSource, Positions
from timbre_jax.data.features import MAX_SAMPLES, analyze_batch
from timbre_jax.data.store import JoinedStore, Store, StoreError
from timbre_jax.representations import Representation

BATCH = 64


class AnalyzedSource(ExampleSource):
    """What `cached_features` gives, but for its rounding to 16 bits: analyzed on the device at every reading.

    Nothing is waited for before training and no disk is needed beside the store; every pass over the sounds costs their
    analysis again, on the device that trains. It pays where that is quicker than reading (`experiments/benchmark.py
    --only=features` measures both), or where not even one pass is taken.

    Attributes:
      index: [n] int32, the sounds' numbers in the store.

    Raises:
      ValueError: another sample rate, or features that are not finite. StoreError: no such split.
    """

    def __init__(self, store: Store | JoinedStore, split: str, representation: Representation):
        if representation.sample_rate != store.sample_rate:
            raise ValueError(
                f"the representation is for {representation.sample_rate} Hz, {store} has {store.sample_rate} Hz: set its "
                "sample_rate, or make the store again"
            )
        if split not in store.splits:
            raise StoreError(f"{store}: no sounds of a split {split!r}; there are {', '.join(store.splits)}")
        self._store, self._split, self._representation = store, split, representation
        self._samples = representation.length or store.samples
        self._batch = max(1, min(BATCH, MAX_SAMPLES // self._samples))
        self._lengths = np.minimum(store.lengths(split), self._samples)
        self.index = store.metadata(split, ("index",))["index"].astype(np.int32)

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, positions: Positions) -> Example:
        """[n, ...] of several at once: "values", "mask", "index" and the conditions by name."""
        positions = self._checked(positions)
        parts = []
        for start in range(0, len(positions), self._batch):
            here = positions[start : start + self._batch]
            waves = self._store.audio(self._split, here, samples=self._samples)
            features = analyze_batch(self._representation, waves, self._lengths[here], self._batch)
            if not np.isfinite(features.values).all():
                (wrong,) = np.nonzero(~np.isfinite(features.values).all(axis=(1, 2)))
                name = self._store.metadata(self._split, ("id",))["id"][here[wrong[0]]]
                raise ValueError(f"{self._store}: the features of {name} are not finite; leave the sound out or report it")
            parts.append({"values": features.values, "mask": features.mask, **features.conditions})
        return {"index": self.index[positions], **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]}}
