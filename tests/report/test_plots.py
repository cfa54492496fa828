"""Tests that figures contain their data, as read from the axes."""

from __future__ import annotations

import numpy as np
import pytest

from timbre_jax.analysis.statistics import box_plot, range_classes
from timbre_jax.report import plots

LATENTS = np.random.default_rng(0).standard_normal((60, 3))


def test_bars_have_their_values_and_intervals():
    values, low, high = np.array([1.0, 2.0]), np.array([0.5, 1.9]), np.array([1.2, np.nan])
    figure = plots.bars([("a", values, low, high), ("b", values, None, None)], lines=[(1, 1.5, "all")])
    heights = [[bar.get_height() for bar in axes.containers[-1]] for axes in figure.axes]
    assert heights == [[1.0, 2.0], [1.0, 2.0]]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["a", "b"]


def test_box_plot_has_a_box_for_every_latent():
    figure = plots.distribution(box_plot(LATENTS))
    assert len(figure.axes[0].patches) == 3


def test_curves_and_heatmap_contain_their_values():
    x, y = np.array([10.0, 20.0]), np.array([[1.0, 2.0], [3.0, 5.0]])
    figure = plots.curves([("a", "x", x, y), ("b", "x", x, 2 * y)])
    assert [line.get_ydata().tolist() for line in figure.axes[1].lines] == [[2.0, 4.0], [6.0, 10.0]]
    matrix = np.array([[0.5, np.nan], [-1.0, 0.25]])
    heat = plots.heatmap(matrix, ["r1", "r2"], ["c1", "c2"])
    assert [text.get_text() for text in heat.axes[0].texts] == ["0.50", "", "-1.00", "0.25"]
    np.testing.assert_array_equal(heat.axes[0].images[0].get_array().filled(np.nan), matrix)


def test_images_have_horizontal_time_and_the_first_feature_at_the_bottom():
    image = np.linspace(0, 1, 12).reshape(4, 3)
    figure = plots.images([("a", image)], seconds=4.0)
    shown = figure.axes[0].images[0]
    np.testing.assert_array_equal(shown.get_array(), image.T)
    assert shown.origin == "lower"
    assert tuple(shown.get_extent()[:2]) == (0, 4.0)


def test_ranges_sum_to_100_percent():
    figure = plots.ranges(range_classes(LATENTS, np.arange(60) % 4))
    tops = {}
    for bar in figure.axes[0].patches:
        tops[round(bar.get_x(), 3)] = bar.get_y() + bar.get_height()
    assert list(tops.values()) == pytest.approx([100] * 5)


def test_maps_contain_every_point_once(tmp_path):
    labels = np.array(["a", "b", "c"])[np.arange(60) % 3]
    whole = ("m", LATENTS[:, :2], np.arange(60))
    figure = plots.scatter([whole, ("part", LATENTS[:10, :2], np.arange(10))], labels)
    assert sum(len(c.get_offsets()) for c in figure.axes[0].collections) == 60
    assert sum(len(c.get_offsets()) for c in figure.axes[1].collections) == 10
    colored = plots.scatter([whole], labels, colors=np.arange(60.0), color_label="pitch")
    assert len(colored.axes[0].collections[0].get_offsets()) == 60
    data = plots.save_png(figure, tmp_path / "new" / "map.png")
    assert data.startswith(b"\x89PNG")
    assert (tmp_path / "new" / "map.png").read_bytes() == data


def test_class_names_of_any_kind_are_drawn_as_text(tmp_path):
    names = np.array(["$\\frac{$", "x" * 5000])
    figure = plots.scatter([("m", LATENTS[:, :2], np.arange(60))], names[np.arange(60) % 2])
    assert plots.save_png(figure, tmp_path / "map.png")
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["$\\frac{$", "x" * 23 + "…"]


def test_style_of_the_caller_is_unchanged():
    import matplotlib

    before = matplotlib.rcParams["font.size"]
    plots.distribution(box_plot(LATENTS))
    assert matplotlib.rcParams["font.size"] == before
