"""Seams of a sound that was made in parts: is it any worse where parts meet than elsewhere?"""

from __future__ import annotations

import dataclasses

import numpy as np

from timbre_jax.representations.base import Representation
from timbre_jax.representations.segments import analyze_in_parts

STEP = 0.004
"""Seconds of the stretches whose levels are compared."""


@dataclasses.dataclass(frozen=True)
class Seams:
    """Near the seams and elsewhere.

    Attributes:
      error_near, error_elsewhere: root mean square error in the features' units of the frames of the sound, analyzed again, to
        the features that it was made from.
      step_near, step_elsewhere: mean |change| of level in dB from one stretch of 4 ms to the next.
      largest_near, largest_elsewhere: the largest such step near a seam; elsewhere the mean, over windows of the same width, of
        the largest.
      count: how many seams.
    """

    error_near: float
    error_elsewhere: float
    step_near: float
    step_elsewhere: float
    largest_near: float
    largest_elsewhere: float
    count: int


def measure_seams(representation: Representation, wave: np.ndarray, values: np.ndarray, *, every: int, reach: int = 8) -> Seams:
    """Of a wave [N * hop] made from features [N, F] in parts of `every` frames.

    Args:
      reach: frames before and after a seam that count as near (what parts hold on to lies before it: it is measured from
        `reach` frames before to half as many after).

    Raises:
      ValueError: there is no seam.
    """
    hop, count = representation.hop, len(values)
    seams = np.arange(every, count, every)
    if not len(seams):
        raise ValueError(f"{count} frames in parts of {every} have no seam")
    again = analyze_in_parts(representation, wave[: count * hop]).values[0]
    errors = np.sqrt(np.mean(np.square(again[:count] - values), axis=-1))
    near = _near(np.arange(count), seams, reach)
    stretch = max(1, round(STEP * representation.sample_rate))
    power = np.mean(np.square(wave[: len(wave) // stretch * stretch].astype(np.float64).reshape(-1, stretch)), axis=1)
    level = 10.0 * np.log10(np.maximum(power, 1e-10))
    steps = np.abs(np.diff(level))
    places = (np.arange(len(steps)) + 1) * stretch / hop
    beside = _near(places, seams, reach)
    width = max(2, round(1.5 * reach * hop / stretch))
    rest = steps[~beside]
    windows = rest[: len(rest) // width * width].reshape(-1, width) if len(rest) >= width else rest[None]
    largest = [steps[_near(places, np.array([seam]), reach)].max(initial=0.0) for seam in seams]
    return Seams(
        float(errors[near].mean()),
        float(errors[~near].mean()),
        float(steps[beside].mean()),
        float(rest.mean()),
        float(np.mean(largest)),
        float(windows.max(1).mean()),
        len(seams),
    )


def _near(places: np.ndarray, seams: np.ndarray, reach: int) -> np.ndarray:
    """Whether each place (in frames) lies from `reach` before to half as many after one of the seams."""
    offset = places[:, None] - seams[None, :]
    return ((offset >= -reach) & (offset <= reach / 2)).any(1)
