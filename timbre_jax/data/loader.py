"""Batches for training: shuffled, sharded, seeded, and saved and restored at their exact place. grain reads ahead."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from timbre_jax.data.example_source import Example, ExampleSource

THREADS = 2
"""Reading threads."""


class Pipeline(Iterator[Example]):
    """An iterator of batches, dicts of [B, ...] arrays; made by `make_pipeline`.

    The stream of examples is one for all processes: pass after pass over the source, each in its own order, which only
    `seed` decides. Batch k of all processes together is examples k * B * processes and following; process p takes the p-th B of
    them. So the parts one after another are the batch that a single process would have, and a place in the stream means the
    same for any batch size and number of processes.
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
        """The place in the stream, as JSON values: {"examples": how many of all processes are behind it, ...}."""
        return {"examples": self._iterator.get_state()["next_index"] * self._stride, **self._settings}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to a place: the next batch is the one that would have come there.

        Raises:
          ValueError: the place belongs to another stream (seed or source differ), or lies within a batch.
        """
        for name, value in self._settings.items():
            if state.get(name) != value:
                raise ValueError(
                    f"the data's position was saved with {name} = {state.get(name)}, this run has {value}; "
                    "use the same data and settings, or start anew"
                )
        batches, rest = divmod(int(state["examples"]), self._stride)
        if rest:
            raise ValueError(
                f"the data's position, {state['examples']} examples, is no whole number of global batches of "
                f"{self._stride}; use the batch size that it was saved with"
            )
        self._iterator.set_state({"next_index": batches})


def make_pipeline(
    source: ExampleSource, *, batch_size: int, seed: int, process_index: int = 0, process_count: int = 1, prefetch: int = 4
) -> Pipeline:
    """Batches of a source, pass after pass without end; they reach over the end of a pass.

    Args:
      source: random access to examples.
      batch_size: examples a batch of this process.
      seed: decides the order of every pass.
      process_index, process_count: this process' share.
      prefetch: batches that the reading threads are ahead, at least 2.

    Returns:
      An iterator of dicts of arrays [B, ...] with `get_state` and `set_state`.

    Raises:
      ValueError: an empty source, or a batch size or process number out of range.
    """
    import grain

    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size}: at least 1 is needed")
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index {process_index} of {process_count} processes")
    if len(source) == 0:
        raise ValueError("the source of the batches holds no examples")
    dataset = grain.MapDataset.source(_Batches(source, batch_size, seed, process_index, process_count))
    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=max(prefetch, THREADS))
    settings = {"seed": seed, "length": len(source)}
    return Pipeline(dataset.to_iter_dataset(options), settings, batch_size * process_count)


class _Batches:
    """Batch k of the stream, by itself: a source whose elements are whole batches.

    The order is drawn here and not by grain's shuffle, whose work for each single example (0.1 ms) is several times that of
    reading it.
    """

    def __init__(self, source: ExampleSource, batch_size: int, seed: int, process_index: int, process_count: int):
        self._source, self._size, self._seed = source, batch_size, seed
        self._first, self._together = process_index * batch_size, batch_size * process_count
        self._orders: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return sys.maxsize // self._together

    def _order(self, number: int) -> np.ndarray:
        """The order of a pass. Kept for two passes: reading threads may be on both sides of a pass' end."""
        order = self._orders.get(number)
        if order is None:
            order = np.random.default_rng([self._seed % 2**63, number]).permutation(len(self._source))
            self._orders = {number: order, **{k: v for k, v in self._orders.items() if abs(k - number) == 1}}
        return order

    def __getitem__(self, batch: int) -> Example:
        examples = batch * self._together + self._first + np.arange(self._size)
        passes, places = np.divmod(examples, len(self._source))
        positions = np.empty(len(examples), np.int64)
        for number in np.unique(passes).tolist():
            here = passes == number
            positions[here] = self._order(number)[places[here]]
        return self._source.batch(positions)
