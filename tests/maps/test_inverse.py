"""The way back from a map: exact at every sound, smooth between them, tame outside, and nothing else than asked for."""

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
def test_every_sound_comes_back_to_the_bit_and_doubles_say_who_answers(cells, seed):
    xy = (np.array(cells) / 40).astype(np.float32)
    latents = np.random.default_rng(seed).normal(size=(8, 3)).astype(np.float32)
    inverse = kernel_inverse(xy, latents, widths=0.1)
    first = [next(j for j in range(8) if (xy[j] == xy[i]).all()) for i in range(8)]
    found, distances = inverse(xy)
    np.testing.assert_array_equal(found, latents[first])
    np.testing.assert_array_equal(distances, 0.0)
    np.testing.assert_array_equal(inverse.holder, first)
    assert sum(len(others) for others in inverse.shared.values()) == sum(f != i for i, f in enumerate(first))
    np.testing.assert_array_equal(inverse.nearest(xy), first)


def test_between_sounds_it_is_the_kernel_regression():
    inverse = kernel_inverse(XY, LATENTS, widths=[0.05, 0.08])
    x = np.array([0.41, 0.27])
    weight = np.exp(-0.5 * np.sum(((XY.astype(np.float64) - x) / [0.05, 0.08]) ** 2, axis=1))
    nearest = np.sqrt(np.sum(((XY - x) / [0.05, 0.08]) ** 2, axis=1)).min()
    assert nearest > 0.5, "the point has to lie outside all discs"
    np.testing.assert_allclose(inverse([x])[0][0], weight @ LATENTS / weight.sum(), atol=1e-5)


def test_it_has_no_jumps():
    inverse = kernel_inverse(XY, LATENTS, widths=0.05)
    # Straight through a sound and its disc, in steps far under the disc's radius.
    line = XY[7] + np.linspace(-0.04, 0.04, 2001)[:, None] * np.array([0.6, 0.8])
    latents = inverse(line)[0]
    assert np.abs(np.diff(latents, axis=0)).max() < 0.02 * np.ptp(LATENTS, axis=0).max()


def test_far_outside_it_is_the_nearest_sound_and_the_distance_says_so():
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
        ([[np.nan, 0.5]], "two finite numbers"),
        ([[0.1, np.inf]], "two finite numbers"),
        ([[0.1, 0.2, 0.3]], r"\[M, 2\]"),
        (np.zeros((0, 2)), r"\[M, 2\]"),
        ([["a", "b"]], "pairs of numbers"),
    ],
)
def test_what_is_no_point_is_refused(points, message):
    with pytest.raises(ValueError, match=message):
        kernel_inverse(XY, LATENTS, widths=0.1)(points)


def test_it_is_a_pytree_that_jits_and_differentiates():
    inverse = kernel_inverse(XY, LATENTS, widths=0.1)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(inverse))
    x = jnp.array([0.4, 0.6])
    slope = jax.jit(jax.jacobian(lambda x: inverse.latents_at(x[None])[0]))(x)
    step = 1e-3
    for axis in range(2):
        move = step * np.eye(2)[axis]
        rise = (inverse([np.asarray(x) + move])[0] - inverse([np.asarray(x) - move])[0])[0] / (2 * step)
        np.testing.assert_allclose(slope[:, axis], rise, atol=2e-2)


def test_the_width_follows_the_noise():
    noise = RANDOM.normal(size=LATENTS.shape).astype(np.float32)
    quiet, loud = best_width(XY, LATENTS), best_width(XY, 0.2 * LATENTS + noise)
    assert quiet < loud
    assert best_width(np.full((5, 2), 0.5), LATENTS[:5]) == 1.0


def test_unseen_sounds_are_placed_where_the_way_back_is_theirs():
    inverse = kernel_inverse(XY, LATENTS, widths=0.08)
    np.testing.assert_array_equal(place(inverse, LATENTS, resolution=24), XY)
    wanted = RANDOM.random((10, 2)) * 0.6 + 0.2
    latents = inverse(wanted)[0]
    found = inverse(place(inverse, latents, resolution=24))[0]
    assert np.linalg.norm(found - latents, axis=1).max() < 0.02
    with pytest.raises(ValueError, match=r"finite latents \[Q, 3\]"):
        place(inverse, latents[:, :2])


def test_pca_goes_there_and_back():
    flat = np.random.default_rng(1).normal(size=(40, 2)) @ np.random.default_rng(2).normal(size=(2, 5)) + 3
    found = pca_map(flat)
    xy, low, high = unit_square(found.points)
    inverse = linear_inverse(xy, low, high, found.axes["directions"], found.axes["mean"])
    np.testing.assert_allclose(inverse(xy)[0], flat, atol=1e-4)


def test_the_unit_square_takes_what_does_not_vary():
    xy, low, high = unit_square(np.array([[3.0, 1.0], [3.0, 5.0]]))
    np.testing.assert_array_equal(xy, [[0.5, 0.0], [0.5, 1.0]])
    np.testing.assert_array_equal(xy * (high - low) + low, [[3.0, 1.0], [3.0, 5.0]])


@pytest.mark.parametrize(
    ("latents", "widths", "message"),
    [
        (LATENTS[:5], 0.1, "need latents"),
        (np.where(np.arange(60)[:, None] == 3, np.nan, LATENTS), 0.1, "of 1 sounds are not finite"),
        (LATENTS, 0.0, "more than 0"),
        (LATENTS, np.nan, "more than 0"),
    ],
)
def test_wrong_maps_are_one_line(latents, widths, message):
    with pytest.raises(ValueError, match=message):
        kernel_inverse(XY, latents, widths=widths)


def test_points_are_float32_and_never_too_large_to_square():
    assert map_points([[1e300, -1e300]]).dtype == np.float32
    assert np.isfinite(np.square(map_points([[1e300, -1e300]]))).all()
