"""Nearest neighbors among points, and kNN accuracy: how often they have the class (family) of a point."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Neighbors:
    """Nearest neighbors of each query, nearest first: indices int [Q, k] and Euclidean distances [Q, k]."""

    indices: np.ndarray
    distances: np.ndarray


def nearest_neighbors(points: np.ndarray, queries: np.ndarray, *, k: int = 5, chunk: int = 1024) -> Neighbors:
    """Returns the exact Euclidean neighbors of queries [Q, D] among points [P, D]; of equally near ones the lower index.

    Raises:
      ValueError: k is not between 1 and P.
    """
    points, queries = np.asarray(points, np.float64), np.asarray(queries, np.float64)
    if not 1 <= k <= len(points):
        raise ValueError(f"k = {k} neighbors of {len(points)} points: k is between 1 and the number of points")
    indices, distances = [], []
    for start in range(0, len(queries), chunk):
        query = queries[start : start + chunk]
        distance = square_distances(query, points)
        # The rounding of that formula must not decide the order, so the best candidates are measured again, exactly.
        few = np.sort(np.argpartition(distance, min(k + 8, len(points)) - 1, axis=1)[:, : min(k + 8, len(points))], axis=1)
        exact = np.linalg.norm(query[:, None, :] - points[few], axis=2)
        order = np.argsort(exact, axis=1, kind="stable")[:, :k]
        indices.append(np.take_along_axis(few, order, 1))
        distances.append(np.take_along_axis(exact, order, 1))
    return Neighbors(np.concatenate(indices), np.concatenate(distances))


def square_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns squared Euclidean distances [N, M] of points [N, D] to points [M, D]; exact up to the rounding of one product."""
    return np.maximum(np.sum(x**2, axis=1)[:, None] + np.sum(y**2, axis=1) - 2.0 * x @ y.T, 0.0)


def standardize(points: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns points and others, shifted and scaled by the points' mean and deviation."""
    mean, scale = mean_and_scale(points)
    return tuple((np.asarray(values, np.float64) - mean) / scale for values in (points, *others))


def mean_and_scale(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation of points [P, D]; inf where a dimension does not vary, so that it scales to 0."""
    points = np.asarray(points, np.float64)
    mean, deviation = points.mean(0), points.std(0)
    return mean, np.where(deviation > 1e-9 * np.maximum(np.abs(mean), 1e-6), deviation, np.inf)


def vote(neighbors: Neighbors, labels: np.ndarray) -> np.ndarray:
    """Returns the most frequent of the labels [P] among each query's neighbors, [Q]; ties go to the nearest of the tied."""
    classes, ids = np.unique(np.asarray(labels), return_inverse=True)
    near = ids[neighbors.indices]
    counts = np.zeros((len(near), len(classes)))
    # A neighbor counts 1, and a nearer one a trace more than all behind it together, which only decides ties.
    weight = 1.0 + 1e-3 * 0.5 ** np.arange(near.shape[1])
    for position in range(near.shape[1]):
        counts[np.arange(len(near)), near[:, position]] += weight[position]
    return classes[counts.argmax(1)]


@dataclasses.dataclass(frozen=True)
class NeighborAccuracy:
    """Accuracy of predicted classes.

    Attributes:
      correct: [Q] 0 or 1, for intervals.
      accuracy: their mean.
      baseline: accuracy of always predicting the training set's most frequent class.
      predicted: [Q] labels.
      classes: [C] names.
      confusion: counts [C, C], rows are the truth.
    """

    correct: np.ndarray
    accuracy: float
    baseline: float
    predicted: np.ndarray
    classes: np.ndarray
    confusion: np.ndarray


def neighbor_accuracy(
    train_points: np.ndarray, train_labels: np.ndarray, points: np.ndarray, labels: np.ndarray, *, k: int = 5
) -> NeighborAccuracy:
    """Returns how often the k nearest training points have a point's class, distances in training standard deviations."""
    train, queries = standardize(train_points, points)
    labels, train_labels = np.asarray(labels), np.asarray(train_labels)
    if np.all(train == train[0]):
        # All distances are 0, so neighbors would be an accident of order: the most frequent class is predicted.
        names, counts = np.unique(train_labels, return_counts=True)
        predicted = np.full(len(labels), names[counts.argmax()])
    else:
        predicted = vote(nearest_neighbors(train, queries, k=min(k, len(train))), train_labels)
    return accuracy_of(predicted, labels, train_labels)


def accuracy_of(predicted: np.ndarray, labels: np.ndarray, train_labels: np.ndarray) -> NeighborAccuracy:
    """Returns the accuracy of predicted labels [Q]; the baseline always predicts the most frequent of the training labels."""
    correct = (predicted == labels).astype(np.float64)
    names, counts = np.unique(train_labels, return_counts=True)
    classes = np.unique(np.concatenate([labels, train_labels]))
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (np.searchsorted(classes, labels), np.searchsorted(classes, predicted)), 1)
    return NeighborAccuracy(
        correct, float(correct.mean()), float(np.mean(labels == names[counts.argmax()])), predicted, classes, confusion
    )
