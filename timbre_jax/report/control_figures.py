"""Pictures of descriptor control: what was asked for and what the sound has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timbre_jax.generation.control.results import Controlled
from timbre_jax.report.plots import MAIN, SECOND, panel_grid, styled


@styled
def control_figure(made: Sequence[Controlled], name: str, titles: Sequence[str]):
    """Small panels of target and achieved curves of a descriptor over time, one a sound; frames that are not heard are left
    out."""
    figure, axes, grid = panel_grid(len(made), 4, width=2.75, height=1.7, margin=(0.0, 0.6), sharex=True, sharey=True)
    for ax, one, title in zip(axes, made, titles, strict=True):
        ax.plot(one.times, one.target[name], color=SECOND, linewidth=2.2, label="target")
        ax.plot(one.times, np.where(one.heard, one.achieved[name], np.nan), color=MAIN, linewidth=1.1, label="achieved")
        error = one.errors()[name]
        ax.set_title(f"{title}: r = {error['correlation']:.2f}", fontsize=9)
    axes[0].legend(loc="upper right", fontsize=8)
    for ax in grid[-1]:
        ax.set_xlabel("seconds")
    for row in grid:
        row[0].set_ylabel(name)
    return figure
