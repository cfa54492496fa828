"""Tests of playable axes against the SVD of numpy."""

import numpy as np
import pytest

from timbre_jax.generation.axes import fit_axes


@pytest.fixture(scope="module")
def latents():
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(5, 5)) * [3.0, 2.0, 1.0, 0.3, 0.01]
    return (generator.normal(size=(4000, 5)) @ mixing.T + [1.0, -2.0, 0.0, 5.0, 0.5]).astype(np.float32)


def test_axes_are_the_principal_components_with_their_ranges(latents):
    axes = fit_axes(latents)
    centered = latents.astype(np.float64) - latents.mean(0, dtype=np.float64)
    _, singular, rows = np.linalg.svd(centered, full_matrices=False)
    np.testing.assert_allclose(axes.deviation, singular / np.sqrt(len(latents)), rtol=1e-4)
    np.testing.assert_allclose(np.abs(np.sum(axes.directions * rows, 1)), 1.0, atol=1e-5)
    np.testing.assert_allclose(axes.directions @ axes.directions.T, np.eye(5), atol=1e-6)
    assert np.all(axes.directions[np.arange(5), np.abs(axes.directions).argmax(1)] > 0)
    turned = centered @ axes.directions.T.astype(np.float64)
    low, high = np.percentile(turned, [1, 99], axis=0)
    np.testing.assert_allclose(axes.low, low, atol=0.02 * axes.deviation.max())
    np.testing.assert_allclose(axes.high, high, atol=0.02 * axes.deviation.max())
    assert axes.share.sum() == pytest.approx(1.0)
    assert axes.table().column("sum_of_shares")[-1] == pytest.approx(1.0)


def test_axes_and_sliders_are_inverted_exactly(latents):
    axes, series = fit_axes(latents), latents[:60].reshape(3, 20, 5)
    np.testing.assert_allclose(axes.from_axes(axes.to_axes(series)), series, atol=1e-4)
    np.testing.assert_allclose(axes.from_sliders(axes.to_sliders(series)), series, atol=1e-4)
    turned = np.asarray(axes.to_axes(latents))
    np.testing.assert_allclose(np.corrcoef(turned.T), np.eye(5), atol=1e-3)


def test_axes_without_a_coordinate_are_at_the_mean(latents):
    axes = fit_axes(latents)
    part = np.asarray(axes.from_axes(np.array([[1.0, -2.0]])))
    np.testing.assert_allclose(np.asarray(axes.to_axes(part))[0], [1.0, -2.0, 0, 0, 0], atol=1e-5)
    np.testing.assert_allclose(axes.from_sliders(np.full((1, 5), 0.0)), axes.from_axes(axes.low)[None], atol=1e-5)
    with pytest.raises(ValueError, match=r"expected 1 to 5 coordinates \(got 6\)"):
        axes.from_axes(np.zeros(6))


def test_constant_latents_are_allowed_and_wrong_ones_refused():
    constant = fit_axes(np.ones((10, 3)))
    np.testing.assert_array_equal(constant.deviation, 0.0)
    np.testing.assert_array_equal(constant.to_sliders(np.ones((2, 3))), 0.5)
    with pytest.raises(ValueError, match=r"at least 2 finite latents \(got 1\)"):
        fit_axes(np.array([[1.0, 2.0], [np.nan, 0.0]]))
    with pytest.raises(ValueError, match=r"latents \[K, D\]"):
        fit_axes(np.zeros(3))
