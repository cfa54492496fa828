"""Pictures of descriptor control: what was asked for and what the sound has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timbre_jax.generation.control.results import ControlResult
from timbre_jax.report.plots import MAIN, SECOND, new_figure, styled

ACROSS = 4


@styled
def control_figure(made: Sequence[ControlResult], name: str, titles: Sequence[str]):
    """Small panels of target and achieved curves of a descriptor over time, one a sound; frames that are not heard are left
    out."""
    down = -(-len(made) // ACROSS)
    figure, axes = new_figure(11.0, 1.7 * down + 0.6, down, min(ACROSS, max(len(made), 1)), sharex=True, sharey=True)
    for ax in axes.flat[len(made) :]:
        ax.set_visible(False)
    for ax, one, title in zip(axes.flat, made, titles, strict=False):
        ax.plot(one.times, one.target[name], color=SECOND, linewidth=2.2, label="target")
        ax.plot(one.times, np.where(one.audible, one.achieved[name], np.nan), color=MAIN, linewidth=1.1, label="achieved")
        error = one.errors()[name]
        ax.set_title(f"{title}: r = {error['correlation']:.2f}", fontsize=9)
    axes.flat[0].legend(loc="upper right", fontsize=8)
    for ax in axes.flat[max(0, len(made) - ACROSS) : len(made)]:
        ax.set_xlabel("seconds")
    for row in axes:
        row[0].set_ylabel(name)
    return figure
