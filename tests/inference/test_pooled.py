"""Tests of points of series, and of series spaces as static spaces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.series import linear_space, random_series
from timbre_jax.analysis.ablation import ablation
from timbre_jax.inference import pooled


def test_a_point_is_the_amplitude_weighted_mean_over_the_real_length():
    latent = random_series(count=6)
    level = np.array([[-20.0, -40.0, -20.0, -60.0, 0.0, 0.0], [-80.0] * 6])
    mask = np.array([[1, 1, 1, 1, 0, 0], [1] * 6], np.float32)
    latent = latent.replace(conditions={"loudness": jnp.asarray(level, jnp.float32)}, mask=jnp.asarray(mask))
    values, weights = np.asarray(latent.values, np.float64), 10 ** (level / 20) * mask
    expected = (values * weights[..., None]).sum(1) / weights.sum(1)[:, None]
    np.testing.assert_allclose(pooled.mean_points(latent), expected, rtol=1e-5)
    plain = pooled.mean_points(latent.replace(conditions={}))
    np.testing.assert_allclose(plain[0], values[0, :4].mean(0), rtol=1e-5)


def test_silent_and_empty_series_have_points():
    latent = random_series(count=5)
    silent = latent.replace(conditions={"gain_db": np.full((2, 5), -100.0, np.float32)})
    np.testing.assert_allclose(pooled.mean_points(silent), np.asarray(latent.values).mean(1), rtol=1e-4, atol=1e-6)
    empty = latent.replace(mask=np.zeros((2, 5)))
    assert np.isfinite(pooled.mean_points(empty)).all()


def test_a_held_point_has_its_duration_and_is_encoded_again():
    space = linear_space()
    points = np.array([[0.3, -0.2, 0.1, 0.0], [0.0, 0.1, 0.2, -0.3]], np.float32)
    latent = pooled.hold_points(space, points, seconds=0.256, level_db=-12.0)
    assert latent.values.shape == (2, 16, 4)  # 16000 / 128 / 2 = 62.5 latents a second
    assert latent.rate == 62.5
    np.testing.assert_array_equal(latent.conditions["loudness"], -12.0)
    np.testing.assert_allclose(pooled.hold_points(space, points, seconds=1.0).conditions["loudness"], -20.0)
    encoded = space.encode(space.decode(latent))
    np.testing.assert_allclose(pooled.mean_points(encoded), points, atol=1e-5)
    assert pooled.hold_points(space, points, seconds=0.0).values.shape == (2, 1, 4)
    with pytest.raises(ValueError, match=r"points: must be \[B, 4\] in this space"):
        pooled.hold_points(space, points[:, :2], seconds=1.0)


def test_a_held_space_encodes_and_decodes_points():
    space = linear_space()
    static = pooled.held_space(space, seconds=0.16)
    assert (space.kind, static.kind, static.latent_size) == ("series", "static", 4)
    waves = np.random.default_rng(0).normal(0, 0.1, (3, 5120)).astype(np.float32)
    lengths = np.array([5120, 3000, 1000])
    whole, point = space.embed(waves, lengths), static.embed(waves, lengths)
    np.testing.assert_allclose(point.values, pooled.mean_points(whole), rtol=1e-5)
    # The point of a sound keeps its length and level; values alone are held at the training median.
    flat = whole.replace(values=jnp.repeat(point.values[:, None], 20, axis=1))
    np.testing.assert_array_equal(point.mask, space.analyze(waves, lengths).mask)
    np.testing.assert_allclose(static.decode(point).values, space.decode(flat).values, atol=1e-6)
    np.testing.assert_array_equal(static.decode(point).conditions["loudness"], space.decode(flat).conditions["loudness"])
    held = static.decode(point.values)
    assert held.values.shape == (3, 20, 24)
    np.testing.assert_allclose(held.conditions["loudness"], -20.0)
    assert static.render(point.values).shape == (3, 20 * 128)
    assert pooled.held_space(static) is static
    hash(static.model)


def test_a_length_that_is_not_a_multiple_of_the_stride_is_kept():
    space = linear_space(frames=41)
    features = space.analyze(np.random.default_rng(0).normal(0, 0.1, (1, 41 * 128)).astype(np.float32))
    assert features.values.shape[1] == 41
    static = pooled.held_space(space)
    decoded = static.decode(static.encode(features))
    assert decoded.values.shape == features.values.shape
    assert decoded.conditions["loudness"].shape == (1, 41)


def test_ablation_of_a_held_space_finds_the_latent_without_effect():
    space = linear_space()
    basis = np.array(space.variables["params"]["basis"])
    basis[3] = 0.0
    space = space.replace(variables={"params": {**space.variables["params"], "basis": jnp.asarray(basis)}})
    waves = np.random.default_rng(1).normal(0, 0.1, (6, 5120)).astype(np.float32)
    result = ablation(pooled.held_space(space), jax.tree.map(np.asarray, space.analyze(waves)), baseline="zero")
    assert result.disabled.mse.shape == (6, 4)
    np.testing.assert_allclose(result.disabled.mse[:, 3], result.full.mse, rtol=1e-5)
    assert (result.none.mse > result.full.mse).all()
