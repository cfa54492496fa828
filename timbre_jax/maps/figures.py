"""Figures of a map: its sounds, and the grid of decoded sounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timbre_jax.report.plots import CLASS_COLORS, IMAGE, new_figure, shortened, styled
from timbre_jax.report.spectrogram import spectrogram_image


@styled
def map_figure(coordinates: np.ndarray, classes: np.ndarray, labels: Sequence[dict] = (), *, title: str = ""):
    """Draws the sounds of a map, colored by class.

    Args:
      coordinates: [M, 2] in [0, 1].
      classes: classes [M].
      labels: {"name", "x", "y"} of texts on the map.
      title: title of the figure.
    """
    figure, axes = new_figure(8.4, 6.6)
    ax = axes[0, 0]
    names, ids = np.unique(np.asarray(classes), return_inverse=True)
    size = float(np.clip(9000 / max(len(ids), 1), 7, 40))
    for c, name in enumerate(names):
        color = CLASS_COLORS[c % len(CLASS_COLORS)]
        points = coordinates[ids == c]
        ax.scatter(*points.T, s=size, color=color, label=f"{shortened(str(name))} ({len(points)})", linewidths=0, alpha=0.85)
    for label in labels:
        box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}
        ax.text(
            label["x"], label["y"], shortened(label["name"]), ha="center", va="center", fontsize=9, fontweight="bold", bbox=box
        )
    ax.set(title=shortened(title), xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=[], yticks=[], aspect="equal")
    ax.grid(False)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=1.6, ncols=1 + (len(names) - 1) // 26)
    return figure


@styled
def grid_figure(waves: np.ndarray, sample_rate: int):
    """Draws a square grid of sounds [G, T] as spectrograms, row by row from the top left."""
    size = round(len(waves) ** 0.5)
    figure, axes = new_figure(9.6, 7.6, size, size)
    for ax, wave in zip(axes.flat, waves, strict=True):
        ax.imshow(spectrogram_image(wave, sample_rate, rows=64, columns=80), aspect="auto", cmap=IMAGE, vmin=0, vmax=255)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.spines[:].set_visible(False)
    return figure
