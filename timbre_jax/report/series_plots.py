"""Figures of series: curves over time, codes, control and interpolation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from timbre_jax.generation.control.results import Controlled
from timbre_jax.report.plots import (
    CLASS_COLORS,
    FAINT,
    MAIN,
    PAGE_WIDTH,
    SECOND,
    THIRD,
    color_bar,
    new_figure,
    panel_grid,
    styled,
)


@styled
def moving_figure(curves: Mapping[str, Mapping[str, np.ndarray]], *, rate: float):
    """Draws centroid and bandwidth of an interpolation (Caillon et al. 2020, fig. 3).

    Args:
      curves: {"centroid", "bandwidth", "weight": [N]} of the sounds "first", "second", "interpolated" and "crossfade"; silent
        frames, below a hundredth of the largest weight, are left out.
      rate: frames per second.
    """
    figure, axes = new_figure(PAGE_WIDTH, 5.0, 2, 1, sharex=True)
    styles = {
        "first": (FAINT, 1.2, "--"), "second": (FAINT, 1.2, ":"), "crossfade": (SECOND, 1.6, "-"),
        "interpolated": (MAIN, 2.0, "-"),
    }  # fmt: skip
    for ax, name in zip(axes[:, 0], ("centroid", "bandwidth"), strict=True):
        for sound, (color, width, line) in styles.items():
            curve = curves[sound]
            audible = curve["weight"] > 0.01 * curve["weight"].max()
            smooth = _running_mean(np.where(audible, curve[name], np.nan), 9)
            ax.plot(np.arange(len(smooth)) / rate, smooth, color=color, linewidth=width, linestyle=line, label=sound)
        ax.set(ylabel=f"{name} (Hz)")
    axes[0, 0].set_title("Interpolation from the first to the second sound")
    axes[0, 0].legend(ncols=4, loc="upper center")
    axes[1, 0].set_xlabel("seconds")
    return figure


@styled
def series_figure(
    panels: Sequence[tuple[str, np.ndarray, Sequence[str]]], *, seconds: float, pictures: Sequence[tuple[str, np.ndarray]] = ()
):
    """Draws spectrograms and curves of one sound over time, below each other.

    Args:
      panels: (title, curves [K, N], names [K]) for each panel; nan for undefined values.
      seconds: length of the sound.
      pictures: (title, spectrogram uint8 [rows, columns], highest frequency first) for each spectrogram.
    """
    heights = [1.3] * len(pictures) + [1.0] * len(panels)
    figure, axes = new_figure(PAGE_WIDTH, 1.5 * sum(heights) + 0.4, len(heights), 1, sharex=True, height_ratios=heights)
    axes = list(axes[:, 0])
    for ax, (title, picture) in zip(axes, pictures, strict=False):
        ax.imshow(picture, aspect="auto", cmap="magma", vmin=0, vmax=255, extent=(0, seconds, 0, picture.shape[0]))
        ax.set(title=title, yticks=[], ylabel="log f")
        ax.grid(False)
    for ax, (title, lines, names) in zip(axes[len(pictures) :], panels, strict=True):
        for k, line in enumerate(lines):
            time = (np.arange(len(line)) + 0.5) * seconds / len(line)
            color = (FAINT, MAIN)[k] if len(lines) == 2 else CLASS_COLORS[k % len(CLASS_COLORS)]
            ax.plot(time, line, linewidth=(2.6, 1.2)[k] if len(lines) == 2 else 1.3, color=color, label=names[k])
        ax.set_title(title)
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.2)
    axes[-1].set_xlabel("seconds")
    axes[-1].set_xlim(0, seconds)
    return figure


@styled
def control_figure(results: Sequence[Controlled], name: str, titles: Sequence[str]):
    """Draws target and achieved curves of a descriptor over time, without silent frames.

    Args:
      results: controlled sounds, one for each panel.
      name: name of the descriptor.
      titles: titles of the panels.
    """
    figure, axes, grid = panel_grid(
        len(results), 4, width=PAGE_WIDTH / 4, height=1.6, margin=(0.0, 0.6), sharex=True, sharey=True
    )
    for ax, result, title in zip(axes, results, titles, strict=True):
        ax.plot(result.times, result.target[name], color=SECOND, linewidth=2.2, label="target")
        ax.plot(
            result.times, np.where(result.heard, result.achieved[name], np.nan), color=MAIN, linewidth=1.1, label="achieved"
        )
        error = result.errors()[name]
        ax.set_title(f"{title}: r = {error['correlation']:.2f}", fontsize=9)
    axes[0].legend(loc="upper right", fontsize=8)
    for ax in grid[-1]:
        ax.set_xlabel("seconds")
    for row in grid:
        row[0].set_ylabel(name)
    return figure


@styled
def code_scatter(
    points: np.ndarray,
    values: np.ndarray,
    counts: np.ndarray,
    *,
    label: str,
    title: str = "Codes",
    explained: float | None = None,
):
    """Draws codes in the plane of the PCA of their vectors.

    Args:
      points: positions [K, 2] of the codes.
      values: descriptor [K] that colors the codes; codes with nan are gray.
      counts: frequency [K] that sets the size; unused codes are small and gray.
      label: label of the color bar.
      title: title of the figure.
      explained: share of the variance in the plane.
    """
    figure, axes = new_figure(7.4, 5.4)
    ax = axes[0, 0]
    used = (counts > 0) & np.isfinite(values)
    ax.scatter(*points[~used].T, s=7, color=FAINT, linewidths=0, label="unused, or undefined")
    size = 14 + 160 * np.sqrt(counts / max(counts.max(), 1))
    shown = ax.scatter(
        *points[used].T, c=values[used], s=size[used], cmap="viridis", linewidths=0.3, edgecolors="white", alpha=0.9
    )
    share = "" if explained is None else f", {100 * explained:.0f} % of the vectors' variance"
    ax.set(title=title, xticks=[], yticks=[], xlabel=f"PCA{share}")
    ax.grid(False)
    color_bar(figure, shown, ax, label=label, shrink=0.85)
    return figure


@styled
def code_histogram(counts: np.ndarray, *, title: str = "Frequency of the codes"):
    """Draws the frequency of codes [K] in descending order on a logarithmic scale."""
    figure, axes = new_figure(8.4, 3.2)
    ax = axes[0, 0]
    order = np.sort(np.asarray(counts))[::-1]
    share = 100.0 * order / max(order.sum(), 1)
    least = 0.5 * share[share > 0].min(initial=100.0)
    ax.fill_between(np.arange(len(share)), np.maximum(share, least), least, step="mid", color=THIRD, alpha=0.85, linewidth=0)
    ax.set(
        title=title,
        xlabel="code, most frequent first",
        ylabel="% of the latents",
        yscale="log",
        xlim=(0, len(share)),
        ylim=(least, None),
    )
    ax.yaxis.set_major_formatter("{x:g}")
    even = 100.0 / len(share)
    ax.axhline(even, color="#3a3f47", linewidth=1, linestyle="--")
    ax.annotate("uniform use", (1, even), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
    return figure


def _running_mean(x: np.ndarray, width: int) -> np.ndarray:
    """Returns the mean over `width` frames, without nan."""
    known = np.isfinite(x)
    kernel = np.ones(width)
    total = np.convolve(np.where(known, x, 0.0), kernel, "same")
    count = np.convolve(known, kernel, "same")
    return np.where(known, total / np.maximum(count, 1), np.nan)
