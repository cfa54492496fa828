"""What control of a sound by descriptor curves comes to: measured on the sound, beside what was asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from timbre_jax.audio.descriptors import describe, descriptor
from timbre_jax.generation.control.curves import Curve, at, audible_frames, within
from timbre_jax.metrics.table import Table
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Latent

HEARD_DB = 50.0
"""Frames count where they are within this of the sound's loudest."""


@dataclasses.dataclass(frozen=True)
class Controlled:
    """A sound that was made to follow curves.

    Attributes:
      latent: the series, [1, M, D]. wave: [T] float32, what it sounds like at `sample_rate`.
      times: [N] seconds, of the frames that are measured.
      target: by descriptor, [N]: what was asked for, already clipped to what the space reaches.
      achieved: by descriptor, [N]: of the sound.
      heard: [N] bool, frames that count.
      reach: by descriptor, what the space reaches (low, high), measured on sounds.
      remarks: what was clipped, held or cut.
    """

    latent: Latent
    wave: np.ndarray
    sample_rate: int
    times: np.ndarray
    target: Mapping[str, np.ndarray]
    achieved: Mapping[str, np.ndarray]
    heard: np.ndarray
    reach: Mapping[str, tuple[float, float]]
    remarks: tuple[str, ...] = ()

    def errors(self) -> dict[str, dict[str, float]]:
        """By descriptor: "median_error" and "mean_error", of ratio minus 1 (absolute differences of what is compared so, such
        as dB), and "correlation" of target and achieved over the frames that are heard (nan where one does not move)."""
        return {name: accuracy(name, self.target[name][self.heard], self.achieved[name][self.heard]) for name in self.target}

    def table(self) -> Table:
        """Returns a table of the target and achieved curves, one frame a row."""
        names = [f"{name}_{kind}" for name in self.target for kind in ("target", "achieved")]
        curves = [curve for name in self.target for curve in (self.target[name], self.achieved[name])]
        values = np.stack([self.times, *curves, self.heard]).T.tolist()
        return Table("curves", ("time", *names, "heard"), tuple(map(tuple, values)))


def accuracy(name: str, target: np.ndarray, achieved: np.ndarray) -> dict[str, float]:
    """How near a curve [N] comes to its target [N]: see `Controlled.errors`; nan where there are no frames."""
    if not len(target):
        return {"median_error": float("nan"), "mean_error": float("nan"), "correlation": float("nan")}
    difference = np.abs(achieved - target)
    if descriptor(name).proportional:
        difference = difference / target
    moves = len(target) > 2 and np.std(target) > 1e-9 * abs(np.mean(target)) and np.std(achieved) > 0
    correlation = float(np.corrcoef(target, achieved)[0, 1]) if moves else float("nan")
    return {
        "median_error": float(np.median(difference)), "mean_error": float(np.mean(difference)), "correlation": correlation,
    }  # fmt: skip


def frame_settings(space: TimbreSpace) -> dict[str, int]:
    """How frames of a space's sounds are measured: its own hop and window."""
    representation = space.representation
    hop = round(representation.sample_rate / representation.rate)
    return {"sample_rate": representation.sample_rate, "n_fft": representation.frame_length, "hop": hop}


def tolerance(name: str) -> float:
    """What counts as a small error, of compared values: 5 %, 1 dB, or 0.05 of a share."""
    return 1.0 if descriptor(name).unit == "dB" else 0.05


def measure(
    space: TimbreSpace, waves: np.ndarray, names: Sequence[str], count: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Descriptors of sounds [B, T] in `count` frames, {name: [B, count]}, and which frames are heard [B, count]."""
    settings = frame_settings(space)
    waves = np.asarray(waves, np.float32)

    def of(name):
        found = np.asarray(describe(waves, name=name, **settings), np.float64)[:, :count]
        return np.pad(found, ((0, 0), (0, count - found.shape[1])), mode="edge")

    level = of("loudness")
    heard = audible_frames(level, HEARD_DB)
    found = {}
    for name in names:
        found[name] = level if name == "loudness" else of(name)
        if descriptor(name).proportional:
            heard &= found[name] > 0
    return found, heard


def targets_of(
    space: TimbreSpace, curves: Sequence[Curve], count: int, reach: Mapping[str, tuple[float, float]]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Curves at the space's frames, clipped to what it reaches: ({name: [count]}, remarks).

    Raises ValueError for two curves of one descriptor, or none.
    """
    names = [curve.descriptor for curve in curves]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"one curve for each descriptor is needed, not {', '.join(names) or 'none'}")
    found, remarks = {}, []
    for curve in curves:
        values, said = at(curve, rate=float(space.representation.rate), count=count)
        remarks += [f"{curve.descriptor}: {text}" for text in said]
        found[curve.descriptor], said = within(values, *reach[curve.descriptor], name=curve.descriptor, unit=curve.unit)
        remarks += said
    return found, remarks
