"""Labels of examples for class heads: columns of a store as numbers that a batch carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LABEL_PREFIX = "label_"
"""Of the fields of an example that are labels: "label_family"."""
NO_LABEL = ("", "unlabelled", "unknown")
"""What stands in a column for a sound without a label; its number is -1."""


class Labelled:
    """A source whose examples carry a number for each kind of label.

    Args:
      source: of examples.
      labels: {name: [n] int32}, one for each example of the source; -1 where there is none.
    """

    def __init__(self, source: Any, labels: Mapping[str, np.ndarray]):
        self._source, self._labels = source, {LABEL_PREFIX + k: np.asarray(v, np.int32) for k, v in labels.items()}

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        return {**self._source[i], **{name: label[i] for name, label in self._labels.items()}}

    def batch(self, positions: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """As `data.datasets.Source` has it."""
        from timbre_jax.data.datasets import read

        positions = np.asarray(positions, np.int64)
        return {**read(self._source, positions), **{name: label[positions] for name, label in self._labels.items()}}


def class_labels(columns: Mapping[str, np.ndarray], names: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The labels that occur in each of the named columns, sorted: what a model's `classes` are.

    Raises:
      ValueError: there is no such column of words, or it has fewer than two labels.
    """
    classes = []
    for name in names:
        if name not in columns or np.asarray(columns[name]).dtype.kind not in "UO":
            words = sorted(key for key, column in columns.items() if np.asarray(column).dtype.kind in "UO")
            raise ValueError(f"config.data.labels: the store has no column {name!r} of words; it has {', '.join(words)}")
        labels = sorted({str(label) for label in columns[name]} - set(NO_LABEL))
        if len(labels) < 2:
            raise ValueError(f"config.data.labels: column {name!r} has {len(labels)} labels in the training set; 2 are needed")
        classes.append((name, tuple(labels)))
    return tuple(classes)


def label_numbers(column: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Places of words in `labels`, int32 [n]; -1 for one that is not there."""
    places = {label: number for number, label in enumerate(labels)}
    return np.array([places.get(str(word), -1) for word in column], np.int32)
