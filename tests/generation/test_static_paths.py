"""Tests of lines, arcs, sweeps, sums and random points of a static space."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.planted import fitted_space, planted_notes
from timbre_jax.generation.static_paths import combine, interpolate, sample_aggregate, sample_prior, sweep, vary

COORDINATES = st.lists(st.floats(-5, 5, width=32), min_size=3, max_size=3)


@pytest.fixture(scope="module")
def space():
    return fitted_space(planted_notes(60), latent_size=4)


@settings(max_examples=20, deadline=None)
@given(COORDINATES, COORDINATES, st.sampled_from(["linear", "spherical"]))
def test_interpolation_starts_and_ends_at_its_points(a, b, method):
    points = np.asarray(interpolate(np.array(a), np.array(b), steps=5, method=method))
    assert np.isfinite(points).all()
    np.testing.assert_allclose(points[0], a, atol=1e-3)
    np.testing.assert_allclose(points[-1], b, atol=1e-3)


def test_an_arc_has_constant_radius_and_equal_angles():
    points = np.asarray(interpolate(np.array([2.0, 0.0]), np.array([0.0, 2.0]), steps=4, method="spherical"), np.float64)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 2, rtol=1e-5)
    np.testing.assert_allclose(np.degrees(np.arctan2(points[:, 1], points[:, 0])), [0, 30, 60, 90], atol=1e-3)
    middle = interpolate(np.array([2.0, 0.0]), np.array([0.0, 2.0]), steps=3)[1]
    np.testing.assert_allclose(middle, [1, 1])


def test_wrong_interpolations_are_refused():
    with pytest.raises(ValueError, match="at least 2 steps"):
        interpolate(np.zeros(2), np.ones(2), steps=1)
    with pytest.raises(ValueError, match="expected two points"):
        interpolate(np.zeros(2), np.ones(3))
    with pytest.raises(ValueError, match="'cubic'"):
        interpolate(np.zeros(2), np.ones(2), method="cubic")


def test_a_sweep_moves_one_latent_through_its_range(space):
    points = np.asarray(sweep(space, np.arange(4.0), 2, steps=5))
    np.testing.assert_allclose(points[:, [0, 1, 3]], np.broadcast_to([0, 1, 3], (5, 3)))
    ends = [space.statistics["latent_low"][2], space.statistics["latent_high"][2]]
    np.testing.assert_allclose(points[:, 2], np.linspace(*ends, 5), rtol=1e-5)
    np.testing.assert_allclose(sweep(space, np.zeros(4), 0, low=-1.0, high=1.0, steps=3)[:, 0], [-1, 0, 1])
    with pytest.raises(ValueError, match=r"expected a latent from 0 to 3 \(got 4\)"):
        sweep(space, np.zeros(4), 4)


def test_samples_have_the_statistics_of_their_distribution(space):
    key = jax.random.key(0)
    prior = np.asarray(sample_prior(space, 4000, key=key))
    np.testing.assert_allclose(prior.mean(0), 0, atol=0.06)
    np.testing.assert_allclose(prior.std(0), 1, atol=0.05)
    np.testing.assert_array_equal(sample_prior(space, 3, key=key), prior[:3])
    moved = space.replace(statistics={"latent_mean": np.arange(4.0), "latent_std": np.full(4, 0.1)})
    drawn = np.asarray(sample_aggregate(moved, 4000, key=key, spread=2.0))
    np.testing.assert_allclose(drawn.mean(0), np.arange(4), atol=0.02)
    np.testing.assert_allclose(drawn.std(0), 0.2, atol=0.01)
    with pytest.raises(ValueError, match="number=0: must be at least 1"):
        sample_prior(space, 0, key=key)


def test_weighted_sums_are_around_the_training_mean(space):
    mean = np.asarray(space.statistics["latent_mean"], np.float64)
    points = np.random.default_rng(0).normal(size=(3, 4)) + 5
    np.testing.assert_allclose(combine(space, points, [1, 1, -1]), points[0] + points[1] - points[2], atol=1e-4)
    np.testing.assert_allclose(combine(space, points[:2], [1, -1]), mean + points[0] - points[1], atol=1e-4)
    np.testing.assert_allclose(combine(space, points[:1], [0]), mean, atol=1e-4)
    for wrong in ([1, 1], [[1, 1, 1]]):
        with pytest.raises(ValueError, match="weights"):
            combine(space, points, wrong)


def test_variations_spread_in_training_deviations(space):
    point, key = np.ones(4), jax.random.key(3)
    points = np.asarray(vary(space, point, 400, key=key, spread=0.5))
    np.testing.assert_allclose(points.std(0), 0.5 * np.asarray(space.statistics["latent_std"]), rtol=0.15)
    # Batches of another size may differ in the last bit.
    np.testing.assert_allclose(points[:5], vary(space, point, 5, key=key, spread=0.5), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(vary(space, point, 2, key=key, spread=0.0), np.ones((2, 4)))
