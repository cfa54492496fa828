"""The code table of a space whose codes are known bands of noise."""

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


def test_every_code_is_described_by_its_band(table):
    np.testing.assert_allclose(table.described["centroid"], frequency(table.codes), rtol=0.06)
    assert 0 < np.median(table.spread["centroid"] / table.described["centroid"]) < 0.1
    low, high = table.reach("centroid")
    assert low == pytest.approx(500, rel=0.06)
    assert high == pytest.approx(5000, rel=0.06)


def test_order_histogram_and_scatter(table):
    order = table.order("centroid")
    np.testing.assert_array_equal(order, np.argsort(frequency(table.codes)))
    counts, edges = table.histogram("centroid", bins=8)
    assert counts.sum() == 32
    assert len(edges) == 9
    assert counts[0] > counts[-1]  # equal ratios: most lie low
    scatter = table.scatter("centroid", "flatness")
    assert scatter.columns == ("code", "centroid", "flatness", "uses")
    assert len(scatter.rows) == 32
    with pytest.raises(ValueError, match="not described by 'f0'"):
        table.order("f0")


def test_codes_that_are_not_used_are_passed_over(space, table):
    uses = tables.count_uses(table.codes, [np.array([[3, 5, 5]]), np.array([[5, 40]])])
    assert uses.sum() == 4
    assert uses[5] == 3
    few = tables.CodeTable(table.codes, table.values, table.described, table.spread, uses)
    assert set(few.order("centroid")) == {3, 5}


def test_the_traversal_rises(space, table):
    latent = tables.traversal(space, table, "centroid", seconds=2.0)
    found, _ = measure(space, tables.sound(space, latent), ("centroid",), latent.values.shape[1])
    steps = np.log2(found["centroid"][0])
    assert np.corrcoef(steps, np.arange(len(steps)))[0, 1] > 0.99


def test_residual_codebooks_have_codes_of_several_numbers():
    found = np.array([[0, 4], [0, 5], [1, 2]], np.int32)
    assert tables.count_uses(found, [np.array([[[1, 2], [1, 2]]])]).tolist() == [0, 0, 2]


def test_a_space_without_codes_says_so():
    with pytest.raises(ValueError, match="needs a space of codes; this one has continuous latents"):
        tables.code_table(linear_space())
