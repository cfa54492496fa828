"""Tests of NDB on halves of one set, different sets and known counts."""

from __future__ import annotations

import numpy as np
import pytest

from timbre_jax.metrics.ndb import REBNORD_BINS, REBNORD_SHAPE, different_bins, jensen_shannon, ndb, shrink


def cloud(count: int, *, seed: int = 0, centers: int = 12, size: int = 20) -> np.ndarray:
    """Returns points around a few centers, like sounds of a few classes."""
    places = np.random.default_rng(99).normal(size=(centers, size)) * 2.0
    generator = np.random.default_rng(seed)
    return places[generator.integers(centers, size=count)] + generator.normal(size=(count, size))


def test_halves_of_one_set_differ_by_chance_only():
    results = [ndb(*np.split(cloud(1600, seed=seed), 2), seed=seed) for seed in range(4)]
    for result in results:
        assert result.k == REBNORD_BINS
        assert result.chance_low <= result.ndb <= result.chance_high
        assert result.p_value > 0.025
        # Two samples of this size of one distribution differ in 2.4 +- 1.5 of 50 bins.
        assert 1.5 < result.chance < 3.5
        assert abs(result.jensen_shannon - result.jensen_shannon_chance) < 0.6 * result.jensen_shannon_chance
    assert np.mean([result.ndb for result in results]) < 5


def test_missing_classes_raise_ndb_above_chance():
    reference, test = cloud(800), cloud(4000, seed=1)
    missing = np.min([np.linalg.norm(test - test[i], axis=1) for i in range(6)], axis=0) < 8.0
    result = ndb(reference, test[~missing][:800])
    assert result.ndb > result.chance_high
    assert result.p_value < 0.01
    assert result.jensen_shannon > 2 * result.jensen_shannon_chance
    assert result.different.sum() == result.ndb
    np.testing.assert_allclose(result.shares.sum(1), 1.0)


def test_different_bins_equal_those_of_the_two_proportion_z_test():
    # 60 of 200 against 90 of 210: pooled 0.366, z = 2.70, p = 0.0069.
    counts = np.array([[60, 140], [90, 120]])
    assert different_bins(counts, 0.0069 + 1e-4).all()
    assert not different_bins(counts, 0.0069 - 2e-4).any()
    assert not different_bins(np.array([[5, 5], [50, 50]]), 0.99).any()


def test_jensen_shannon_divergence_equals_known_values():
    assert jensen_shannon(np.array([[10, 0], [0, 10]])) == pytest.approx(np.log(2))
    assert jensen_shannon(np.array([[10, 30], [1, 3]])) == pytest.approx(0.0, abs=1e-12)
    # p = (1, 0), q = (1/2, 1/2): (ln(4/3) + ln(2/3)/2 + ln(2)/2) / 2.
    assert jensen_shannon(np.array([[8, 0], [4, 4]])) == pytest.approx(
        0.5 * (np.log(4 / 3) + 0.5 * np.log(2 / 3) + 0.5 * np.log(2))
    )


def test_shrink_averages_areas():
    image = np.arange(24.0).reshape(1, 6, 4)
    np.testing.assert_allclose(shrink(image, (3, 2))[0], image[0].reshape(3, 2, 2, 2).mean((1, 3)))
    # 250 frames are not divisible by 32; the mean is kept.
    images = np.random.default_rng(0).uniform(size=(2, 250, 128))
    small = shrink(images)
    assert small.shape == (2, *REBNORD_SHAPE)
    np.testing.assert_allclose(small.mean((1, 2)), images.mean((1, 2)))
    with pytest.raises(ValueError, match="to be shrunk to it"):
        shrink(images[:, :20])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 11}, "must have 11 reference sounds for k=11 bins"),
        ({"test": np.zeros((0, 2))}, "got 10 and 0"),
        ({"test": np.zeros((4, 3))}, "got 2 and 3 values"),
        ({"test": np.full((4, 2), np.nan)}, "must be finite"),
    ],
)
def test_wrong_input_is_rejected(change, message):
    arguments = {"reference": np.random.default_rng(0).normal(size=(10, 2)), "test": np.zeros((4, 2)), "k": 3, **change}
    with pytest.raises(ValueError, match=message):
        ndb(arguments.pop("reference"), arguments.pop("test"), **arguments)
