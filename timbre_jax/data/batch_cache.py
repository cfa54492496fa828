"""Cache of batches for several runs that read the same source in the same order."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future

import numpy as np

from timbre_jax.data.example_source import DerivedSource, Example, ExampleSource, Positions


class BatchCache(DerivedSource):
    """Source that keeps recent batches, so that runs with the same seed read each batch once.

    Readers share the returned arrays and must not change them. Thread-safe: a reader that asks for a batch while it is being
    read waits for it. A batch that could not be read is tried again by the next reader.

    Args:
      source: source to read from.
      keep: number of batches to keep. It must exceed the distance in steps between the fastest and the slowest reader.
    """

    def __init__(self, source: ExampleSource, keep: int):
        super().__init__(source)
        self._keep = keep
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, Future] = OrderedDict()

    def __getitem__(self, i: int) -> Example:
        return self._source[i]

    def batch(self, positions: Positions) -> Example:
        """Returns a batch from the cache, or reads it."""
        positions = np.asarray(positions, np.int64)
        name = positions.tobytes()
        with self._lock:
            cached = self._kept.get(name)
            if cached is None:
                future = self._kept[name] = Future()
                while len(self._kept) > self._keep:
                    self._kept.popitem(last=False)
        if cached is not None:
            return cached.result()
        try:
            future.set_result(self._source.batch(positions))
        except BaseException as error:
            with self._lock:
                self._kept.pop(name, None)  # the next reader tries again
            future.set_exception(error)
            raise
        return future.result()
