"""Neighbors against scikit-learn, and what the accuracy says at its edges."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from timbre_jax.metrics.knn import Neighbors, nearest_neighbors, neighbor_accuracy, standardize, vote


def test_neighbors_equal_scikit_learn():
    generator = np.random.default_rng(0)
    points, queries = generator.standard_normal((300, 5)) * [1, 100, 1e-3, 5, 1], generator.standard_normal((70, 5))
    found = nearest_neighbors(points, queries, k=7, chunk=32)
    distances, indices = NearestNeighbors(n_neighbors=7, algorithm="brute").fit(points).kneighbors(queries)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-9)


def test_a_far_away_cloud_does_not_lose_the_order_to_rounding():
    points = np.array([[0.0], [1e-3], [2e-3], [5e-3]]) + 1e6
    found = nearest_neighbors(points, np.array([[1e6 + 2.1e-3]]), k=3)
    assert found.indices.tolist() == [[2, 1, 0]]


def test_accuracy_equals_scikit_learn_on_standardized_points():
    generator = np.random.default_rng(1)
    labels = np.array(["reed", "flute", "bass"])[np.arange(180) % 3]
    points = generator.standard_normal((180, 4)) + 1.2 * (np.arange(180) % 3)[:, None] * [1, 0, 0, 30]
    train, test = slice(0, 120), slice(120, 180)
    found = neighbor_accuracy(points[train], labels[train], points[test], labels[test], k=1)
    scaled, queries = standardize(points[train], points[test])
    theirs = KNeighborsClassifier(1).fit(scaled, labels[train])
    assert found.accuracy == pytest.approx(theirs.score(queries, labels[test]))
    assert (found.predicted == theirs.predict(queries)).all()
    assert found.accuracy > 0.6
    assert found.baseline == pytest.approx(1 / 3)
    assert found.confusion.sum() == 60
    assert np.trace(found.confusion) == found.correct.sum()


def test_votes_tied_go_to_the_nearest():
    near = Neighbors(np.array([[3, 0, 1, 2]]), np.array([[0.1, 0.2, 0.3, 0.4]]))
    assert vote(near, np.array(["a", "a", "b", "b"]))[0] == "b"
    assert vote(near, np.array(["a", "a", "a", "b"]))[0] == "a"


def test_a_space_that_says_nothing_scores_its_floor():
    labels = np.array(["b", "b", "a", "b", "c"])
    found = neighbor_accuracy(np.zeros((5, 2)), labels, np.zeros((4, 2)), np.array(["a", "b", "b", "c"]))
    assert found.accuracy == found.baseline == 0.5


def test_k_is_checked():
    with pytest.raises(ValueError, match="k = 4 neighbors of 3 points"):
        nearest_neighbors(np.zeros((3, 1)), np.zeros((1, 1)), k=4)
