"""Nearest neighbors of points, and kNN accuracy of class labels."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Neighbors:
    """Nearest neighbors of queries, nearest first.

    Attributes:
      indices: [Q, k] int.
      distances: [Q, k], Euclidean.
    """

    indices: np.ndarray
    distances: np.ndarray


def nearest_neighbors(points: np.ndarray, queries: np.ndarray, *, k: int = 5, chunk: int = 1024) -> Neighbors:
    """Finds the k nearest points of each query by exact Euclidean distance.

    Ties go to the lower index.

    Args:
      points: [P, D] points.
      queries: [Q, D] points.
      k: number of neighbors, 1 to P.
      chunk: number of queries that are compared at once.

    Raises:
      ValueError: k is out of range.
    """
    points, queries = np.asarray(points, np.float64), np.asarray(queries, np.float64)
    if not 1 <= k <= len(points):
        raise ValueError(f"k={k}: must be from 1 to the number of points, {len(points)}")
    indices, distances = [], []
    for start in range(0, len(queries), chunk):
        query = queries[start : start + chunk]
        distance = square_distances(query, points)
        # Distances of the best candidates are computed again without the matrix product, whose rounding could change the order.
        candidates = np.sort(
            np.argpartition(distance, min(k + 8, len(points)) - 1, axis=1)[:, : min(k + 8, len(points))], axis=1
        )
        exact = np.linalg.norm(query[:, None, :] - points[candidates], axis=2)
        order = np.argsort(exact, axis=1, kind="stable")[:, :k]
        indices.append(np.take_along_axis(candidates, order, 1))
        distances.append(np.take_along_axis(exact, order, 1))
    return Neighbors(np.concatenate(indices), np.concatenate(distances))


def square_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Computes squared Euclidean distances [N, M] of points x [N, D] to points y [M, D].

    They are computed with one matrix product, whose rounding limits their accuracy.
    """
    return np.maximum(np.sum(x**2, axis=1)[:, None] + np.sum(y**2, axis=1) - 2.0 * x @ y.T, 0.0)


def standardize(points: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """Scales points, and other arrays alike, to mean 0 and deviation 1 of the points."""
    mean, scale = mean_and_scale(points)
    return tuple((np.asarray(values, np.float64) - mean) / scale for values in (points, *others))


def mean_and_scale(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and deviation of points [P, D]; the deviation of a constant is inf."""
    points = np.asarray(points, np.float64)
    mean, deviation = points.mean(0), points.std(0)
    return mean, np.where(deviation > 1e-9 * np.maximum(np.abs(mean), 1e-6), deviation, np.inf)


def vote(neighbors: Neighbors, labels: np.ndarray) -> np.ndarray:
    """Returns the most frequent label among neighbors; ties go to the nearest neighbor.

    Args:
      neighbors: neighbors of Q queries.
      labels: [P] labels of the points, of any type.

    Returns:
      [Q] labels.
    """
    classes, ids = np.unique(np.asarray(labels), return_inverse=True)
    near = ids[neighbors.indices]
    counts = np.zeros((len(near), len(classes)))
    # Ties are decided by a small term that is larger than those of all farther neighbors together.
    weight = 1.0 + 1e-3 * 0.5 ** np.arange(near.shape[1])
    for position in range(near.shape[1]):
        counts[np.arange(len(near)), near[:, position]] += weight[position]
    return classes[counts.argmax(1)]


@dataclasses.dataclass(frozen=True)
class NeighborAccuracy:
    """Accuracy of predicted labels, with its baseline.

    Attributes:
      correct: [Q], 1 where the predicted label is right, else 0.
      accuracy: mean of `correct`.
      baseline: accuracy of always predicting the most frequent training label.
      predicted: [Q] labels.
      classes: [C] labels.
      confusion: [C, C] counts; rows are the true labels.
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
    """Computes the kNN accuracy of class labels.

    The k nearest training points predict the label of each point. Dimensions are scaled to unit deviation over the training
    points.

    Args:
      train_points: [P, D] training points.
      train_labels: [P] labels of the training points.
      points: [Q, D] points to classify.
      labels: [Q] true labels of the points.
      k: number of neighbors; P if it is larger.
    """
    train, queries = standardize(train_points, points)
    labels, train_labels = np.asarray(labels), np.asarray(train_labels)
    if np.all(train == train[0]):
        # All distances are 0 and the neighbors arbitrary, so the most frequent class is predicted.
        names, counts = np.unique(train_labels, return_counts=True)
        predicted = np.full(len(labels), names[counts.argmax()])
    else:
        predicted = vote(nearest_neighbors(train, queries, k=min(k, len(train))), train_labels)
    return label_accuracy(predicted, labels, train_labels)


def label_accuracy(predicted: np.ndarray, labels: np.ndarray, train_labels: np.ndarray) -> NeighborAccuracy:
    """Computes the accuracy of predicted labels.

    Args:
      predicted: [Q] labels.
      labels: [Q] true labels.
      train_labels: [P]; the baseline predicts the most frequent of them.
    """
    correct = (predicted == labels).astype(np.float64)
    names, counts = np.unique(train_labels, return_counts=True)
    classes = np.unique(np.concatenate([labels, train_labels]))
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (np.searchsorted(classes, labels), np.searchsorted(classes, predicted)), 1)
    return NeighborAccuracy(
        correct, float(correct.mean()), float(np.mean(labels == names[counts.argmax()])), predicted, classes, confusion
    )
