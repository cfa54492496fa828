"""Distributions, classes and ranges against matplotlib's and numpy's own, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.cbook import boxplot_stats

from timbre_jax.analysis.statistics import active_latents, box_plot, class_statistics, range_classes

LATENTS = np.random.default_rng(0).standard_t(2, (200, 3)) * [1, 5, 0.2] + [0, 3, -1]


def test_box_plot_equals_matplotlib():
    found = box_plot(LATENTS)
    for d, theirs in enumerate(boxplot_stats(LATENTS)):
        assert found.median[d] == pytest.approx(theirs["med"])
        assert found.quartile_low[d] == pytest.approx(theirs["q1"])
        assert found.quartile_high[d] == pytest.approx(theirs["q3"])
        assert found.whisker_low[d] == pytest.approx(theirs["whislo"])
        assert found.whisker_high[d] == pytest.approx(theirs["whishi"])
        assert sorted(found.outliers[d]) == pytest.approx(sorted(theirs["fliers"]))
    assert found.table().column("outliers") == [len(x) for x in found.outliers]


def test_class_statistics_and_separation():
    labels = np.array(["b", "a", "a", "b", "b"])
    latents = np.array([[1.0, 0.0], [5.0, 1.0], [5.0, -1.0], [1.0, 2.0], [1.0, -2.0]])
    found = class_statistics(latents, labels)
    assert found.classes.tolist() == ["a", "b"]
    assert found.counts.tolist() == [2, 3]
    np.testing.assert_allclose(found.mean, [[5, 0], [1, 0]])
    np.testing.assert_allclose(found.deviation, [[0, 1], [0, np.std([0, 2, -2])]])
    np.testing.assert_allclose(found.separation, [1.0, 0.0])
    assert np.isnan(class_statistics(np.ones((5, 1)), labels).separation).all()
    with pytest.raises(ValueError, match=r"labels are \[5\]"):
        class_statistics(latents, labels[:4])


def test_ranges_point_to_the_class_that_lies_there():
    latents = np.arange(100.0)[:, None]
    labels = np.where(np.arange(100) < 20, "low", np.where(np.arange(100) < 80, "mid", "high"))
    found = range_classes(latents, labels, bins=5)
    classes = found.classes.tolist()
    assert found.counts.tolist() == [[20] * 5]
    assert found.probability[0, 0, classes.index("low")] == 1
    assert found.lift[0, 0, classes.index("low")] == pytest.approx(5.0)
    assert found.probability[0, 4, classes.index("high")] == 1
    np.testing.assert_allclose(found.probability.sum(-1), 1)
    np.testing.assert_allclose(found.prior.sum(), 1)
    assert found.table().rows[0][-1] == "low 100 % (x5.0)"


def test_every_note_is_counted_once_also_with_equal_values():
    latents = np.round(LATENTS)
    found = range_classes(latents, np.arange(200) % 4, bins=5)
    np.testing.assert_array_equal(found.counts.sum(1), 200)
    # P(class | range) averaged over ranges by their counts is P(class): Bayes' theorem backwards.
    back = (found.probability * found.counts[..., None]).sum(1) / 200
    np.testing.assert_allclose(back, np.broadcast_to(found.prior, back.shape))


def test_active_latents():
    latents = np.stack([np.full(50, 3.0), np.linspace(-1, 1, 50), np.linspace(-0.01, 0.01, 50)], axis=1)
    assert active_latents(latents).tolist() == [False, True, False]


def test_latents_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\[M, D\].*\(4,\)"):
        box_plot(np.zeros(4))
