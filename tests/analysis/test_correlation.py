"""Correlations against scipy, their floor against chance, and agreement between methods."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from timbre_jax.analysis.agreement import agreement
from timbre_jax.analysis.correlation import correlation


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    pitch = generator.integers(40, 97, 150)
    latents = np.stack([np.exp(pitch / 20), generator.standard_normal(150), np.zeros(150)], axis=1)
    return latents, {"pitch": pitch, "velocity": generator.choice([25, 50, 75], 150)}


@pytest.mark.parametrize(("method", "theirs"), [("spearman", spearmanr), ("pearson", pearsonr)])
def test_equals_scipy(data, method, theirs):
    latents, labels = data
    found = correlation(latents, labels, method=method)
    for d in range(2):
        for n, label in enumerate(labels.values()):
            assert found.value[d, n] == pytest.approx(theirs(latents[:, d], label).statistic, abs=1e-9)
    assert np.isnan(found.value[2]).all()
    assert np.nanargmax(np.abs(found.value[:, found.names.index("pitch")])) == 0


def test_the_floor_is_what_chance_brings(data):
    latents, labels = data
    found = correlation(latents, labels, permutations=1000)
    # |r| of n = 150 independent ranks is normal with deviation 1 / sqrt(149): 95 % lie below 1.96 / sqrt(149) = 0.161.
    np.testing.assert_allclose(found.floor[:2], 0.161, atol=0.02)
    assert np.abs(found.value[0, 0]) > found.floor[0, 0]
    assert np.isnan(found.floor[2]).all()
    assert len(found.table().rows) == 6


def test_labels_have_to_be_numbers(data):
    latents, _ = data
    with pytest.raises(ValueError, match="'family' is not a finite number"):
        correlation(latents, {"family": np.array(["a"] * 150)})
    with pytest.raises(ValueError, match="no numeric labels"):
        correlation(latents, {})
    with pytest.raises(ValueError, match="'kendall'"):
        correlation(latents, {"pitch": np.zeros(150)}, method="kendall")


def test_agreement_is_the_rank_correlation_of_importances():
    found = agreement({"a": np.array([3.0, 2.0, 1.0]), "b": np.array([9.0, 5.0, 0.1]), "c": np.array([1.0, 2.0, 3.0])})
    np.testing.assert_allclose(found.matrix, [[1, 1, -1], [1, 1, -1], [-1, -1, 1]])
    assert found.rank[0].tolist() == [1, 2, 3]
    assert found.order().tolist() == [0, 1, 2]
    assert found.mean() == pytest.approx(-1 / 3)
    np.testing.assert_allclose(found.consensus, [5 / 3, 2, 7 / 3])
    ties = agreement({"a": np.array([1.0, 1.0, 0.0]), "flat": np.zeros(3)})
    assert np.isnan(ties.matrix[0, 1])
    assert np.isnan(ties.mean())
    assert ties.rank_table().columns == ("latent", "a", "flat", "mean_rank")
    with pytest.raises(ValueError, match="one D"):
        agreement({"a": np.zeros(3), "b": np.zeros(4)})


def test_a_property_of_few_instruments_is_not_called_beyond_chance():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), 25)
    # Both are much the same within an instrument and hardly related between them: four draws, not a hundred.
    latent, bright = np.array([0.0, 1.0, 2.0, 3.0])[groups], np.array([1.0, 0.0, 3.0, 2.0])[groups]
    pitch = latent + 0.1 * generator.standard_normal(100)
    found = correlation(
        latent[:, None] + 0.01 * generator.standard_normal((100, 1)), {"bright": bright, "pitch": pitch}, groups
    )
    assert abs(found.value[0, 0]) > found.floor[0, 0]
    assert found.beyond_chance().tolist() == [[False, True]]
    # Of one instrument there is no interval, so nothing is known of others.
    alone = correlation(latent[:, None], {"pitch": pitch}, np.zeros(100))
    assert not alone.beyond_chance().any()
