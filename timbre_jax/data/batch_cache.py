"""A source that several runs read in the same order: what one has read, the others are given."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future

import numpy as np

from timbre_jax.data.example_source import Example, ExampleSource, Positions


class SharedReads(ExampleSource):
    """A source that keeps the batches read last. Runs of one seed, in step with one another, then read each once.

    Batches are given to several readers and must not be changed. From any thread; who asks for what is just being read waits.

    Args:
      source: that is read.
      keep: batches; more than the readers are apart, for each order in which they read.
    """

    def __init__(self, source: ExampleSource, keep: int):
        self._source, self._keep = source, keep
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, Future] = OrderedDict()

    def __len__(self) -> int:
        return len(self._source)

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
                self._kept.pop(name, None)  # whoever asks again tries again
            future.set_exception(error)
            raise
        return future.result()
