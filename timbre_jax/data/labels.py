"""Converts text columns of a store to class numbers in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

NO_LABEL = ("", "unlabeled", "unknown")
"""Values of a column that mean "no label"; their class number is -1."""


def class_labels(columns: Mapping[str, np.ndarray], names: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Returns pairs of name and sorted classes of the named columns, as a model's `classes`.

    Raises:
      ValueError: a column does not exist, is numeric, or has fewer than two classes.
    """
    classes = []
    for name in names:
        if name not in columns or np.asarray(columns[name]).dtype.kind not in "UO":
            words = sorted(key for key, column in columns.items() if np.asarray(column).dtype.kind in "UO")
            raise ValueError(
                f"config.data.labels: {name!r} is not a text column of the store (its text columns are {', '.join(words)})"
            )
        labels = sorted({str(label) for label in columns[name]} - set(NO_LABEL))
        if len(labels) < 2:
            raise ValueError(
                f"config.data.labels: column {name!r} has too few classes in the training set (got {len(labels)}, expected 2 "
                "or more)"
            )
        classes.append((name, tuple(labels)))
    return tuple(classes)


def label_numbers(column: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Returns the class number of each label, int32 [n]; -1 for a label that is not a class."""
    places = {label: number for number, label in enumerate(labels)}
    return np.array([places.get(str(word), -1) for word in column], np.int32)
