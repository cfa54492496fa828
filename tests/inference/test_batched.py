"""Tests of batches of equal size."""

from __future__ import annotations

import numpy as np
import pytest

from timbre_jax.inference.batched import map_batches, position_batches


def test_batches_have_one_size_and_repeat_the_last_position():
    with pytest.raises(ValueError, match="got 0 sounds"):
        list(position_batches(0, 8))
    sizes = [len(batch) for batch in position_batches(5, 32)]
    assert sizes == [8]
    assert [batch.tolist() for batch in position_batches(5, 3)] == [[0, 1, 2], [3, 4, 4]]


def test_map_batches_applies_a_function_to_rows_of_every_tree():
    shapes = []

    def add(values, trees, missing):
        shapes.append(values.shape)
        assert missing is None
        return {"sum": values + trees["x"], "double": 2 * values}

    values = np.arange(5.0)
    result = map_batches(add, values, {"x": values}, None, batch_size=3)
    assert shapes == [(3,), (3,)]
    assert result["sum"].tolist() == result["double"].tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
