"""Every method has to find the planted truth: four factors of a note, each driving one latent, in a known order."""

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
"""Mean square of what each factor does to the 8 rows of the features: the truth that importances are held against."""


@pytest.fixture(scope="module")
def planted():
    return planted_notes()


@pytest.fixture(scope="module")
def space(planted):
    return fitted_space(planted, latent_size=4)


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_correlation_names_the_factor_of_every_latent(planted, space, method):
    labels = {name: planted.factors[:, i] for i, name in enumerate(FACTORS)}
    found = correlation(space.encode(planted.features).values, labels, planted.instruments, method=method)
    assert np.nanargmax(np.abs(found.value), axis=0).tolist() == [0, 1, 2, 3]
    assert (np.abs(np.diag(found.value)) > 0.99).all()
    others = found.value[~np.eye(4, dtype=bool)]
    assert (np.abs(others) < 0.25).all()
    assert (np.abs(np.diag(found.value)) > np.diag(found.floor)).all()
    assert (found.low <= found.value + 1e-9).all()
    assert (found.high >= found.value - 1e-9).all()


def test_ablation_costs_what_each_factor_did(planted, space):
    for baseline in ("mean", "zero"):
        result = ablation(space, planted.features, baseline=baseline)
        # PCA has mean 0 latents, so both baselines remove exactly the factor's effect.
        np.testing.assert_allclose(result.importance(kind="disabled").mean(0), EFFECT, rtol=0.02)
        np.testing.assert_allclose(result.importance(kind="enabled").mean(0), EFFECT, rtol=0.02)
        # SSIM hardly sees a change of level that is alike everywhere: of the three of amplitude, the tilt is what it
        # sees.
        assert result.importance(measure="ssim").mean(0)[1:].argmax() == 1


def test_shapley_and_sage_share_out_the_planted_variances(planted, space):
    shares = shapley(space, planted.features)["mse"]
    np.testing.assert_allclose(shares.values.mean(0), EFFECT, rtol=0.02)
    importance = sage(space, planted.features, draws=32, orders=2)
    np.testing.assert_allclose(importance.values, EFFECT, rtol=0.15)
    assert (np.argsort(-importance.values) == np.arange(4)).all()


def test_gradients_and_perturbation_see_the_effect_of_one_deviation(planted, space):
    np.testing.assert_allclose(sensitivity(space, planted.features).scaled.mean(0), np.sqrt(EFFECT), rtol=0.01)
    moved = perturbation(space, planted.features, unit="deviation", amounts=(-1.0, 1.0))
    np.testing.assert_allclose(moved.importance().mean(0), EFFECT, rtol=0.02)


def test_all_methods_agree_on_a_linear_space(planted, space):
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
