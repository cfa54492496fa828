"""Tests of inverses of maps: exact at sounds, continuous between them, bounded outside."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timbre_jax.analysis.projection import pca_map
from timbre_jax.maps.inverse import best_width, kernel_inverse, linear_inverse, map_points, place, unit_square

RANDOM = np.random.default_rng(0)
XY = RANDOM.random((60, 2)).astype(np.float32)
LATENTS = np.stack([np.sin(3 * XY[:, 0]), XY[:, 1] ** 2, XY[:, 0] * XY[:, 1]], axis=1).astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=8, max_size=8),
    st.integers(0, 2**31),
)
def test_inverse_is_exact_at_sounds_and_returns_the_first_of_equal_points(cells, seed):
    xy = (np.array(cells) / 40).astype(np.float32)
    latents = np.random.default_rng(seed).normal(size=(8, 3)).astype(np.float32)
    inverse = kernel_inverse(xy, latents, widths=0.1)
    first = [next(j for j in range(8) if (xy[j] == xy[i]).all()) for i in range(8)]
    result, distances = inverse(xy)
    np.testing.assert_array_equal(result, latents[first])
    np.testing.assert_array_equal(distances, 0.0)
    np.testing.assert_array_equal(inverse.holder, first)
    assert sum(len(others) for others in inverse.shared.values()) == sum(f != i for i, f in enumerate(first))
    np.testing.assert_array_equal(inverse.nearest(xy), first)


def test_inverse_is_kernel_regression_between_sounds():
    inverse = kernel_inverse(XY, LATENTS, widths=[0.05, 0.08])
    x = np.array([0.41, 0.27])
    weight = np.exp(-0.5 * np.sum(((XY.astype(np.float64) - x) / [0.05, 0.08]) ** 2, axis=1))
    nearest = np.sqrt(np.sum(((XY - x) / [0.05, 0.08]) ** 2, axis=1)).min()
    assert nearest > 0.5, "the point must be outside all discs"
    np.testing.assert_allclose(inverse([x])[0][0], weight @ LATENTS / weight.sum(), atol=1e-5)


def test_inverse_is_continuous():
    inverse = kernel_inverse(XY, LATENTS, widths=0.05)
    # A line through a sound and its disc, in steps much smaller than the radius.
    line = XY[7] + np.linspace(-0.04, 0.04, 2001)[:, None] * np.array([0.6, 0.8])
    latents = inverse(line)[0]
    assert np.abs(np.diff(latents, axis=0)).max() < 0.02 * np.ptp(LATENTS, axis=0).max()


def test_inverse_far_outside_is_the_nearest_sound():
    inverse = kernel_inverse(XY, LATENTS, widths=0.03)
    far = np.array([[50.0, 0.5], [-1e30, 0.5], [0.5, 1.4]])
    latents, distances = inverse(far)
    assert np.isfinite(latents).all()
    assert latents.min() >= LATENTS.min() - 1e-5
    assert latents.max() <= LATENTS.max() + 1e-5
    assert distances[0] == pytest.approx(np.linalg.norm(XY - far[0], axis=1).min(), rel=1e-5)
    assert distances[1] > 1e5
    np.testing.assert_allclose(latents[2], LATENTS[np.argmin(np.linalg.norm(XY - far[2], axis=1))], atol=1e-3)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[np.nan, 0.5]], "must be finite"),
        ([[0.1, np.inf]], "must be finite"),
        ([[0.1, 0.2, 0.3]], r"\[M, 2\]"),
        (np.zeros((0, 2)), r"\[M, 2\]"),
        ([["a", "b"]], "pairs of numbers"),
    ],
)
def test_invalid_points_are_an_error(points, message):
    with pytest.raises(ValueError, match=message):
        kernel_inverse(XY, LATENTS, widths=0.1)(points)


def test_inverse_is_a_differentiable_pytree():
    inverse = kernel_inverse(XY, LATENTS, widths=0.1)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(inverse))
    x = jnp.array([0.4, 0.6])
    slope = jax.jit(jax.jacobian(lambda x: inverse.latents_at(x[None])[0]))(x)
    step = 1e-3
    for axis in range(2):
        move = step * np.eye(2)[axis]
        rise = (inverse([np.asarray(x) + move])[0] - inverse([np.asarray(x) - move])[0])[0] / (2 * step)
        np.testing.assert_allclose(slope[:, axis], rise, atol=2e-2)


def test_best_width_grows_with_noise():
    noise = RANDOM.normal(size=LATENTS.shape).astype(np.float32)
    quiet, loud = best_width(XY, LATENTS), best_width(XY, 0.2 * LATENTS + noise)
    assert quiet < loud
    assert best_width(np.full((5, 2), 0.5), LATENTS[:5]) == 1.0


def test_placed_sounds_have_their_latents_at_their_points():
    inverse = kernel_inverse(XY, LATENTS, widths=0.08)
    np.testing.assert_array_equal(place(inverse, LATENTS, resolution=24), XY)
    points = RANDOM.random((10, 2)) * 0.6 + 0.2
    latents = inverse(points)[0]
    result = inverse(place(inverse, latents, resolution=24))[0]
    assert np.linalg.norm(result - latents, axis=1).max() < 0.02
    with pytest.raises(ValueError, match=r"must be finite \[Q, 3\]"):
        place(inverse, latents[:, :2])


def test_linear_inverse_inverts_pca():
    flat = np.random.default_rng(1).normal(size=(40, 2)) @ np.random.default_rng(2).normal(size=(2, 5)) + 3
    result = pca_map(flat)
    xy, low, high = unit_square(result.points)
    inverse = linear_inverse(xy, low, high, result.axes["directions"], result.axes["mean"])
    np.testing.assert_allclose(inverse(xy)[0], flat, atol=1e-4)


def test_unit_square_centers_a_constant_axis():
    xy, low, high = unit_square(np.array([[3.0, 1.0], [3.0, 5.0]]))
    np.testing.assert_array_equal(xy, [[0.5, 0.0], [0.5, 1.0]])
    np.testing.assert_array_equal(xy * (high - low) + low, [[3.0, 1.0], [3.0, 5.0]])


@pytest.mark.parametrize(
    ("latents", "widths", "message"),
    [
        (LATENTS[:5], 0.1, "must be \\[60, D\\]"),
        (np.where(np.arange(60)[:, None] == 3, np.nan, LATENTS), 0.1, "1 of 60 sounds are not finite"),
        (LATENTS, 0.0, "must be positive"),
        (LATENTS, np.nan, "must be positive"),
    ],
)
def test_invalid_latents_and_widths_are_an_error(latents, widths, message):
    with pytest.raises(ValueError, match=message):
        kernel_inverse(XY, latents, widths=widths)


def test_map_points_are_float32_with_finite_squares():
    assert map_points([[1e300, -1e300]]).dtype == np.float32
    assert np.isfinite(np.square(map_points([[1e300, -1e300]]))).all()
