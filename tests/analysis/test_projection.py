"""Maps: PCA against scikit-learn, t-SNE by what it has to keep; neighbors in a space."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from tests.helpers.planted import fitted_space, planted_notes
from timbre_jax.analysis.neighbors import SoundIndex, name_by_neighbors
from timbre_jax.analysis.projection import pca_map, tsne_map
from timbre_jax.metrics.knn import Neighbors, nearest_neighbors

LATENTS = np.random.default_rng(0).standard_normal((80, 5)) * [5, 1, 3, 0.1, 0.5] + 7


def test_pca_equals_scikit_learn_up_to_sign():
    found, theirs = pca_map(LATENTS), PCA(2).fit(LATENTS)
    np.testing.assert_allclose(np.abs(found.points), np.abs(theirs.transform(LATENTS)), atol=1e-9)
    np.testing.assert_allclose(found.explained, theirs.explained_variance_ratio_, rtol=1e-9)
    back = found.points @ found.axes["directions"] + found.axes["mean"]
    np.testing.assert_allclose(back, theirs.inverse_transform(theirs.transform(LATENTS)), atol=1e-9)


def test_one_dimension_and_no_variance_have_maps_too():
    assert np.abs(pca_map(LATENTS[:, :1]).points[:, 1]).max() == 0
    assert np.abs(tsne_map(np.ones((20, 3))).points).max() == 0


def test_tsne_keeps_clusters_and_is_repeatable():
    centers = np.repeat(np.eye(4) * 30, 15, axis=0)
    latents = centers + np.random.default_rng(1).standard_normal(centers.shape)
    found = tsne_map(latents, iterations=300)
    assert found.settings["perplexity"] == pytest.approx(59 / 3)
    near = nearest_neighbors(found.points, found.points, k=6).indices[:, 1:]
    same = np.arange(60)[:, None] // 15 == near // 15
    assert same.mean() > 0.95
    np.testing.assert_array_equal(found.points, tsne_map(latents, iterations=300).points)


def test_tsne_takes_a_part_of_a_large_set():
    found = tsne_map(LATENTS, most=30, iterations=250)
    assert found.points.shape == (30, 2)
    assert len(set(found.rows)) == 30
    with pytest.raises(ValueError, match="at least 5 sounds, not 4"):
        tsne_map(LATENTS[:4])


def test_an_index_finds_what_the_plain_search_finds():
    space = fitted_space(planted_notes(30), latent_size=4).replace(statistics={"latent_std": np.array([1.0, 2.0, 0.5, 0.0])})
    generator = np.random.default_rng(0)
    known, queries = generator.normal(size=(500, 4)), generator.normal(size=(20, 4))
    known[7] = known[3]
    queries[0] = known[7]
    scale = np.array([1.0, 2.0, 0.5, np.inf])  # in training deviations, and a latent that does not vary counts nothing
    found, plain = SoundIndex.of(space, known).search(queries, k=6), nearest_neighbors(known / scale, queries / scale, k=6)
    np.testing.assert_array_equal(found.indices, plain.indices)
    np.testing.assert_allclose(found.distances, plain.distances, atol=1e-5)
    assert found.indices[0, :2].tolist() == [3, 7]
    with pytest.raises(ValueError, match="between 1"):
        SoundIndex.of(space, known).search(queries, k=501)
    with pytest.raises(ValueError, match="finite latents"):
        SoundIndex.of(space, np.full((3, 4), np.nan))


def test_a_name_is_the_most_frequent_and_of_equals_the_nearest():
    labels = np.array(["kick", "snare", "tom", "snare", "kick"])
    near = Neighbors(np.array([[0, 1, 3], [2, 1, 0], [1, 0, 4]]), np.zeros((3, 3)))
    names, agreement = name_by_neighbors(labels, near)
    assert names.tolist() == ["snare", "tom", "kick"]
    np.testing.assert_allclose(agreement, [2 / 3, 1 / 3, 2 / 3])
