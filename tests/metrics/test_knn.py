"""Tests of neighbors and kNN accuracy against scikit-learn, and of edge cases."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from timbre_jax.metrics.knn import Neighbors, nearest_neighbors, neighbor_accuracy, standardize, vote


def test_neighbors_equal_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    points, queries = generator.standard_normal((300, 5)) * [1, 100, 1e-3, 5, 1], generator.standard_normal((70, 5))
    result = nearest_neighbors(points, queries, k=7, chunk=32)
    distances, indices = NearestNeighbors(n_neighbors=7, algorithm="brute").fit(points).kneighbors(queries)
    np.testing.assert_array_equal(result.indices, indices)
    np.testing.assert_allclose(result.distances, distances, rtol=1e-9)


def test_order_of_neighbors_is_exact_far_from_the_origin():
    points = np.array([[0.0], [1e-3], [2e-3], [5e-3]]) + 1e6
    result = nearest_neighbors(points, np.array([[1e6 + 2.1e-3]]), k=3)
    assert result.indices.tolist() == [[2, 1, 0]]


def test_accuracy_equals_that_of_scikit_learn():
    generator = np.random.default_rng(1)
    labels = np.array(["reed", "flute", "bass"])[np.arange(180) % 3]
    points = generator.standard_normal((180, 4)) + 1.2 * (np.arange(180) % 3)[:, None] * [1, 0, 0, 30]
    train, test = slice(0, 120), slice(120, 180)
    result = neighbor_accuracy(points[train], labels[train], points[test], labels[test], k=1)
    scaled, queries = standardize(points[train], points[test])
    theirs = KNeighborsClassifier(1).fit(scaled, labels[train])
    assert result.accuracy == pytest.approx(theirs.score(queries, labels[test]))
    assert (result.predicted == theirs.predict(queries)).all()
    assert result.accuracy > 0.6
    assert result.baseline == pytest.approx(1 / 3)
    assert result.confusion.sum() == 60
    assert np.trace(result.confusion) == result.correct.sum()


def test_tied_votes_go_to_the_nearest_neighbor():
    near = Neighbors(np.array([[3, 0, 1, 2]]), np.array([[0.1, 0.2, 0.3, 0.4]]))
    assert vote(near, np.array(["a", "a", "b", "b"]))[0] == "b"
    assert vote(near, np.array(["a", "a", "a", "b"]))[0] == "a"


def test_constant_space_scores_the_baseline():
    labels = np.array(["b", "b", "a", "b", "c"])
    result = neighbor_accuracy(np.zeros((5, 2)), labels, np.zeros((4, 2)), np.array(["a", "b", "b", "c"]))
    assert result.accuracy == result.baseline == 0.5


def test_k_out_of_range_is_rejected():
    with pytest.raises(ValueError, match="k=4: must be from 1 to the number of points, 3"):
        nearest_neighbors(np.zeros((3, 1)), np.zeros((1, 1)), k=4)
