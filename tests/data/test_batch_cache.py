import threading

import numpy as np
import pytest

from timbre_jax.data.batch_cache import BatchCache
from timbre_jax.data.example_source import ExampleSource


class Counting(ExampleSource):
    """Source that records its reads, and waits in each for a gate."""

    def __init__(self, gate=None):
        self.reads, self._gate = [], gate

    def __len__(self):
        return 100

    def __getitem__(self, i):
        return {"index": np.int32(i)}

    def batch(self, positions):
        self.reads.append(positions.tolist())
        if self._gate is not None:
            assert self._gate.wait(10)
        if 13 in positions:
            raise ValueError("broken")
        return {"index": positions.astype(np.int32)}


def test_kept_batch_is_read_once():
    source = Counting()
    shared = BatchCache(source, keep=2)
    for positions in ([1, 2], [2, 1], [1, 2], [5, 6], [1, 2]):
        np.testing.assert_array_equal(shared.batch(positions)["index"], positions)
    assert source.reads == [[1, 2], [2, 1], [5, 6], [1, 2]]
    assert len(shared) == 100
    assert shared[3] == {"index": 3}


def test_concurrent_readers_share_one_read():
    gate = threading.Event()
    source = Counting(gate)
    shared, got = BatchCache(source, keep=2), []
    threads = [threading.Thread(target=lambda: got.append(shared.batch([4, 2]))) for _ in range(4)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert source.reads == [[4, 2]]
    assert all(batch is got[0] for batch in got)


def test_failed_read_is_repeated():
    source = Counting()
    shared = BatchCache(source, keep=2)
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            shared.batch([13])
    assert source.reads == [[13], [13]]
