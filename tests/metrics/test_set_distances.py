"""Tests of Fréchet and kernel distances on sets with known values."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from timbre_jax.metrics.set_distances import MAXIMUM_FEATURES, frechet_distance, kernel_distance


def normal(count: int, size: int = 4, *, seed: int = 0, mean: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return mean + scale * np.random.default_rng(seed).normal(size=(count, size))


def test_frechet_distance_equals_closed_form():
    mixing = np.random.default_rng(5).normal(size=(4, 4))
    a, b = normal(3000), normal(2500, seed=1, mean=0.5) @ mixing
    covariance = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(covariance[0] @ covariance[1]).real
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(covariance[0] + covariance[1] - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(a, a + 2.0) == pytest.approx(16.0)
    # Finite even with a constant feature and fewer points than features.
    assert np.isfinite(frechet_distance(np.pad(normal(3), ((0, 0), (0, 1))), np.pad(normal(3, seed=1), ((0, 0), (0, 1)))))


def test_kernel_distance_equals_unbiased_estimate():
    a, b = normal(40), normal(30, seed=1, mean=0.4)
    width = np.median([np.sum((u - v) ** 2) for i, u in enumerate(a) for v in a[i + 1 :]])

    def kernel(u, v):
        return np.exp(-np.sum((u - v) ** 2) / (2 * width))

    within = [np.mean([kernel(u, v) for i, u in enumerate(z) for j, v in enumerate(z) if i != j]) for z in (a, b)]
    expected = sum(within) - 2 * np.mean([kernel(u, v) for u in a for v in b])
    result = kernel_distance(a, b, chunk=7)
    assert result.value == pytest.approx(expected, rel=1e-9)
    assert result.low < result.value < result.high
    assert result.groups == 30


def test_interval_of_equal_distributions_covers_zero():
    inside, width, values = [], [], []
    for seed in range(60):
        result = kernel_distance(normal(80, seed=2 * seed), normal(60, seed=2 * seed + 1))
        inside.append(result.low <= 0.0 <= result.high)
        width.append((result.high - result.low) / 2)
        values.append(result.value)
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(60)
    assert np.mean(inside) > 0.85
    far = kernel_distance(normal(80), normal(60, seed=1, mean=0.6))
    assert far.low > max(values)


def test_correlated_groups_widen_the_interval():
    names = np.repeat(np.arange(20), 6)
    places = np.random.default_rng(0).normal(size=(20, 4))[names]
    a, b = places + 0.1 * normal(120), normal(100, seed=3)
    alone, grouped = kernel_distance(a, b), kernel_distance(a, b, groups_a=names)
    assert grouped.value == alone.value
    assert grouped.groups == 20
    assert grouped.high - grouped.low > 1.5 * (alone.high - alone.low)
    assert np.isnan(kernel_distance(a, b, groups_a=np.zeros(120)).low)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (normal(5), normal(5, 3), r"\(5, 4\) and \(5, 3\)"),
        (normal(1), normal(5), "at least two points"),
        (np.full((5, 4), np.inf), normal(5), "must be finite"),
        (normal(5, MAXIMUM_FEATURES + 1), normal(5, MAXIMUM_FEATURES + 1), "at most 256"),
    ],
)
def test_wrong_input_is_rejected(distance, a, b, message):
    with pytest.raises(ValueError, match=message):
        distance(a, b)
