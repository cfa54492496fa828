"""Random access to examples: the protocol of training data and its derived sources."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

Example = dict[str, np.ndarray]
"""Example: "values" [N, F], "mask" [N], "index" int32 and conditions by name; [B, ...] each in a batch."""
Positions = Sequence[int] | np.ndarray
LABEL_PREFIX = "label_"
"""Prefix of the fields of an example that are labels: "label_family"."""
MEMORY_LIMIT_BYTES = 4e9
"""Largest source that `in_memory` keeps in memory; larger ones are read from disk."""


class ExampleSource(abc.ABC):
    """Random access to examples.

    A subclass defines `__len__` and either `batch` or `__getitem__`.
    """

    @abc.abstractmethod
    def __len__(self) -> int: ...

    def __getitem__(self, position: int) -> Example:
        """Returns one example."""
        return {name: values[0] for name, values in self.batch([position]).items()}

    def __iter__(self) -> Iterator[Example]:
        return (self[position] for position in range(len(self)))

    def batch(self, positions: Positions) -> Example:
        """Returns the examples at one or more positions as one batch of [n, ...] arrays."""
        examples = [self[int(position)] for position in positions]
        return {name: np.stack([example[name] for example in examples]) for name in examples[0]}

    def ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the smallest and the largest value of each feature, float32 [F] each."""
        parts = [(part["values"].min((0, 1)), part["values"].max((0, 1))) for part in batches(self, 256)]
        lows, highs = zip(*parts, strict=True)
        return np.minimum.reduce(lows), np.maximum.reduce(highs)

    def _checked(self, positions: Positions) -> np.ndarray:
        """Returns positions as int64 [n]. Raises IndexError if one is out of range."""
        positions = np.asarray(positions, np.int64).reshape(-1)
        if len(positions) and not (positions.min() >= 0 and positions.max() < len(self)):
            raise IndexError(
                f"positions {positions.min()} to {positions.max()}: out of range (the source has {len(self)} examples)"
            )
        return positions


class ListedExamples(list, ExampleSource):
    """Source that keeps its examples in a list."""


class DerivedSource(ExampleSource):
    """Source with one example for each example of another; a subclass defines `batch`."""

    def __init__(self, source: ExampleSource):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)


class Subset(ExampleSource):
    """Source of the examples at some positions of another source, in the given order."""

    def __init__(self, source: ExampleSource, positions: Positions):
        self._source, self._positions = source, np.asarray(positions, np.int64)

    def __len__(self) -> int:
        return len(self._positions)

    def batch(self, positions: Positions) -> Example:
        """Returns the examples at some positions."""
        return self._source.batch(self._positions[np.asarray(positions, np.int64)])


class Rescaled(DerivedSource):
    """Source whose values are mapped from [low, high] to [0, 1] for each feature, and clipped."""

    def __init__(self, source: ExampleSource, low: np.ndarray, high: np.ndarray):
        super().__init__(source)
        self._low, self._scale = low.astype(np.float32), (1.0 / (high - low)).astype(np.float32)

    def batch(self, positions: Positions) -> Example:
        """Returns the examples at some positions."""
        example = self._source.batch(positions)
        return {**example, "values": np.clip((example["values"] - self._low) * self._scale, 0.0, 1.0)}


class Labeled(DerivedSource):
    """Source whose examples contain a class number for each kind of label.

    Args:
      source: examples.
      labels: class numbers by name, [n] int32 each, one for each example; -1 marks an example without a label.
    """

    def __init__(self, source: ExampleSource, labels: Mapping[str, np.ndarray]):
        super().__init__(source)
        self._labels = {LABEL_PREFIX + name: np.asarray(numbers, np.int32) for name, numbers in labels.items()}

    def batch(self, positions: Positions) -> Example:
        """Returns the examples at some positions."""
        positions = np.asarray(positions, np.int64)
        return {**self._source.batch(positions), **{name: label[positions] for name, label in self._labels.items()}}


class InMemory(ExampleSource):
    """Copy of a source in memory."""

    def __init__(self, source: ExampleSource):
        self._count, self._arrays = len(source), read_all(source)

    def __len__(self) -> int:
        return self._count

    def batch(self, positions: Positions) -> Example:
        """Returns the examples at some positions."""
        positions = np.asarray(positions, np.int64)
        return {name: array[positions] for name, array in self._arrays.items()}


def in_memory(source: ExampleSource) -> ExampleSource:
    """Returns a copy of the source in memory, or the source itself if it is too large.

    The limit is `MEMORY_LIMIT_BYTES`.
    """
    size = sum(value.nbytes for value in source.batch([0]).values()) * len(source)
    return InMemory(source) if size <= MEMORY_LIMIT_BYTES else source


def batches(source: ExampleSource, batch_size: int, positions: Positions | None = None) -> Iterator[Example]:
    """Yields batches of a source, or of its given positions; the last may be smaller."""
    positions = range(len(source)) if positions is None else positions
    for start in range(0, len(positions), batch_size):
        yield source.batch(positions[start : start + batch_size])


def read_all(source: ExampleSource, positions: Positions | None = None) -> Example:
    """Returns all examples of a source, or those at some positions, as one batch.

    Reads 256 examples at a time.
    """
    positions, arrays = range(len(source)) if positions is None else positions, {}
    for start in range(0, max(len(positions), 1), 256):
        for name, values in source.batch(positions[start : start + 256]).items():
            if name not in arrays:
                arrays[name] = np.empty((len(positions), *values.shape[1:]), values.dtype)
            arrays[name][start : start + 256] = values
    return arrays


def evenly_spaced(total: int, count: int) -> Positions:
    """Returns `count` evenly spaced positions out of `total`.

    All positions are returned if `count` is 0 or at least `total`.
    """
    return np.linspace(0, total - 1, count).round().astype(np.int64) if 0 < count < total else range(total)
