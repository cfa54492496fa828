"""Mode "control" of generation: sounds whose descriptors follow target curves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from timbre_jax.audio.descriptors import descriptor
from timbre_jax.audio.io import read_wave, sound_length
from timbre_jax.generation.control import code_control, code_table, gradient_search
from timbre_jax.generation.control.curves import SHAPES, Curve, make_curve, measure_curve, read_curve
from timbre_jax.generation.control.results import ControlResult, frame_settings
from timbre_jax.generation.generated_sound import Generated, GeneratedSound, SkippedInput
from timbre_jax.generation.series_modes import series_of
from timbre_jax.generation.settings import Control
from timbre_jax.generation.sound_files import Inputs, InputSound, plain_name
from timbre_jax.metrics.table import Table
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Latent

MIDDLE_SHARE = 0.7
"""Share of the reachable range, in its middle, that a curve covers without --between."""
MAX_SECONDS = 60.0
"""Longer sounds are cut to this length, because a search keeps the whole sound in memory."""
DEFAULT_SECONDS = 4.0
"""Duration of a sound whose curve file has a single value."""


def control(space: TimbreSpace, inputs: Inputs, settings: Control, *, rounds: int | None = None) -> Generated:
    """Yields one controlled sound for each start, or one that starts at the training mean.

    NAME_curves.csv is written for each sound, and codes.csv for the first sound of a discrete space. If there are several
    starts, those that cannot be used are skipped, such as silence.

    Args:
      space: series space.
      inputs: sounds or series to start from, or none.
      settings: descriptors and curves.
      rounds: number of rounds of the search; None for its default.

    Raises:
      ValueError: the space is static, or its sounds cannot follow the curves.
    """
    space.check_kind("series")
    seconds, table, code_tables = _target_seconds(settings), None, {}
    if space.model.is_discrete:
        names = tuple(dict.fromkeys((*settings.descriptor, "centroid", "flatness")))
        table = code_table.code_table(space, names=names, uses=code_table.training_share(space), progress=True)
        code_tables = {"codes.csv": table.table()}
    for number, sound in enumerate(inputs or [None]):
        start, remarks = _search_start(space, sound, seconds)
        try:
            result, curves = _control_sound(space, settings, table, start, near=sound is not None, rounds=rounds)
        except ValueError as error:
            if sound is None or len(inputs) < 2:
                raise
            yield SkippedInput(sound.path, str(error))
            continue
        print_accuracy(result, curves)
        file = settings.like or next(iter(settings.curve_file), None)
        target = settings.curve[0] if file is None else Path(file).stem
        title = "_".join([sound.name(40) if sound else "mean", *settings.descriptor, plain_name(target, max_bytes=40)])
        yield _generated_sound(f"control_{number:03d}_{title}", result, curves, sound, remarks, code_tables)
        code_tables = {}


def parse_range(text: str) -> tuple[float, float]:
    """Parses (low, high) from a text such as "800-2500" or "-40--10".

    Raises:
      ValueError: the text is not two finite numbers with the lower one first.
    """
    separator = text.find("-", 1)
    try:
        low, high = float(text[:separator]), float(text[separator + 1 :])
    except ValueError:
        low = high = float("nan")
    if separator < 1 or not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"--between={text}: expected LOW-HIGH with LOW below HIGH, such as 800-2500")
    return low, high


def parse_curve(text: str) -> tuple[str, float]:
    """Parses (shape, periods per second) from a text such as "sine:0.5".

    Raises:
      ValueError: the shape is unknown, or the rate is not from 0 to 20 Hz.
    """
    kind, _, rate = text.partition(":")
    try:
        number = float(rate or 0.0)
    except ValueError:
        number = float("nan")
    if kind not in SHAPES or not 0 <= number <= 20:
        raise ValueError(f"--curve={text}: expected SHAPE:HZ with SHAPE {', '.join(SHAPES)} and HZ 0 to 20, such as sine:0.5")
    return kind, number


def middle_of_range(reach: tuple[float, float], share: float = MIDDLE_SHARE) -> tuple[float, float]:
    """Returns the middle part of a range, on a logarithmic scale if the range is positive."""
    low, high = reach
    edge = 0.5 * (1.0 - share)
    if low > 0:
        return low * (high / low) ** edge, high * (low / high) ** edge
    return low + edge * (high - low), high - edge * (high - low)


def target_curves(settings: Control, reach: dict[str, tuple[float, float]], space: TimbreSpace, seconds: float) -> list[Curve]:
    """Returns the target curve of each descriptor.

    Args:
      settings: descriptors and curves.
      reach: lowest and highest value that the space can reach, by descriptor.
      space: series space.
      seconds: duration of curves that are shapes.

    Raises:
      ValueError: a file is not a curve or a sound, or a text is not a shape or a range.
    """
    names = settings.descriptor
    ranges = [parse_range(text) for text in settings.between] or [middle_of_range(reach[name]) for name in names]
    if settings.curve_file:
        return _read_curves(settings)
    if settings.like is None:
        kinds = [parse_curve(text) for text in settings.curve]
        return [
            make_curve(kind, name, seconds=seconds, low=low, high=high, rate=rate)
            for (kind, rate), name, (low, high) in zip(kinds, names, ranges, strict=True)
        ]
    wave, _ = read_wave(settings.like, sample_rate=space.sample_rate, duration=MAX_SECONDS)
    try:
        return [
            measure_curve(wave, name, low=low, high=high, **frame_settings(space))
            for name, (low, high) in zip(names, ranges, strict=True)
        ]
    except ValueError as error:
        raise ValueError(f"--like={settings.like}: {error}") from None


def _read_curves(settings: Control) -> list[Curve]:
    return [read_curve(path, name) for path, name in zip(settings.curve_file, settings.descriptor, strict=True)]


def _target_seconds(settings: Control) -> float:
    """Returns the duration of the target curves: that of the files, or `seconds` for shapes."""
    if settings.curve:
        return settings.seconds
    if settings.like:
        samples, rate = sound_length(settings.like)
        return min(samples / rate, MAX_SECONDS)
    return max(curve.seconds for curve in _read_curves(settings)) or DEFAULT_SECONDS


def _control_sound(
    space: TimbreSpace,
    settings: Control,
    table: code_table.CodeTable | None,
    start: Latent,
    *,
    near: bool,
    rounds: int | None,
) -> tuple[ControlResult, list[Curve]]:
    """Returns the controlled sound from one start, and its target curves.

    If `near` is true, codes stay near to those of the start; gradient search always stays near.
    """
    seconds = start.values.shape[1] / start.rate
    options: dict[str, Any] = {} if rounds is None else {"rounds": rounds}
    if table is not None:
        reach = {name: table.reach(name) for name in settings.descriptor}
        curves = target_curves(settings, reach, space, seconds)
        nearness = code_control.NEARNESS if near else 0.0
        return code_control.control_codes(space, table, curves, start, nearness=nearness, **options), curves
    reach = gradient_search.reachable_ranges(space, settings.descriptor, start)
    curves = target_curves(settings, reach, space, seconds)
    (result,) = gradient_search.control_latents(space, [curves], start, reach=reach, progress=True, **options)
    return result, curves


def _search_start(space: TimbreSpace, sound: InputSound | None, seconds: float) -> tuple[Latent, tuple[str, ...]]:
    """Returns the series that a search starts from, and remarks about it."""
    if sound is None:
        return gradient_search.mean_start(space, seconds=seconds), ()
    longest = round(MAX_SECONDS * space.sample_rate)
    if sound.length is None or sound.length <= longest:
        return series_of(space, sound), sound.remarks
    beginning = dataclasses.replace(sound, wave=sound.wave[:longest], length=longest)
    return series_of(space, beginning), (*sound.remarks, f"cut to the first {MAX_SECONDS:g} s")


def print_accuracy(result: ControlResult, curves: Sequence[Curve]) -> None:
    """Prints the reachable range and the errors of each descriptor, and the remarks."""
    errors = result.errors()
    for curve in curves:
        name, unit = curve.descriptor, curve.unit
        low, high = result.reach[name]
        error = errors[name]["median_error"]
        text = f"{100 * error:.1f} %" if descriptor(name).proportional else f"{error:.3g} {unit}".rstrip()
        correlation = errors[name]["correlation"]
        print(
            f"{name}: reachable {low:.4g} to {high:.4g} {unit}; target {curve.origin}; median error of the sound {text}"
            + ("" if math.isnan(correlation) else f", correlation {correlation:.3f}")  # nan: a constant curve
        )
    for remark in result.remarks:
        print(f"  {remark}")


def _generated_sound(
    name: str,
    result: ControlResult,
    curves: Sequence[Curve],
    sound: InputSound | None,
    remarks: tuple[str, ...],
    code_tables: dict[str, Table],
) -> GeneratedSound:
    """Returns the record of a controlled sound, with its target and achieved curves."""
    errors = result.errors()
    made_from = {
        "start": str(sound.path) if sound else "mean of the training set",
        "curves": {curve.descriptor: curve.origin for curve in curves},
    }
    measured = {
        curve.descriptor: {
            "unit": curve.unit,
            "reach": list(result.reach[curve.descriptor]),
            **{key: None if np.isnan(value) else value for key, value in errors[curve.descriptor].items()},
            "target": np.asarray(result.target[curve.descriptor], float).tolist(),
            "achieved": np.asarray(result.achieved[curve.descriptor], float).tolist(),
        }
        for curve in curves
    }
    return GeneratedSound(
        f"{name}.wav",
        result.wave,
        made_from,
        result.latent,
        (*remarks, *result.remarks),
        {"control": measured, "curves": f"{name}_curves.csv"},
        {**code_tables, f"{name}_curves.csv": result.table()},
    )
