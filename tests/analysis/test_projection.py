"""Tests of projections against scikit-learn and of nearest-neighbor search."""

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
    result, theirs = pca_map(LATENTS), PCA(2).fit(LATENTS)
    np.testing.assert_allclose(np.abs(result.points), np.abs(theirs.transform(LATENTS)), atol=1e-9)
    np.testing.assert_allclose(result.explained, theirs.explained_variance_ratio_, rtol=1e-9)
    inverse = result.points @ result.axes["directions"] + result.axes["mean"]
    np.testing.assert_allclose(inverse, theirs.inverse_transform(theirs.transform(LATENTS)), atol=1e-9)


def test_latents_of_one_dimension_or_without_variance_are_projected():
    assert np.abs(pca_map(LATENTS[:, :1]).points[:, 1]).max() == 0
    assert np.abs(tsne_map(np.ones((20, 3))).points).max() == 0


def test_tsne_preserves_clusters_and_is_repeatable():
    centers = np.repeat(np.eye(4) * 30, 15, axis=0)
    latents = centers + np.random.default_rng(1).standard_normal(centers.shape)
    result = tsne_map(latents, iterations=300)
    assert result.settings["perplexity"] == pytest.approx(59 / 3)
    near = nearest_neighbors(result.points, result.points, k=6).indices[:, 1:]
    same = np.arange(60)[:, None] // 15 == near // 15
    assert same.mean() > 0.95
    np.testing.assert_array_equal(result.points, tsne_map(latents, iterations=300).points)


def test_tsne_projects_a_subset_of_many_sounds():
    result = tsne_map(LATENTS, most=30, iterations=250)
    assert result.points.shape == (30, 2)
    assert len(set(result.rows)) == 30
    with pytest.raises(ValueError, match="at least 5 sounds \\(got 4\\)"):
        tsne_map(LATENTS[:4])


def test_index_search_equals_exact_search():
    space = fitted_space(planted_notes(30), latent_size=4).replace(statistics={"latent_std": np.array([1.0, 2.0, 0.5, 0.0])})
    generator = np.random.default_rng(0)
    known, queries = generator.normal(size=(500, 4)), generator.normal(size=(20, 4))
    known[7] = known[3]
    queries[0] = known[7]
    scale = np.array([1.0, 2.0, 0.5, np.inf])
    indexed, exact = SoundIndex.of(space, known).search(queries, k=6), nearest_neighbors(known / scale, queries / scale, k=6)
    np.testing.assert_array_equal(indexed.indices, exact.indices)
    np.testing.assert_allclose(indexed.distances, exact.distances, atol=1e-5)
    assert indexed.indices[0, :2].tolist() == [3, 7]
    with pytest.raises(ValueError, match="between 1"):
        SoundIndex.of(space, known).search(queries, k=501)
    with pytest.raises(ValueError, match="must be finite"):
        SoundIndex.of(space, np.full((3, 4), np.nan))


def test_most_frequent_neighbor_label_wins_and_ties_go_to_the_nearest():
    labels = np.array(["kick", "snare", "tom", "snare", "kick"])
    near = Neighbors(np.array([[0, 1, 3], [2, 1, 0], [1, 0, 4]]), np.zeros((3, 3)))
    names, agreement = name_by_neighbors(labels, near)
    assert names.tolist() == ["snare", "tom", "kick"]
    np.testing.assert_allclose(agreement, [2 / 3, 1 / 3, 2 / 3])
