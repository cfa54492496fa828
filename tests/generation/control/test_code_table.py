"""Tests of the code table on a space whose codes are known bands of noise."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.codes import code_space, frequency, measured_table
from tests.helpers.series import linear_space
from timbre_jax.generation.control import code_table as tables
from timbre_jax.generation.control.results import measure


@pytest.fixture(scope="module")
def space():
    return code_space()


@pytest.fixture(scope="module")
def table():
    return measured_table()


def test_the_centroid_of_every_code_is_that_of_its_band(table):
    np.testing.assert_allclose(table.means["centroid"], frequency(table.codes), rtol=0.06)
    assert 0 < np.median(table.spread["centroid"] / table.means["centroid"]) < 0.1
    low, high = table.reach("centroid")
    assert low == pytest.approx(500, rel=0.06)
    assert high == pytest.approx(5000, rel=0.06)


def test_codes_are_ordered_and_listed_by_descriptor(table):
    np.testing.assert_array_equal(table.order("centroid"), np.argsort(frequency(table.codes)))
    assert table.table().column("centroid") == table.means["centroid"].tolist()
    with pytest.raises(ValueError, match="'f0' was not measured"):
        table.order("f0")


def test_unused_codes_are_ignored(table):
    used = dataclasses.replace(table, uses=np.isin(table.codes, [3, 5]).astype(float))
    assert set(used.order("centroid")) == {3, 5}
    assert used.reach("centroid") == tuple(sorted(table.means["centroid"][[3, 5]]))


def test_a_traversal_rises_in_the_descriptor(space, table):
    latent = tables.traversal(space, table, "centroid", seconds=2.0)
    values, _ = measure(space, np.asarray(space.render(latent)), ("centroid",), latent.values.shape[1])
    steps = np.log2(values["centroid"][0])
    assert np.corrcoef(steps, np.arange(len(steps)))[0, 1] > 0.99


def test_a_continuous_space_has_no_code_table():
    with pytest.raises(ValueError, match=r"needs a space of codes \(got one of continuous latents\)"):
        tables.code_table(linear_space())
