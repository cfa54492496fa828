"""Cache of batches for several runs that read the same source in the same order."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future

import numpy as np

from timbre_jax.data.example_source import DerivedSource, Example, ExampleSource, Positions


class BatchCache(DerivedSource):
    """Source that keeps the last batches in memory, so that runs of one seed, in lockstep, read each batch once.

    Several readers share a batch and must not change it. It can be read from any thread; a reader of a batch that is being read
    waits for it.

    Args:
      source: to read from.
      keep: number of batches kept; for each order of reading, more than the readers are apart.
    """

    def __init__(self, source: ExampleSource, keep: int):
        super().__init__(source)
        self._keep = keep
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, Future] = OrderedDict()

    def __getitem__(self, i: int) -> Example:
        return self._source[i]

    def batch(self, positions: Positions) -> Example:
        positions = np.asarray(positions, np.int64)
        name = positions.tobytes()
        with self._lock:
            found = self._kept.get(name)
            if found is None:
                future = self._kept[name] = Future()
                while len(self._kept) > self._keep:
                    self._kept.popitem(last=False)
        if found is not None:
            return found.result()
        try:
            future.set_result(self._source.batch(positions))
        except BaseException as error:
            with self._lock:
                self._kept.pop(name, None)  # the next reader tries again
            future.set_exception(error)
            raise
        return future.result()
