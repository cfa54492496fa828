"""Tests of the kernel map on a rolled sheet, and of corner cases."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from timbre_jax.analysis.projection import pca_map
from timbre_jax.maps.kernel import kernel_map, neighbor_weights
from timbre_jax.maps.sound_map import make_map, place_sounds


def curved(count: int, seed: int) -> np.ndarray:
    """Returns a noisy rolled sheet in five dimensions."""
    generator = np.random.default_rng(seed)
    along, across = generator.uniform(0, 3 * np.pi, count), generator.uniform(0, 4, count)
    radius = 1 + 0.4 * along
    points = np.stack([radius * np.cos(along), radius * np.sin(along), across, 0 * along, 0 * along], axis=1)
    return (points + 0.03 * generator.normal(size=points.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def sheet():
    return curved(250, 0), curved(60, 1)


@pytest.fixture(scope="module")
def sound_map(sheet):
    return make_map(sheet[0], method="kernel")


def variance(truth, result, mean):
    return 1 - np.sum((truth - result) ** 2) / np.sum((truth - mean) ** 2)


def test_kernel_map_unrolls_a_sheet_and_reconstructs_unseen_points(sheet, sound_map):
    known, unseen = sheet
    linear = make_map(known, method="pca")
    shares = {}
    for name, each in (("kernel", sound_map), ("pca", linear)):
        shares[name] = variance(unseen, each.inverse(place_sounds(each, unseen))[0], known.mean(0))
    assert shares["kernel"] > 0.97
    assert shares["pca"] < 0.92
    flat, rolled_out = (trustworthiness(known, x, n_neighbors=10) for x in (pca_map(known).points, sound_map.coordinates))
    assert rolled_out > 0.98 > flat


def test_inverse_is_exact_at_library_sounds(sheet, sound_map):
    latents, distances = sound_map.inverse(sound_map.coordinates)
    np.testing.assert_array_equal(latents, sheet[0])
    np.testing.assert_array_equal(distances, 0.0)
    assert sound_map.coordinates.min() == 0.0
    assert sound_map.coordinates.max() == 1.0


@pytest.mark.slow
def test_kernel_map_is_repeatable():
    few = curved(40, 3)
    done = []
    first = kernel_map(few, steps=60, progress=done.append).points
    assert done == [50, 10]
    np.testing.assert_array_equal(first, kernel_map(few, steps=60).points)
    assert not np.array_equal(first, kernel_map(few, steps=60, neighborhood=0.0).points)


def test_neighbor_weights_have_the_requested_perplexity():
    latents = curved(100, 4)
    weights, near = neighbor_weights(latents, 10.0)
    np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-5)
    entropy = -np.sum(weights * np.log(np.maximum(weights, 1e-30)), axis=1)
    np.testing.assert_allclose(np.exp(entropy), 10.0, rtol=1e-2)
    assert (near != np.arange(100)[:, None]).all()
    # Sounds with equal latents are neighbors, but no sound is its own neighbor.
    weights, near = neighbor_weights(np.repeat(latents[:20], 3, axis=0), 5.0)
    assert (near != np.arange(60)[:, None]).all()
    assert np.isfinite(weights).all()


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_few_sounds_have_a_map(count):
    latents = curved(count, 5)
    sound_map = make_map(latents, method="kernel")
    assert sound_map.coordinates.shape == (count, 2)
    np.testing.assert_array_equal(sound_map.inverse(sound_map.coordinates)[0], latents)


def test_equal_sounds_share_coordinates():
    sound_map = make_map(np.ones((12, 4)), method="kernel")
    np.testing.assert_array_equal(sound_map.coordinates, 0.5)
    assert sound_map.inverse.shared == {0: list(range(1, 12))}
    np.testing.assert_allclose(sound_map.inverse([[0.1, 0.9]])[0], np.ones((1, 4)), rtol=1e-6)
