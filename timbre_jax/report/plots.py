"""Figures of arrays and records: every function returns a matplotlib `Figure`.

matplotlib is imported where it is used and without pyplot, so that there is no window and no global state.
"""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8f98",
    "axes.labelcolor": "#3a3f47",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8eb",
    "grid.linewidth": 0.8,
    "xtick.color": "#3a3f47",
    "ytick.color": "#3a3f47",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "text.parse_math": False,
}
MAIN, SECOND, THIRD, FAINT = "#2f6db3", "#e08a2e", "#4a9d6f", "#b9bec6"
SEQUENCE = ("#2f6db3", "#e08a2e", "#4a9d6f", "#c94f4f", "#8a63b8", "#8c6d46", "#d671ad", "#6f7780", "#a8a830", "#35a7b5")
CLASS_COLORS = (*SEQUENCE, "#1d3557", "#f2b880", "#9ad1b1", "#f0a3a3", "#c8b3e0", "#cdb79e", "#f3c1df", "#c3c8cf")
IMAGE, DIVERGING = "magma", "RdBu_r"
PAGE_WIDTH = 9.3
"""Largest width of a figure in inches, at which a page shows it without scaling."""


def styled(draw: Callable) -> Callable:
    """Decorates a drawing function to use `STYLE` and keep the settings of the caller."""

    @functools.wraps(draw)
    def wrapper(*args, **kwargs):
        import matplotlib

        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapper


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options):
    """Returns a figure of a size in inches and its axes [rows, columns]."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def panel_grid(count: int, columns: int, *, width: float, height: float, margin: tuple[float, float], **options):
    """Creates a figure with panels in rows.

    Args:
      count: number of panels.
      columns: panels in a row; fewer if there are fewer panels.
      width: width of a panel in inches.
      height: height of a panel in inches.
      margin: additional width and height of the figure in inches.
      **options: arguments of `matplotlib.figure.Figure.subplots`.

    Returns:
      The figure, the axes of its panels in a list, and all axes [rows, columns]; unused ones are hidden.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    figure, axes = new_figure(width * columns + margin[0], height * rows + margin[1], rows, columns, **options)
    for ax in axes.flat[count:]:
        ax.set_visible(False)
    return figure, list(axes.flat[:count]), axes


def color_bar(figure, shown, axes, *, label: str = "", **options) -> None:
    """Adds a color bar without a frame."""
    bar = figure.colorbar(shown, ax=axes, label=label, **options)
    bar.outline.set_visible(False)


def shortened(text: str, most: int = 24) -> str:
    """Returns a name cut to `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def save_png(figure, path: str | os.PathLike, *, dpi: int = 110) -> bytes:
    """Writes the figure and returns its PNG, for a page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(buffer.getvalue())
    return buffer.getvalue()


@styled
def distribution(box, *, title: str = "Distribution of the latents"):
    """Draws a `statistics.BoxPlot`."""
    size = len(box.median)
    figure, axes = new_figure(min(max(6.0, 0.75 * size + 1.5), PAGE_WIDTH), 3.6)
    ax = axes[0, 0]
    boxes = [
        {"med": m, "q1": a, "q3": b, "whislo": low, "whishi": high, "fliers": out}
        for m, a, b, low, high, out in zip(
            box.median, box.quartile_low, box.quartile_high, box.whisker_low, box.whisker_high, box.outliers, strict=True
        )
    ]
    ax.bxp(
        boxes,
        positions=np.arange(size),
        widths=0.55,
        patch_artist=True,
        boxprops={"facecolor": "#cfe0f3", "edgecolor": MAIN},
        medianprops={"color": "#c94f4f", "linewidth": 1.8},
        whiskerprops={"color": MAIN},
        capprops={"color": MAIN},
        flierprops={"marker": ".", "markersize": 3, "markeredgecolor": FAINT},
    )
    ax.set(title=title, xlabel="latent", ylabel="value", xticks=np.arange(size), xticklabels=np.arange(size))
    ax.grid(False, axis="x")
    return figure


@styled
def bars(
    panels: Sequence[tuple[str, np.ndarray, np.ndarray | None, np.ndarray | None]],
    *,
    ylabel: str = "",
    lines: Sequence[tuple[int, float, str]] = (),
    columns: int = 3,
    colors: Sequence[str] = (MAIN,),
):
    """Draws panels of bars with intervals.

    Args:
      panels: (title, values [D], low [D] or None, high [D] or None) for each panel.
      ylabel: label of the vertical axes.
      lines: horizontal lines, (index of the panel, height, label).
      columns: panels in a row.
      colors: colors of the panels, repeated if there are fewer.
    """
    figure, axes, grid = panel_grid(len(panels), columns, width=(PAGE_WIDTH - 0.3) / columns, height=2.4, margin=(0.3, 0.0))
    for position, (ax, (title, values, low, high)) in enumerate(zip(axes, panels, strict=True)):
        place = np.arange(len(values))
        error = None
        if low is not None and high is not None:
            error = np.nan_to_num(np.maximum([np.subtract(values, low), np.subtract(high, values)], 0.0))
        ax.bar(
            place,
            values,
            width=0.65,
            color=colors[position % len(colors)],
            yerr=error,
            error_kw={"ecolor": "#3a3f47", "elinewidth": 1, "capsize": 2.5},
        )
        for panel, height, label in lines:
            if panel == position:
                ax.axhline(height, color="#3a3f47", linewidth=1, linestyle="--")
                box = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.8}
                at = {"xycoords": ("axes fraction", "data"), "xytext": (0, 3), "textcoords": "offset points"}
                ax.annotate(label, (1, height), **at, ha="right", va="bottom", fontsize=8, bbox=box)
        ax.set(title=title, xlabel="latent", xticks=place[:: 1 + len(place) // 13])
        ax.grid(False, axis="x")
    for row in grid:
        row[0].set_ylabel(ylabel)
    return figure


@styled
def curves(
    panels: Sequence[tuple[str, str, np.ndarray, np.ndarray]],
    *,
    ylabel: str = "",
    shared_xlabel: str = "",
    columns: int = 2,
    legend: str = "latent",
):
    """Draws panels with a curve for every latent.

    Args:
      panels: (title, label of the horizontal axis, x [A], y [D, A]) for each panel; with `shared_xlabel`, the label is that of
        the vertical axis.
      ylabel: label of the vertical axes.
      shared_xlabel: label of all horizontal axes.
      columns: panels in a row.
      legend: title of the legend.
    """
    figure, axes, _ = panel_grid(len(panels), columns, width=4.2, height=2.7, margin=(0.9, 0.3))
    for ax, (title, label, x, y) in zip(axes, panels, strict=True):
        for d, line in enumerate(y):
            ax.plot(x, line, marker="o", markersize=3.5, color=CLASS_COLORS[d % len(CLASS_COLORS)], label=str(d))
        ax.set(title=title, xlabel=shared_xlabel or label, ylabel=label if shared_xlabel else ylabel)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, title=legend, loc="outside right center", ncols=1 + (len(handles) - 1) // 16)
    return figure


@styled
def heatmap(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str = "",
    text: np.ndarray | None = None,
    limits: tuple[float, float] | None = None,
    colors: str = DIVERGING,
    label: str = "",
    xlabel: str = "",
    faint: np.ndarray | None = None,
):
    """Draws a matrix with a text in every cell.

    Args:
      values: [R, C].
      rows: names [R].
      columns: names [C].
      title: title of the figure.
      text: texts of the cells [R, C]; None: the values with two decimals.
      limits: values at both ends of the colors; None: symmetric about 0.
      colors: name of a matplotlib color map.
      label: label of the color bar; "": no color bar.
      xlabel: label of the horizontal axis.
      faint: cells with gray text, bool [R, C].
    """
    values = np.asarray(values, np.float64)
    figure, axes = new_figure(min(max(5.0, 0.66 * len(columns) + 2.6), PAGE_WIDTH), max(2.2, 0.34 * len(rows) + 1.5))
    ax = axes[0, 0]
    if limits is None:
        reach = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
        limits = (-(reach or 1.0), reach or 1.0)
    image = ax.imshow(values, aspect="auto", cmap=colors, vmin=limits[0], vmax=limits[1])
    ax.set(title=title, xlabel=xlabel, xticks=np.arange(len(columns)), yticks=np.arange(len(rows)))
    slanted = max((len(c) for c in columns), default=0) > 6
    ax.set_xticklabels(columns, rotation=35 if slanted else 0, ha="right" if slanted else "center")
    ax.set_yticklabels(rows)
    ax.grid(False)
    if values.size <= 400 and len(columns) <= 20:
        for r, c in np.ndindex(values.shape):
            cell = text[r, c] if text is not None else ("" if np.isnan(values[r, c]) else f"{values[r, c]:.2f}")
            dark = faint is None or not faint[r, c]
            red, green, blue, _ = image.cmap(image.norm(values[r, c]))
            ink = "white" if 0.3 * red + 0.59 * green + 0.11 * blue < 0.5 else ("#1d2229" if dark else "#9aa0a8")
            ax.text(c, r, cell, ha="center", va="center", fontsize=8, color=ink)
    if label:
        color_bar(figure, image, ax, label=label, shrink=0.9, pad=0.02)
    return figure


@styled
def scatter(
    maps: Sequence[tuple[str, np.ndarray, np.ndarray]],
    labels: np.ndarray,
    *,
    colors: np.ndarray | None = None,
    color_label: str = "",
):
    """Draws maps side by side.

    Args:
      maps: (title, points [K, 2], rows [K] of the points in the labels) for each map.
      labels: classes [M], which color the points.
      colors: numbers [M] that color the points instead.
      color_label: label of the color bar.
    """
    figure, axes = new_figure(4.1 * len(maps) + 1.1, 4.0, 1, len(maps))
    classes, ids = np.unique(np.asarray(labels), return_inverse=True)
    size = float(np.clip(9000 / max(len(ids), 1), 9, 34))
    for ax, (title, points, chosen) in zip(axes[0], maps, strict=True):
        if colors is not None:
            shown = ax.scatter(*points.T, c=np.asarray(colors)[chosen], s=size, cmap="viridis", linewidths=0, alpha=0.85)
        else:
            for c, name in enumerate(classes):
                member = ids[chosen] == c
                ax.scatter(
                    *points[member].T,
                    s=size,
                    color=CLASS_COLORS[c % len(CLASS_COLORS)],
                    label=shortened(str(name)),
                    linewidths=0,
                    alpha=0.85,
                )
        ax.set(title=title, xticks=[], yticks=[])
        ax.spines[:].set(visible=True, color="#dfe3e8")
        ax.grid(False)
    if colors is not None:
        color_bar(figure, shown, axes[0, -1], label=color_label, shrink=0.8)
    else:
        axes[0, -1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=1.8)
    return figure


@styled
def images(
    panels: Sequence[tuple[str, np.ndarray]],
    *,
    columns: int = 4,
    rows_named: Sequence[str] | None = None,
    seconds: float | None = None,
):
    """Draws feature images on a scale from 0 to 1, with the first feature at the bottom.

    Args:
      panels: (title, image [N, F]) for each panel.
      columns: panels in a row.
      rows_named: names of the features; None: numbers.
      seconds: length of the images; None: label the axis in frames.
    """
    figure, axes, grid = panel_grid(len(panels), columns, width=2.18, height=1.5, margin=(0.6, 0.5), sharex=True, sharey=True)
    for ax, (title, values) in zip(axes, panels, strict=True):
        frames, features = values.shape
        extent = (0, seconds or frames, -0.5, features - 0.5)
        shown = ax.imshow(
            values.T, origin="lower", aspect="auto", cmap=IMAGE, vmin=0, vmax=1, interpolation="nearest", extent=extent
        )
        ax.set_title(title, fontsize=9, fontweight="normal")
        ax.grid(False)
        if rows_named is not None and features <= 12:
            ax.set_yticks(np.arange(features), rows_named, fontsize=7)
    for ax in grid[-1]:
        ax.set_xlabel("seconds" if seconds else "frame", fontsize=8)
    color_bar(figure, shown, grid, label="common scale", shrink=0.7, pad=0.01)
    return figure


@styled
def ranges(result, *, columns: int = 4):
    """Draws a `statistics.RangeClasses` as stacked bars: shares of the classes in each range."""
    size, bins, classes = result.probability.shape
    figure, axes, grid = panel_grid(size, columns, width=2.05, height=2.0, margin=(1.1, 0.2), sharey=True)
    for d, ax in enumerate(axes):
        bottom = np.zeros(bins)
        for c in range(classes):
            share = 100 * result.probability[d, :, c]
            color, label = CLASS_COLORS[c % len(CLASS_COLORS)], shortened(str(result.classes[c]))
            ax.bar(np.arange(bins), share, 0.92, bottom, color=color, label=label)
            bottom += share
        ax.set_title(f"latent {d}", fontsize=9)
        shown = [0, bins // 2, bins] if bins > 1 else [0, bins]
        ax.set_xticks(np.array(shown) - 0.5, [f"{edge:.1f}" for edge in result.edges[d, shown]], fontsize=7)
        ax.set(ylim=(0, 100))
        ax.grid(False)
    for row in grid:
        row[0].set_ylabel("% of notes")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right center")
    return figure


@styled
def paired_bars(labels: Sequence[str], pairs: Sequence[tuple[str, np.ndarray]], *, ylabel: str, title: str = ""):
    """Draws bars of two or more series [C], (name, values), side by side."""
    figure, axes = new_figure(min(max(6.0, 0.8 * len(labels) + 1.5), PAGE_WIDTH), 3.2)
    ax = axes[0, 0]
    width = 0.8 / len(pairs)
    place = np.arange(len(labels))
    for position, (name, values) in enumerate(pairs):
        ax.bar(place + (position - (len(pairs) - 1) / 2) * width, values, width * 0.94, label=name, color=SEQUENCE[position])
    ax.set(title=title, ylabel=ylabel, xticks=place)
    ax.set_xticklabels(labels)
    ax.grid(False, axis="x")
    ax.legend()
    return figure
