"""Tests of correlations, their chance level, and the agreement between methods."""

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
def test_correlation_equals_scipy(data, method, theirs):
    latents, labels = data
    result = correlation(latents, labels, method=method)
    for d in range(2):
        for n, label in enumerate(labels.values()):
            assert result.value[d, n] == pytest.approx(theirs(latents[:, d], label).statistic, abs=1e-9)
    assert np.isnan(result.value[2]).all()
    assert np.nanargmax(np.abs(result.value[:, result.names.index("pitch")])) == 0


def test_floor_is_the_95th_percentile_of_independent_ranks(data):
    latents, labels = data
    result = correlation(latents, labels, permutations=1000)
    # |r| of n = 150 independent ranks is normal with deviation 1 / sqrt(149): 95 % lie below 1.96 / sqrt(149) = 0.161.
    np.testing.assert_allclose(result.chance[:2], 0.161, atol=0.02)
    assert np.abs(result.value[0, 0]) > result.chance[0, 0]
    assert np.isnan(result.chance[2]).all()
    assert len(result.table().rows) == 6


def test_labels_must_be_finite_numbers(data):
    latents, _ = data
    with pytest.raises(ValueError, match="label 'family': must be a finite number"):
        correlation(latents, {"family": np.array(["a"] * 150)})
    with pytest.raises(ValueError, match="at least one numeric label"):
        correlation(latents, {})
    with pytest.raises(ValueError, match="'kendall'"):
        correlation(latents, {"pitch": np.zeros(150)}, method="kendall")


def test_agreement_is_rank_correlation_of_importances():
    result = agreement({"a": np.array([3.0, 2.0, 1.0]), "b": np.array([9.0, 5.0, 0.1]), "c": np.array([1.0, 2.0, 3.0])})
    np.testing.assert_allclose(result.matrix, [[1, 1, -1], [1, 1, -1], [-1, -1, 1]])
    assert result.rank[0].tolist() == [1, 2, 3]
    assert result.order().tolist() == [0, 1, 2]
    assert result.mean() == pytest.approx(-1 / 3)
    np.testing.assert_allclose(result.consensus, [5 / 3, 2, 7 / 3])
    ties = agreement({"a": np.array([1.0, 1.0, 0.0]), "flat": np.zeros(3)})
    assert np.isnan(ties.matrix[0, 1])
    assert np.isnan(ties.mean())
    assert ties.rank_table().columns == ("latent", "a", "flat", "mean_rank")
    with pytest.raises(ValueError, match="same D"):
        agreement({"a": np.zeros(3), "b": np.zeros(4)})


def test_number_constant_within_few_instruments_is_not_beyond_chance():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), 25)
    # Both are nearly constant within an instrument: four independent values, not a hundred.
    latent, bright = np.array([0.0, 1.0, 2.0, 3.0])[groups], np.array([1.0, 0.0, 3.0, 2.0])[groups]
    pitch = latent + 0.1 * generator.standard_normal(100)
    result = correlation(
        latent[:, None] + 0.01 * generator.standard_normal((100, 1)), {"bright": bright, "pitch": pitch}, groups
    )
    assert abs(result.value[0, 0]) > result.chance[0, 0]
    assert result.beyond_chance().tolist() == [[False, True]]
    # A single instrument has no interval.
    alone = correlation(latent[:, None], {"pitch": pitch}, np.zeros(100))
    assert not alone.beyond_chance().any()
