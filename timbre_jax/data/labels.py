"""Labels for class heads: columns of a store as numbers that a batch carries (`example_source.Labeled`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

NO_LABEL = ("", "unlabeled", "unknown")
"""Words of a column for a sound without a label; its number is -1."""


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
