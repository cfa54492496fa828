"""Labels as numbers of the examples."""

import numpy as np
import pytest

from timbre_jax.data.example_source import Labeled, ListedExamples, Subset, batches
from timbre_jax.data.labels import class_labels, label_numbers

COLUMNS = {
    "family": np.array(["snare", "kick", "", "kick"]),
    "kit": np.array(["a", "a", "a", "a"]),
    "pitch": np.array([1, 2, 3, 4]),
}


def test_classes_are_sorted_and_unknown_labels_are_minus_one():
    classes = class_labels(COLUMNS, ("family",))
    assert classes == (("family", ("kick", "snare")),)
    np.testing.assert_array_equal(label_numbers([*COLUMNS["family"], "tom"], classes[0][1]), [1, 0, -1, 0, -1])


@pytest.mark.parametrize(
    ("name", "message"),
    [("pitch", "'pitch' is not a text column"), ("kit", "got 1, expected 2 or more"), ("x", "'x' is not a text column")],
)
def test_columns_without_classes_are_rejected(name, message):
    with pytest.raises(ValueError, match=message):
        class_labels(COLUMNS, (name,))


def test_labels_follow_their_examples():
    examples = [{"values": np.full((2, 2), i, np.float32), "index": np.int32(i)} for i in range(4)]
    source = Subset(Labeled(ListedExamples(examples), {"family": np.array([1, 0, -1, 0])}), [3, 0])
    batch = next(batches(source, 2))
    np.testing.assert_array_equal(batch["label_family"], [0, 1])
    np.testing.assert_array_equal(batch["values"][:, 0, 0], [3, 0])
    assert source[1]["label_family"] == 1
