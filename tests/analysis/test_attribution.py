"""Tests of Shapley values, SAGE and Integrated Gradients against definitions and axioms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.planted import fitted_space, hand_made_space, planted_notes
from timbre_jax.analysis import attribution as attribution_module
from timbre_jax.analysis.ablation import masked_scores
from timbre_jax.analysis.attribution import integrated_gradients, shapley, shapley_values, subset_masks
from timbre_jax.analysis.sage import sage


def brute_force(values: np.ndarray) -> np.ndarray:
    """Returns Shapley values by definition: the mean gain of a player over all D! orders."""
    size = len(values).bit_length() - 1
    shares = np.zeros(size)
    orders = list(itertools.permutations(range(size)))
    for order in orders:
        coalition = 0
        for player in order:
            shares[player] += values[coalition | 1 << player] - values[coalition]
            coalition |= 1 << player
    return shares / len(orders)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5).flatmap(lambda d: st.lists(st.floats(-5, 5, width=32), min_size=2**d, max_size=2**d)))
def test_shapley_values_equal_mean_gain_over_all_orders(values):
    values = np.array(values)
    shares = shapley_values(values)
    np.testing.assert_allclose(shares, brute_force(values), atol=1e-9)
    assert shares.sum() == pytest.approx(values[-1] - values[0], abs=1e-9)


def test_shapley_values_need_a_power_of_two():
    with pytest.raises(ValueError, match="2\\^D values \\(got 6\\)"):
        shapley_values(np.zeros(6))


@pytest.fixture(scope="module")
def planted():
    return planted_notes(24)


@pytest.fixture(scope="module")
def hand_made(planted):
    """Latents 0 and 1 share one direction, 2 changes brightness, and 3 changes nothing."""
    values = np.asarray(planted.features.values)
    shape = values.shape[1:]
    level = np.zeros(shape)
    level[:, 1:] = 0.05
    tilt = np.zeros(shape)
    tilt[:, 1:] = 0.03 * np.linspace(1, -1, 7)
    return hand_made_space(planted, np.stack([level / 2, level / 2, tilt, np.zeros(shape)]))


def test_subset_scores_equal_a_numpy_decoder(planted, hand_made):
    scores = masked_scores(hand_made, planted.features, subset_masks(4), baseline="zero")
    params = {key: np.asarray(value, np.float64) for key, value in hand_made.variables["params"].items()}
    x = np.asarray(planted.features.values, np.float64)
    z = (x - params["mean"]).reshape(len(x), -1) @ params["encoder"].T
    for subset, on in enumerate(subset_masks(4)):
        decoded = np.clip((z * on @ params["decoder"]).reshape(x.shape) + params["mean"], 0, 1)
        np.testing.assert_allclose(scores.mse[:, subset], ((decoded - x) ** 2).mean((1, 2)), rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("baseline", ["mean", "zero"])
def test_shapley_values_satisfy_efficiency_symmetry_and_dummy(planted, hand_made, baseline):
    latents = np.asarray(hand_made.encode(planted.features).values)
    np.testing.assert_allclose(latents[:, 0], latents[:, 1], atol=1e-5)
    assert latents[:, 3].std() > 0.01
    for measure, result in shapley(hand_made, planted.features, baseline=baseline).items():
        assert result.method == "shapley"
        np.testing.assert_allclose(result.residual(), 0, atol=1e-9)
        np.testing.assert_allclose(result.values[:, 0], result.values[:, 1], atol=1e-6, err_msg=measure)
        np.testing.assert_allclose(result.values[:, 3], 0, atol=1e-6, err_msg=measure)
        assert result.values[:, 2].mean() > 0


def test_sampled_shapley_values_agree_with_exact_within_error(planted, monkeypatch):
    space = fitted_space(planted, latent_size=4)
    exact = shapley(space, planted.features)["ssim"]
    monkeypatch.setattr(attribution_module, "EXACT_UP_TO", 3)
    sampled = shapley(space, planted.features, permutations=32)["ssim"]
    assert sampled.method == "shapley_sampled"
    np.testing.assert_allclose(sampled.residual(), 0, atol=1e-9)
    spread = np.maximum(sampled.errors, 1e-4)
    within = np.abs(sampled.values - exact.values) / spread
    assert np.mean(within < 3) > 0.9
    assert np.mean(within) < 1.5


@pytest.mark.parametrize("measure", ["mse", "ssim"])
def test_integrated_gradients_sum_to_value_difference(planted, hand_made, measure):
    result = integrated_gradients(hand_made, planted.features, measure=measure, steps=24)
    gap = result.full - result.none
    assert np.abs(gap).mean() > 1e-4
    np.testing.assert_allclose(result.values.sum(1), gap, rtol=2e-3, atol=2e-5 if measure == "mse" else 2e-3)
    np.testing.assert_allclose(result.values[:, 3], 0, atol=1e-6)


def test_integrated_gradients_equal_shapley_values_for_a_linear_decoder(planted):
    # v(z) = -c sum_d (effect_d (z_d - own_d))^2 along orthogonal directions gives IG_d = c effect_d^2 own_d^2.
    space = fitted_space(planted, latent_size=4)
    result = integrated_gradients(space, planted.features, steps=8)
    exact = shapley(space, planted.features, measures=("mse",))["mse"]
    np.testing.assert_allclose(result.values, exact.values, atol=3e-6)


def test_sage_values_satisfy_efficiency_symmetry_and_dummy(planted, hand_made):
    result = sage(hand_made, planted.features, samples=8, orders=3)
    assert result.values.sum() == pytest.approx(result.none - result.full, rel=1e-5)
    assert abs(result.values[3]) < 1e-7
    assert abs(result.values[0] - result.values[1]) < 4 * result.errors[:2].max()
    np.testing.assert_allclose(result.shares.mean(0), result.values, rtol=1e-6)


def test_unknown_measure_or_baseline_is_an_error(planted, hand_made):
    with pytest.raises(ValueError, match="'mae'"):
        shapley(hand_made, planted.features, measures=("mae",))
    with pytest.raises(ValueError, match="'median'"):
        integrated_gradients(hand_made, planted.features, baseline="median")
