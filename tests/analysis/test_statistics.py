"""Tests of distributions, classes and ranges against matplotlib and known values."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.cbook import boxplot_stats

from timbre_jax.analysis.statistics import active_latents, box_plot, class_statistics, range_classes

LATENTS = np.random.default_rng(0).standard_t(2, (200, 3)) * [1, 5, 0.2] + [0, 3, -1]


def test_box_plot_equals_matplotlib():
    result = box_plot(LATENTS)
    for d, theirs in enumerate(boxplot_stats(LATENTS)):
        assert result.median[d] == pytest.approx(theirs["med"])
        assert result.quartile_low[d] == pytest.approx(theirs["q1"])
        assert result.quartile_high[d] == pytest.approx(theirs["q3"])
        assert result.whisker_low[d] == pytest.approx(theirs["whislo"])
        assert result.whisker_high[d] == pytest.approx(theirs["whishi"])
        assert sorted(result.outliers[d]) == pytest.approx(sorted(theirs["fliers"]))
    assert result.table().column("outliers") == [len(x) for x in result.outliers]


def test_class_statistics_and_separation_equal_known_values():
    labels = np.array(["b", "a", "a", "b", "b"])
    latents = np.array([[1.0, 0.0], [5.0, 1.0], [5.0, -1.0], [1.0, 2.0], [1.0, -2.0]])
    result = class_statistics(latents, labels)
    assert result.classes.tolist() == ["a", "b"]
    assert result.counts.tolist() == [2, 3]
    np.testing.assert_allclose(result.mean, [[5, 0], [1, 0]])
    np.testing.assert_allclose(result.deviation, [[0, 1], [0, np.std([0, 2, -2])]])
    np.testing.assert_allclose(result.separation, [1.0, 0.0])
    assert np.isnan(class_statistics(np.ones((5, 1)), labels).separation).all()
    with pytest.raises(ValueError, match=r"labels: must be \[5\]"):
        class_statistics(latents, labels[:4])


def test_ranges_have_the_probability_and_lift_of_their_classes():
    latents = np.arange(100.0)[:, None]
    labels = np.where(np.arange(100) < 20, "low", np.where(np.arange(100) < 80, "mid", "high"))
    result = range_classes(latents, labels, bins=5)
    classes = result.classes.tolist()
    assert result.counts.tolist() == [[20] * 5]
    assert result.probability[0, 0, classes.index("low")] == 1
    assert result.lift[0, 0, classes.index("low")] == pytest.approx(5.0)
    assert result.probability[0, 4, classes.index("high")] == 1
    np.testing.assert_allclose(result.probability.sum(-1), 1)
    np.testing.assert_allclose(result.prior.sum(), 1)
    assert result.table().rows[0][-1] == "low 100 % (x5.0)"


def test_every_sound_is_counted_once_with_equal_values():
    latents = np.round(LATENTS)
    result = range_classes(latents, np.arange(200) % 4, bins=5)
    np.testing.assert_array_equal(result.counts.sum(1), 200)
    # The mean of P(class | range), weighted by the counts of the ranges, is P(class).
    total = (result.probability * result.counts[..., None]).sum(1) / 200
    np.testing.assert_allclose(total, np.broadcast_to(result.prior, total.shape))


def test_active_latents_vary():
    latents = np.stack([np.full(50, 3.0), np.linspace(-1, 1, 50), np.linspace(-0.01, 0.01, 50)], axis=1)
    assert active_latents(latents).tolist() == [False, True, False]


def test_latents_of_another_shape_are_an_error():
    with pytest.raises(ValueError, match=r"\[M, D\].*\(4,\)"):
        box_plot(np.zeros(4))
