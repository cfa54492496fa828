"""Seeded, shuffled and sharded batches for training, with a position that can be saved."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from timbre_jax.data.example_source import Example, ExampleSource

THREADS = 2
"""Number of reading threads."""


class Pipeline(Iterator[Example]):
    """Iterator of batches, dicts of [B, ...] arrays; see `make_pipeline`.

    All processes share one endless stream of examples: one pass over the source after another, each in its own order, which
    depends only on `seed`. Global batch k consists of the examples from k * B * processes on; process p takes the p-th B of
    them. The shares of all processes, concatenated, equal the batch of a single process, so a position in the stream has the
    same meaning for any batch size and any number of processes.
    """

    def __init__(self, dataset, settings: dict[str, Any], stride: int):
        self._iterator = iter(dataset)
        self._settings = settings
        self._stride = stride

    def __iter__(self) -> Pipeline:
        return self

    def __next__(self) -> Example:
        return next(self._iterator)

    def get_state(self) -> dict[str, Any]:
        """Returns the position in the stream as JSON values.

        "examples" is the number of examples that all processes have consumed; the others are the settings of the stream.
        """
        return {"examples": self._iterator.get_state()["next_index"] * self._stride, **self._settings}

    def set_state(self, state: dict[str, Any]) -> None:
        """Moves to a position that `get_state` returned.

        Raises:
          ValueError: the position belongs to another stream (other seed or source), or is inside a global batch.
        """
        for name, value in self._settings.items():
            if state.get(name) != value:
                raise ValueError(
                    f"saved position in the data: wrong {name} (got {state.get(name)}, expected {value}); use the same data "
                    "and settings, or start a new run"
                )
        batches, rest = divmod(int(state["examples"]), self._stride)
        if rest:
            raise ValueError(
                f"saved position in the data: {state['examples']} examples are not a multiple of the global batch of "
                f"{self._stride}; use the batch size that it was saved with"
            )
        self._iterator.set_state({"next_index": batches})


def make_pipeline(
    source: ExampleSource, *, batch_size: int, seed: int, process_index: int = 0, process_count: int = 1, prefetch: int = 4
) -> Pipeline:
    """Returns an endless iterator of shuffled batches. A batch may span the end of a pass.

    Args:
      source: random access to examples.
      batch_size: number of examples in a batch of this process.
      seed: random seed of the order of every pass.
      process_index: number of this process, from 0.
      process_count: number of processes.
      prefetch: number of batches to read ahead, at least 2.

    Returns:
      An iterator of dicts of [B, ...] arrays with `get_state` and `set_state`.

    Raises:
      ValueError: the source is empty, or the batch size or the process number is out of range.
    """
    import grain

    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: must be at least 1")
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index={process_index}: must be from 0 to {process_count - 1}")
    if len(source) == 0:
        raise ValueError("source: has no examples (expected at least 1)")
    dataset = grain.MapDataset.source(_BatchSource(source, batch_size, seed, process_index, process_count))
    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=max(prefetch, THREADS))
    settings = {"seed": seed, "length": len(source)}
    return Pipeline(dataset.to_iter_dataset(options), settings, batch_size * process_count)


class _BatchSource:
    """Random-access source of whole batches, for grain.

    The order is drawn here: grain's shuffle spends 0.1 ms on every example, several times the time to read one.
    """

    def __init__(self, source: ExampleSource, batch_size: int, seed: int, process_index: int, process_count: int):
        self._source, self._size, self._seed = source, batch_size, seed
        self._first, self._global_size = process_index * batch_size, batch_size * process_count
        self._orders: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return sys.maxsize // self._global_size

    def _order(self, number: int) -> np.ndarray:
        """Returns the order of a pass.

        Two orders are kept, since reading threads may be on both sides of the end of a pass.
        """
        order = self._orders.get(number)
        if order is None:
            order = np.random.default_rng([self._seed % 2**63, number]).permutation(len(self._source))
            self._orders = {number: order, **{k: v for k, v in self._orders.items() if abs(k - number) == 1}}
        return order

    def __getitem__(self, batch: int) -> Example:
        examples = batch * self._global_size + self._first + np.arange(self._size)
        passes, offsets = np.divmod(examples, len(self._source))
        positions = np.empty(len(examples), np.int64)
        for number in np.unique(passes).tolist():
            here = passes == number
            positions[here] = self._order(number)[offsets[here]]
        return self._source.batch(positions)
