"""Results of descriptor control: target curves and the curves measured on the sound."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from timbre_jax.audio.descriptors import describe, descriptor
from timbre_jax.generation.control.curves import Curve, audible_frames, clip_to_range, sample_curve
from timbre_jax.metrics.table import Table
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Latent

AUDIBLE_RANGE_DB = 50.0
"""Frames are audible if they are within this range of the loudest frame of the sound."""


@dataclasses.dataclass(frozen=True)
class ControlResult:
    """Result of descriptor control: a sound with its target and measured curves.

    Attributes:
      latent: series [1, M, D].
      wave: samples [T] float32 of the decoded series.
      sample_rate: samples per second.
      times: times [N] in seconds of the measured frames.
      target: target curves [N] by descriptor, clipped to `reach`.
      achieved: curves [N] by descriptor, measured on the sound.
      audible: whether each frame [N] is audible; only these frames count.
      reach: lowest and highest value that the space can reach, by descriptor.
      remarks: sentences about parts of the curves that were clipped, held or cut.
    """

    latent: Latent
    wave: np.ndarray
    sample_rate: int
    times: np.ndarray
    target: Mapping[str, np.ndarray]
    achieved: Mapping[str, np.ndarray]
    audible: np.ndarray
    reach: Mapping[str, tuple[float, float]]
    remarks: tuple[str, ...] = ()

    def errors(self) -> dict[str, dict[str, float]]:
        """Returns the `accuracy` over the audible frames, by descriptor."""
        frames = self.audible
        return {name: accuracy(name, self.target[name][frames], self.achieved[name][frames]) for name in self.target}

    def table(self) -> Table:
        """Returns a table of the target and achieved curves with one row per frame."""
        names = [f"{name}_{kind}" for name in self.target for kind in ("target", "achieved")]
        curves = [curve for name in self.target for curve in (self.target[name], self.achieved[name])]
        values = np.stack([self.times, *curves, self.audible]).T.tolist()
        return Table("curves", ("time", *names, "audible"), tuple(map(tuple, values)))


def accuracy(name: str, target: np.ndarray, achieved: np.ndarray) -> dict[str, float]:
    """Compares a measured curve [N] of a descriptor with its target [N].

    Returns:
      "median_error" and "mean_error", relative for descriptors that are compared by ratio and absolute for others; and
      "correlation" of both curves, nan if one of them is constant. All are nan if there are no frames.
    """
    if not len(target):
        return {"median_error": float("nan"), "mean_error": float("nan"), "correlation": float("nan")}
    difference = np.abs(achieved - target)
    if descriptor(name).proportional:
        difference = difference / target
    varies = len(target) > 2 and np.std(target) > 1e-9 * abs(np.mean(target)) and np.std(achieved) > 0
    correlation = float(np.corrcoef(target, achieved)[0, 1]) if varies else float("nan")
    return {
        "median_error": float(np.median(difference)), "mean_error": float(np.mean(difference)), "correlation": correlation,
    }  # fmt: skip


def frame_settings(space: TimbreSpace) -> dict[str, int]:
    """Returns sample rate, window and hop for measuring sounds in the frames of a space."""
    representation = space.representation
    hop = round(representation.sample_rate / representation.rate)
    return {"sample_rate": representation.sample_rate, "n_fft": representation.frame_length, "hop": hop}


def tolerance(name: str) -> float:
    """Returns the tolerated error of a descriptor on its error scale: 5 %, 1 dB or 0.05."""
    return 1.0 if descriptor(name).unit == "dB" else 0.05


def measure(
    space: TimbreSpace, waves: np.ndarray, names: Sequence[str], count: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Measures descriptors of sounds in the frames of a space.

    Args:
      space: space that defines the frames.
      waves: waves [B, T].
      names: names of the descriptors.
      count: number N of frames; missing frames repeat the last one.

    Returns:
      Values [B, N] by descriptor, and whether each frame [B, N] is audible and has all of these descriptors.
    """
    settings = frame_settings(space)
    waves = np.asarray(waves, np.float32)

    def values_of(name: str) -> np.ndarray:
        values = np.asarray(describe(waves, name=name, **settings), np.float64)[:, :count]
        return np.pad(values, ((0, 0), (0, count - values.shape[1])), mode="edge")

    level = values_of("loudness")
    audible = audible_frames(level, AUDIBLE_RANGE_DB)
    measured = {}
    for name in names:
        measured[name] = level if name == "loudness" else values_of(name)
        if descriptor(name).proportional:
            audible &= measured[name] > 0
    return measured, audible


def sample_targets(
    space: TimbreSpace, curves: Sequence[Curve], count: int, reach: Mapping[str, tuple[float, float]]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Samples target curves in the frames of a space and clips them to its range.

    Returns:
      Targets [count] by descriptor, and remarks on parts that were clipped, held or cut.

    Raises:
      ValueError: there are no curves, or two curves are of one descriptor.
    """
    names = [curve.descriptor for curve in curves]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"curves: expected one for each descriptor (got {', '.join(names) or 'none'})")
    targets, remarks = {}, []
    for curve in curves:
        values, notes = sample_curve(curve, rate=float(space.representation.rate), count=count)
        remarks += [f"{curve.descriptor}: {text}" for text in notes]
        low, high = reach[curve.descriptor]
        targets[curve.descriptor], notes = clip_to_range(values, low, high, name=curve.descriptor, unit=curve.unit)
        remarks += notes
    return targets, remarks
