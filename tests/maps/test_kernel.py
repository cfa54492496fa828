"""The kernel map on data whose true shape is known, and its corner cases."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from timbre_jax.analysis.projection import pca_map
from timbre_jax.maps.kernel import kernel_map, neighbor_weights
from timbre_jax.maps.sound_map import make_map, place_sounds


def curved(count: int, seed: int) -> np.ndarray:
    """A rolled sheet in five dimensions (two that mean something), a little noise."""
    generator = np.random.default_rng(seed)
    along, across = generator.uniform(0, 3 * np.pi, count), generator.uniform(0, 4, count)
    radius = 1 + 0.4 * along
    points = np.stack([radius * np.cos(along), radius * np.sin(along), across, 0 * along, 0 * along], axis=1)
    return (points + 0.03 * generator.normal(size=points.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def sheet():
    return curved(250, 0), curved(60, 1)


@pytest.fixture(scope="module")
def made(sheet):
    return make_map(sheet[0], method="kernel")


def variance(truth, found, mean):
    return 1 - np.sum((truth - found) ** 2) / np.sum((truth - mean) ** 2)


def test_it_unrolls_a_sheet_and_gives_unseen_points_back(sheet, made):
    known, unseen = sheet
    linear = make_map(known, method="pca")
    shares = {}
    for name, each in (("kernel", made), ("pca", linear)):
        shares[name] = variance(unseen, each.inverse(place_sounds(each, unseen))[0], known.mean(0))
    assert shares["kernel"] > 0.97
    assert shares["pca"] < 0.92
    flat, rolled_out = (trustworthiness(known, x, n_neighbors=10) for x in (pca_map(known).points, made.coordinates))
    assert rolled_out > 0.98 > flat


def test_a_library_sound_gives_back_its_own_latent(sheet, made):
    latents, distances = made.inverse(made.coordinates)
    np.testing.assert_array_equal(latents, sheet[0])
    np.testing.assert_array_equal(distances, 0.0)
    assert made.coordinates.min() == 0.0
    assert made.coordinates.max() == 1.0


@pytest.mark.slow
def test_it_is_repeatable():
    few = curved(40, 3)
    done = []
    first = kernel_map(few, steps=60, progress=done.append).points
    assert done == [50, 10]
    np.testing.assert_array_equal(first, kernel_map(few, steps=60).points)
    assert not np.array_equal(first, kernel_map(few, steps=60, neighborhood=0.0).points)


def test_neighbor_weights_have_the_perplexity_asked_for():
    latents = curved(100, 4)
    weights, near = neighbor_weights(latents, 10.0)
    np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-5)
    entropy = -np.sum(weights * np.log(np.maximum(weights, 1e-30)), axis=1)
    np.testing.assert_allclose(np.exp(entropy), 10.0, rtol=1e-2)
    assert (near != np.arange(100)[:, None]).all()
    # Doubles are each other's nearest, and nobody his own.
    weights, near = neighbor_weights(np.repeat(latents[:20], 3, axis=0), 5.0)
    assert (near != np.arange(60)[:, None]).all()
    assert np.isfinite(weights).all()


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_few_sounds_have_a_map(count):
    latents = curved(count, 5)
    made = make_map(latents, method="kernel")
    assert made.coordinates.shape == (count, 2)
    np.testing.assert_array_equal(made.inverse(made.coordinates)[0], latents)


def test_equal_sounds_share_one_place():
    made = make_map(np.ones((12, 4)), method="kernel")
    np.testing.assert_array_equal(made.coordinates, 0.5)
    assert made.inverse.shared == {0: list(range(1, 12))}
    np.testing.assert_allclose(made.inverse([[0.1, 0.9]])[0], np.ones((1, 4)), rtol=1e-6)
