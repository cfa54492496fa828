"""Sounds at points of a map, with the time of each step."""

from __future__ import annotations

import dataclasses
import time

import jax
import numpy as np

from timbre_jax.maps.sound_map import SoundMap
from timbre_jax.report.players import wav_bytes
from timbre_jax.report.spectrogram import spectrogram_image
from timbre_jax.space import TimbreSpace

ROWS, COLUMNS = 96, 160
NEAREST = 6
_LEAST_ITERATIONS = 8


@dataclasses.dataclass(frozen=True)
class NewSound:
    """Sound at a point of a map.

    Attributes:
      wav: the sound as a wav file.
      picture: spectrogram, uint8 [ROWS, COLUMNS].
      distance: distance to the nearest library sound, in map units.
      near: rows of the nearest library sounds.
      times: milliseconds of "inverse", "decode", "synthesis", "picture" and "wav", and their "total".
    """

    wav: bytes
    picture: np.ndarray
    distance: float
    near: list[int]
    times: dict[str, float]


def make_sound(space: TimbreSpace, sound_map: SoundMap, x: float, y: float) -> NewSound:
    """Creates the sound at a point of a map and measures the time of each step.

    Args:
      space: a static space.
      sound_map: map of the space.
      x: horizontal map coordinate, from 0 to 1 within the map.
      y: vertical map coordinate.

    Raises:
      ValueError: a coordinate that is not finite.
    """
    timestamps = [time.perf_counter()]
    latents, distances = sound_map.inverse([(x, y)])
    squared = np.sum(np.square(sound_map.coordinates - np.array([x, y], np.float32)), axis=1)
    near = np.argsort(squared, kind="stable")[:NEAREST].tolist()
    timestamps.append(time.perf_counter())
    features = jax.block_until_ready(space.decode(latents))
    timestamps.append(time.perf_counter())
    wave = np.asarray(space.synthesize(features))[0]
    wave = wave / max(float(np.abs(wave).max(initial=0.0)), 1.0)
    timestamps.append(time.perf_counter())
    picture = spectrogram_image(wave, space.sample_rate, rows=ROWS, columns=COLUMNS)
    timestamps.append(time.perf_counter())
    wav = wav_bytes(wave, space.sample_rate)
    timestamps.append(time.perf_counter())
    steps = ("inverse", "decode", "synthesis", "picture", "wav")
    times = {name: 1e3 * (after - before) for name, before, after in zip(steps, timestamps, timestamps[1:], strict=False)}
    times["total"] = 1e3 * (timestamps[-1] - timestamps[0])
    return NewSound(wav, picture, float(distances[0]), near, times)


def space_within_budget(space: TimbreSpace, sound_map: SoundMap, *, milliseconds: float, report=print) -> TimbreSpace:
    """Compiles a space for single sounds and limits its inverter to a time budget.

    Args:
      space: a static space.
      sound_map: map of the space.
      milliseconds: time budget for a sound.
      report: called with lines on the measured time.

    Returns:
      The space, unchanged if its representation does not iterate.
    """
    x, y = sound_map.coordinates[0].tolist()
    limited = space
    for attempt in range(5):
        make_sound(limited, sound_map, x, y)
        # The median is the typical time of a click.
        times = sorted((make_sound(limited, sound_map, x, y).times for _ in range(5)), key=lambda parts: parts["total"])[2]
        fewer = _with_fewer_iterations(limited, (milliseconds - times["total"] + times["synthesis"]) / times["synthesis"])
        if times["total"] <= milliseconds or fewer is None or attempt == 4:
            break
        limited = fewer
    iterations = limited.representation.synthesis_iterations.get("iterations")
    detail = ", ".join(f"{name} {value:.1f}" for name, value in times.items() if name != "total")
    used = "" if iterations is None else f" with {iterations} iterations of the inverter"
    report(f"a sound takes {times['total']:.0f} ms{used} ({detail})")
    if times["total"] > milliseconds:
        report(f"--click_ms={milliseconds:.0f}: this space cannot be faster")
    return limited


def _with_fewer_iterations(space: TimbreSpace, share: float) -> TimbreSpace | None:
    """Returns the space with a share of its inverter's iterations; None at the minimum."""
    representation = space.representation
    iterations = representation.synthesis_iterations
    share = min(max(0.85 * share, 0.02), 0.7)
    fewer = {
        name: max(_LEAST_ITERATIONS, int(share * number)) for name, number in iterations.items() if number > _LEAST_ITERATIONS
    }
    changed = dataclasses.replace(representation, **fewer)  # type: ignore[type-var]
    return space.replace(representation=changed) if fewer else None


def grid_points(size: int = 10) -> np.ndarray:
    """Returns the centers [size^2, 2] of equal tiles of the map, row by row from the top left."""
    centers = (np.arange(size) + 0.5) / size
    return np.array([(x, y) for y in centers[::-1] for x in centers], np.float32)
