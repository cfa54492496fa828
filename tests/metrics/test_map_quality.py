"""Tests of map quality against scikit-learn, and on known maps."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from timbre_jax.metrics.map_quality import map_accuracy, variance_kept


def points(count: int = 90, size: int = 6, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, size))


def test_map_accuracy_equals_leave_one_out_in_scikit_learn():
    places = points(120, 2)
    labels = np.where(places[:, 0] + 0.5 * points(120, 1, seed=2)[:, 0] > 0, "kick", "snare")
    scaled = (places - places.mean(0)) / places.std(0)
    result = map_accuracy(places, labels)
    for i in range(0, 120, 7):
        rest = np.arange(120) != i
        assert result.predicted[i] == KNeighborsClassifier(5).fit(scaled[rest], labels[rest]).predict(scaled[i : i + 1])[0]
    assert result.accuracy == np.mean(result.predicted == labels)
    assert result.baseline == max(np.mean(labels == "kick"), np.mean(labels == "snare"))
    # Of several sounds at one place, the others are neighbors, not the sound itself.
    same = map_accuracy(np.full((8, 2), 3.0), np.array(list("abababab")), k=3)
    assert len(same.predicted) == 8


def test_variance_kept_equals_that_of_known_round_trips():
    z = points(400, 3)
    assert variance_kept(z, z).value == 1.0
    assert variance_kept(z, np.repeat(z.mean(0)[None], 400, 0)).value == pytest.approx(0.0)
    first = z.copy()
    first[:, 2] = z[:, 2].mean()
    share = variance_kept(z, first, groups=np.arange(400) // 10)
    assert share.value == pytest.approx(1 - z[:, 2].var() / z.var(0).sum())
    assert share.low < share.value < share.high
    assert share.groups == 40
    assert variance_kept(z, -z, mean=np.zeros(3)).value == pytest.approx(-3.0)


def test_different_shapes_are_rejected():
    with pytest.raises(ValueError, match="of one shape"):
        variance_kept(points(), points(size=5))
    with pytest.raises(ValueError, match="must be finite"):
        variance_kept(points(), points() * np.nan)
