"""Errors and level steps at the seams of sounds that were synthesized in parts."""

from __future__ import annotations

import dataclasses

import numpy as np

from timbre_jax.representations.base import Representation
from timbre_jax.representations.segments import analyze_in_parts

STEP = 0.004
"""Length in seconds of the windows whose levels are compared."""


@dataclasses.dataclass(frozen=True)
class Seams:
    """Errors and level steps near the seams and elsewhere in a sound.

    Attributes:
      error_near: difference between the features of the synthesized sound and those it was synthesized from: root mean square
        over bands, mean over frames near a seam, in the units of the features.
      error_elsewhere: the same for all other frames.
      step_near: mean |change| of level in dB between adjacent windows of 4 ms, near a seam.
      step_elsewhere: the same elsewhere.
      largest_near: mean over seams of the largest step near it, in dB.
      largest_elsewhere: mean of the largest step over windows of the same width elsewhere, in dB.
      count: number of seams.
    """

    error_near: float
    error_elsewhere: float
    step_near: float
    step_elsewhere: float
    largest_near: float
    largest_elsewhere: float
    count: int


def measure_seams(representation: Representation, wave: np.ndarray, values: np.ndarray, *, every: int, reach: int = 8) -> Seams:
    """Measures the seams of a sound that was synthesized in parts.

    Args:
      representation: representation of the features.
      wave: [N * hop] synthesized wave.
      values: [N, F] features that the wave was synthesized from.
      every: number of frames of a part.
      reach: number of frames before a seam that are near it; after it, half as many are, because parts overlap before the seam.

    Raises:
      ValueError: there is no seam.
    """
    hop, count = representation.hop, len(values)
    seams = np.arange(every, count, every)
    if not len(seams):
        raise ValueError(f"features: must have more frames than a part of {every} to have a seam (got {count})")
    reanalyzed = analyze_in_parts(representation, wave[: count * hop]).values[0]
    errors = np.sqrt(np.mean(np.square(reanalyzed[:count] - values), axis=-1))
    frame_is_near = _near(np.arange(count), seams, reach)
    window = max(1, round(STEP * representation.sample_rate))
    power = np.mean(np.square(wave[: len(wave) // window * window].astype(np.float64).reshape(-1, window)), axis=1)
    level = 10.0 * np.log10(np.maximum(power, 1e-10))
    steps = np.abs(np.diff(level))
    places = (np.arange(len(steps)) + 1) * window / hop
    step_is_near = _near(places, seams, reach)
    width = max(2, round(1.5 * reach * hop / window))
    other_steps = steps[~step_is_near]
    windows = (
        other_steps[: len(other_steps) // width * width].reshape(-1, width) if len(other_steps) >= width else other_steps[None]
    )
    largest = [steps[_near(places, np.array([seam]), reach)].max(initial=0.0) for seam in seams]
    return Seams(
        float(errors[frame_is_near].mean()),
        float(errors[~frame_is_near].mean()),
        float(steps[step_is_near].mean()),
        float(other_steps.mean()),
        float(np.mean(largest)),
        float(windows.max(1).mean()),
        len(seams),
    )


def _near(places: np.ndarray, seams: np.ndarray, reach: int) -> np.ndarray:
    """Returns whether each place is from `reach` frames before to half as many after a seam."""
    offset = places[:, None] - seams[None, :]
    return ((offset >= -reach) & (offset <= reach / 2)).any(1)
