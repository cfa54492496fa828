"""Nearest neighbors among points, and kNN accuracy of class labels."""

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
    """Returns the nearest points of queries (Euclidean, exact); ties go to the lower index.

    Args:
      points: [P, D].
      queries: [Q, D].
      k: number of neighbors, 1 to P.
      chunk: queries compared at once.

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
        # The rounding of that product must not decide the order: measure the best candidates again, exactly.
        candidates = np.sort(
            np.argpartition(distance, min(k + 8, len(points)) - 1, axis=1)[:, : min(k + 8, len(points))], axis=1
        )
        exact = np.linalg.norm(query[:, None, :] - points[candidates], axis=2)
        order = np.argsort(exact, axis=1, kind="stable")[:, :k]
        indices.append(np.take_along_axis(candidates, order, 1))
        distances.append(np.take_along_axis(exact, order, 1))
    return Neighbors(np.concatenate(indices), np.concatenate(distances))


def square_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns squared Euclidean distances [N, M] of points x [N, D] to points y [M, D].

    Computed from one matrix product, whose rounding limits the accuracy.
    """
    return np.maximum(np.sum(x**2, axis=1)[:, None] + np.sum(y**2, axis=1) - 2.0 * x @ y.T, 0.0)


def standardize(points: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns points and others, shifted and scaled by mean and deviation of the points."""
    mean, scale = mean_and_scale(points)
    return tuple((np.asarray(values, np.float64) - mean) / scale for values in (points, *others))


def mean_and_scale(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and deviation of points [P, D]; inf for constants, which so scale to 0."""
    points = np.asarray(points, np.float64)
    mean, deviation = points.mean(0), points.std(0)
    return mean, np.where(deviation > 1e-9 * np.maximum(np.abs(mean), 1e-6), deviation, np.inf)


def vote(neighbors: Neighbors, labels: np.ndarray) -> np.ndarray:
    """Returns the most frequent label among neighbors; ties go to the nearest neighbor.

    Args:
      neighbors: of Q queries.
      labels: [P] of any type.

    Returns:
      [Q] labels.
    """
    classes, ids = np.unique(np.asarray(labels), return_inverse=True)
    near = ids[neighbors.indices]
    counts = np.zeros((len(near), len(classes)))
    # A neighbor counts 1 plus a small term larger than those of all farther neighbors together, which decides ties.
    weight = 1.0 + 1e-3 * 0.5 ** np.arange(near.shape[1])
    for position in range(near.shape[1]):
        counts[np.arange(len(near)), near[:, position]] += weight[position]
    return classes[counts.argmax(1)]


@dataclasses.dataclass(frozen=True)
class NeighborAccuracy:
    """Accuracy of predicted labels.

    Attributes:
      correct: [Q], 0 or 1.
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
    """Returns the kNN accuracy of class labels.

    How often the k nearest training points predict the label of a point, with each dimension scaled to unit deviation over the
    training points.

    Args:
      train_points: [P, D].
      train_labels: [P].
      points: [Q, D].
      labels: [Q].
      k: number of neighbors; at most P count.
    """
    train, queries = standardize(train_points, points)
    labels, train_labels = np.asarray(labels), np.asarray(train_labels)
    if np.all(train == train[0]):
        # All distances are 0 and neighbors arbitrary: predict the most frequent class.
        names, counts = np.unique(train_labels, return_counts=True)
        predicted = np.full(len(labels), names[counts.argmax()])
    else:
        predicted = vote(nearest_neighbors(train, queries, k=min(k, len(train))), train_labels)
    return label_accuracy(predicted, labels, train_labels)


def label_accuracy(predicted: np.ndarray, labels: np.ndarray, train_labels: np.ndarray) -> NeighborAccuracy:
    """Returns the accuracy of predicted labels.

    Args:
      predicted: [Q].
      labels: [Q], the true labels.
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
