"""Tests that all methods recover four planted factors, each of which drives one latent."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.planted import FACTORS, fitted_space, planted_notes
from timbre_jax.analysis.ablation import ablation
from timbre_jax.analysis.agreement import agreement
from timbre_jax.analysis.attribution import integrated_gradients, shapley
from timbre_jax.analysis.correlation import correlation
from timbre_jax.analysis.perturbation import perturbation
from timbre_jax.analysis.sage import sage
from timbre_jax.analysis.sensitivity import sensitivity

EFFECT = 0.012**2 * np.array([16.0, 9.0, 4.0, 1.0]) * 7 / 8
"""Mean square effect of each factor on the 8 feature rows, the true importance."""


@pytest.fixture(scope="module")
def planted():
    return planted_notes()


@pytest.fixture(scope="module")
def space(planted):
    return fitted_space(planted, latent_size=4)


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_correlation_assigns_each_factor_to_its_latent(planted, space, method):
    labels = {name: planted.factors[:, i] for i, name in enumerate(FACTORS)}
    result = correlation(space.encode(planted.features).values, labels, planted.instruments, method=method)
    assert np.nanargmax(np.abs(result.value), axis=0).tolist() == [0, 1, 2, 3]
    assert (np.abs(np.diag(result.value)) > 0.99).all()
    others = result.value[~np.eye(4, dtype=bool)]
    assert (np.abs(others) < 0.25).all()
    assert (np.abs(np.diag(result.value)) > np.diag(result.chance)).all()
    assert (result.low <= result.value + 1e-9).all()
    assert (result.high >= result.value - 1e-9).all()


def test_ablation_importance_equals_planted_effect(planted, space):
    for baseline in ("mean", "zero"):
        result = ablation(space, planted.features, baseline=baseline)
        # PCA latents have mean 0, so that both baselines remove exactly the effect of the factor.
        np.testing.assert_allclose(result.importance(kind="disabled").mean(0), EFFECT, rtol=0.02)
        np.testing.assert_allclose(result.importance(kind="enabled").mean(0), EFFECT, rtol=0.02)
        # SSIM is nearly invariant to a uniform change of level; of the amplitude factors, the tilt changes it most.
        assert result.importance(measure="ssim").mean(0)[1:].argmax() == 1


def test_shapley_and_sage_values_equal_planted_effects(planted, space):
    shares = shapley(space, planted.features)["mse"]
    np.testing.assert_allclose(shares.values.mean(0), EFFECT, rtol=0.02)
    importance = sage(space, planted.features, samples=32, orders=2)
    np.testing.assert_allclose(importance.values, EFFECT, rtol=0.15)
    assert (np.argsort(-importance.values) == np.arange(4)).all()


def test_sensitivity_and_perturbation_equal_planted_effects(planted, space):
    np.testing.assert_allclose(sensitivity(space, planted.features).scaled.mean(0), np.sqrt(EFFECT), rtol=0.01)
    moved = perturbation(space, planted.features, unit="deviation", amounts=(-1.0, 1.0))
    np.testing.assert_allclose(moved.importance().mean(0), EFFECT, rtol=0.02)


def test_methods_agree_on_a_linear_space(planted, space):
    importances = {
        "ablation": ablation(space, planted.features).importance().mean(0),
        "perturbation": perturbation(space, planted.features, unit="deviation").importance().mean(0),
        "sensitivity": sensitivity(space, planted.features).scaled.mean(0),
        "shapley": shapley(space, planted.features, measures=("mse",))["mse"].values.mean(0),
        "integrated gradients": integrated_gradients(space, planted.features).values.mean(0),
    }
    result = agreement(importances)
    assert result.order().tolist() == [0, 1, 2, 3]
    assert result.mean() == pytest.approx(1.0)
