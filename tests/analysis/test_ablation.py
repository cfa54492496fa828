"""Tests of ablation and perturbation against a decoder in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.planted import fitted_space, hand_made_space, planted_notes
from timbre_jax.analysis.ablation import ablation, baseline_values, masked_latents
from timbre_jax.analysis.perturbation import perturbation
from timbre_jax.analysis.sensitivity import sensitivity


@pytest.fixture(scope="module")
def planted():
    return planted_notes(20)


@pytest.fixture(scope="module")
def space(planted):
    return fitted_space(planted, latent_size=3)


def decoded(space, latents):
    params = {k: np.asarray(v, np.float64) for k, v in space.variables["params"].items()}
    flat = latents * params["scale"] @ params["components"]
    return np.clip(flat.reshape(-1, 24, 8) + params["mean"], 0, 1)


def test_masked_latents_keep_enabled_values():
    values, rows = masked_latents(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([9.0, 8.0]), np.eye(2, dtype=bool))
    assert values.tolist() == [[1, 8], [9, 2], [3, 8], [9, 4]]
    assert rows.tolist() == [0, 0, 1, 1]


def test_ablation_scores_equal_a_numpy_decoder(planted, space):
    x = np.asarray(planted.features.values, np.float64)
    z = np.asarray(space.encode(planted.features).values, np.float64)
    result = ablation(space, planted.features, baseline="zero")

    def error(latents):
        return ((decoded(space, latents) - x) ** 2).mean((1, 2))

    for d in range(3):
        only, without = np.zeros_like(z), z.copy()
        only[:, d], without[:, d] = z[:, d], 0
        np.testing.assert_allclose(result.enabled.mse[:, d], error(only), rtol=1e-3, atol=1e-9)
        np.testing.assert_allclose(result.disabled.mse[:, d], error(without), rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(result.full.mse, error(z), rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(result.none.mse, error(0 * z), rtol=1e-3)
    table = result.table(planted.instruments)
    assert table.column("enabled") == ["none", "all", "only 0", "only 1", "only 2", "all but 0", "all but 1", "all but 2"]
    assert all(low <= mean <= high for mean, low, high in zip(*map(table.column, ("mse", "mse_low", "mse_high")), strict=True))


def test_latent_with_large_mean_matters_only_against_zero(planted):
    # One latent is shifted by 10 and the offset of the decoder compensates for it.
    values = np.asarray(planted.features.values)
    level = np.zeros(values.shape[1:])
    level[:, 1:] = 0.05
    tilt = np.zeros(values.shape[1:])
    tilt[:, 1:] = 0.02 * np.linspace(1, -1, 7)
    space = hand_made_space(planted, np.stack([level, tilt]))
    params = dict(space.variables["params"])
    params["mean"] = params["mean"] - 10 * tilt.astype(np.float32)
    shifted = space.replace(variables={"params": params})
    mean = np.asarray(shifted.encode(planted.features).values).mean(0)
    assert mean[1] == pytest.approx(10, abs=0.01)
    shifted = shifted.replace(statistics={**shifted.statistics, "latent_mean": mean})
    against_zero = ablation(shifted, planted.features, baseline="zero").importance().mean(0)
    against_mean = ablation(shifted, planted.features, baseline="mean").importance().mean(0)
    assert against_zero[1] > against_zero[0]
    assert against_mean[1] < against_mean[0]


def test_perturbation_scales_by_value_or_by_deviation(planted, space):
    x = np.asarray(planted.features.values, np.float64)
    z = np.asarray(space.encode(planted.features).values, np.float64)
    percent = perturbation(space, planted.features, unit="percent")
    deviation = perturbation(space, planted.features, unit="deviation", amounts=(1.5,))
    for d in range(3):
        moved = z.copy()
        moved[:, d] *= 1.6
        expected = ((decoded(space, moved) - x) ** 2).mean((1, 2))
        np.testing.assert_allclose(percent.moved.mse[:, d, 5], expected, rtol=2e-3, atol=1e-9)
        moved = z.copy()
        moved[:, d] += 1.5 * np.asarray(space.statistics["latent_std"])[d]
        expected = ((decoded(space, moved) - x) ** 2).mean((1, 2))
        np.testing.assert_allclose(deviation.moved.mse[:, d, 0], expected, rtol=2e-3, atol=1e-9)
    assert percent.amounts.tolist() == [10, 20, 30, 40, 50, 60]
    assert percent.ssim_decrease().shape == (3, 6)
    assert len(percent.table().rows) == 18
    unchanged = perturbation(space, planted.features, unit="percent", amounts=(0.0,))
    np.testing.assert_allclose(unchanged.ssim_decrease(), 0, atol=1e-4)


def test_unknown_baseline_or_unit_is_an_error(planted, space):
    with pytest.raises(ValueError, match="baseline: must be one of mean, zero"):
        baseline_values(space, "median")
    with pytest.raises(ValueError, match="unit: must be percent or deviation"):
        perturbation(space, planted.features, unit="octaves")


def test_collapsed_space_has_zero_importance(planted):
    space = fitted_space(planted, "mean_image")
    assert np.abs(ablation(space, planted.features).importance()).max() == 0
    assert np.abs(sensitivity(space, planted.features).scaled).max() == 0
