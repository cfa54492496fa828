"""Mode "control" of generation: sounds whose descriptors follow curves, with target and measured curves side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from timbre_jax.audio.descriptors import descriptor
from timbre_jax.audio.io import read_wave, sound_length
from timbre_jax.generation.control import code_control, code_table, gradient_search
from timbre_jax.generation.control.curves import SHAPES, Curve, from_csv, from_sound, shape
from timbre_jax.generation.control.results import Controlled, frame_settings
from timbre_jax.generation.generated_sound import Generated, GeneratedSound, SkippedInput
from timbre_jax.generation.series_modes import series_of
from timbre_jax.generation.settings import Control
from timbre_jax.generation.sound_files import Inputs, InputSound, short_name
from timbre_jax.metrics.table import Table
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Latent

MIDDLE = 0.7
"""Share of the reachable range that a curve covers without --between, in the middle."""
MOST_SECONDS = 60.0
"""Longer sounds are cut: a search holds all of its sound at once."""


def control(space: TimbreSpace, inputs: Inputs, settings: Control, *, rounds: int | None = None) -> Generated:
    """Yields one sound from each start, or one from the training mean.

    NAME_curves.csv goes with each sound, and codes.csv with the first one of a discrete space. A start that cannot be used
    (silence) is skipped if it is one of several.

    Args:
      space: a series space.
      inputs: sounds or series to start from, or none.
      settings: descriptors and curves.
      rounds: renderings that correct the sound; None: the default of the search.

    Raises:
      ValueError: the space cannot follow the curves.
    """
    space.check_kind("series")
    seconds = (settings.seconds if settings.curve else own_seconds(settings)) or 4.0
    table, beside = None, {}
    if space.model.is_discrete:
        names = tuple(dict.fromkeys((*settings.descriptor, "centroid", "flatness")))
        table = code_table.code_table(space, names=names, uses=code_table.training_share(space), progress=True)
        beside = {"codes.csv": table.table()}
    for number, sound in enumerate(inputs or [None]):
        start, remarks = _start(space, sound, seconds)
        try:
            result, curves = _follow(space, settings, table, start, near=sound is not None, rounds=rounds)
        except ValueError as error:
            if sound is None or len(inputs) < 2:
                raise
            yield SkippedInput(sound.path, str(error))
            continue
        print_accuracy(result, curves)
        followed = short_name(Path(str(settings.like or (settings.curve_file or settings.curve)[0]).replace(":", "_")), most=40)
        title = f"{number:03d}_{sound.name(40) if sound else 'mean'}_{'_'.join(settings.descriptor)}_{followed}"
        yield _generated(f"control_{title}", result, curves, sound, remarks, beside)
        beside = {}


def parse_range(text: str) -> tuple[float, float]:
    """Returns (low, high) from "800-2500" or "-40--10"; raises a ValueError for other text."""
    cut = text.find("-", 1)
    try:
        low, high = float(text[:cut]), float(text[cut + 1 :])
    except ValueError:
        raise ValueError(f"--between={text}: two numbers such as 800-2500 are needed") from None
    if cut < 1 or not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"--between={text}: two numbers, the lower first, such as 800-2500, are needed")
    return low, high


def parse_curve(text: str) -> tuple[str, float]:
    """Returns (shape, Hz) from "sine:0.5"; raises a ValueError for other text."""
    kind, _, rate = text.partition(":")
    try:
        number = float(rate or 0.0)
    except ValueError:
        number = float("nan")
    if kind not in SHAPES or not 0 <= number <= 20:
        raise ValueError(f"--curve={text}: {', '.join(SHAPES)} and periods a second (0 to 20) are needed, such as sine:0.5")
    return kind, number


def middle(reach: tuple[float, float], share: float = MIDDLE) -> tuple[float, float]:
    """Returns the middle part of a range; in ratio if it is positive."""
    low, high = reach
    edge = 0.5 * (1.0 - share)
    if low > 0:
        return low * (high / low) ** edge, high * (low / high) ** edge
    return low + edge * (high - low), high - edge * (high - low)


def make_curves(settings: Control, reach: dict[str, tuple[float, float]], space: TimbreSpace, seconds: float) -> list[Curve]:
    """Returns the target curves, one for each descriptor.

    Raises:
      ValueError: a file that is no curve or sound, or a range that is none.
    """
    names = settings.descriptor
    ranges = [parse_range(text) for text in settings.between] or [middle(reach[name]) for name in names]
    if settings.curve_file:
        return [from_csv(path, name) for path, name in zip(settings.curve_file, names, strict=True)]
    if settings.like is None:
        kinds = [parse_curve(text) for text in settings.curve]
        return [
            shape(kind, name, seconds=seconds, low=low, high=high, rate=rate)
            for (kind, rate), name, (low, high) in zip(kinds, names, ranges, strict=True)
        ]
    wave, _ = read_wave(settings.like, sample_rate=space.sample_rate, duration=MOST_SECONDS)
    try:
        return [
            from_sound(wave, name, low=low, high=high, **frame_settings(space))
            for name, (low, high) in zip(names, ranges, strict=True)
        ]
    except ValueError as error:
        raise ValueError(f"--like={settings.like}: {error}") from None


def own_seconds(settings: Control) -> float | None:
    """Returns the duration of the files that are followed; None for shapes."""
    if settings.like:
        samples, rate = sound_length(settings.like)
        return min(samples / rate, MOST_SECONDS)
    curves = [from_csv(path, name) for path, name in zip(settings.curve_file, settings.descriptor, strict=True)]
    return max(curve.seconds for curve in curves) or None


def _follow(
    space: TimbreSpace,
    settings: Control,
    table: code_table.CodeTable | None,
    start: Latent,
    *,
    near: bool,
    rounds: int | None,
) -> tuple[Controlled, list[Curve]]:
    """Returns the sound from one start, and its target curves."""
    length = start.values.shape[1] / start.rate
    given: dict[str, Any] = {} if rounds is None else {"rounds": rounds}
    if table is not None:
        reach = {name: table.reach(name) for name in settings.descriptor}
        curves = make_curves(settings, reach, space, length)
        return code_control.control_codes(space, table, curves, start, near=near, **given), curves
    reach = gradient_search.reachable(space, settings.descriptor, start)
    curves = make_curves(settings, reach, space, length)
    (result,) = gradient_search.search(space, [curves], start, reach=reach, progress=True, **given)
    return result, curves


def _start(space: TimbreSpace, sound: InputSound | None, seconds: float) -> tuple[Latent, tuple[str, ...]]:
    """Returns the series to start from, of an input or the training mean, and its remarks."""
    if sound is None:
        return gradient_search.begin(space, seconds=seconds), ()
    most = round(MOST_SECONDS * space.sample_rate)
    if sound.length is None or sound.length <= most:
        return series_of(space, sound), sound.remarks
    cut = dataclasses.replace(sound, wave=sound.wave[:most], length=most)
    return series_of(space, cut), (*sound.remarks, f"cut to the first {MOST_SECONDS:g} s")


def print_accuracy(result: Controlled, curves: Sequence[Curve]) -> None:
    """Prints the reachable range of each descriptor, and the errors of the sound."""
    errors = result.errors()
    for curve in curves:
        name, unit = curve.descriptor, curve.unit
        low, high = result.reach[name]
        error = errors[name]["median_error"]
        near = f"{100 * error:.1f} %" if descriptor(name).proportional else f"{error:.3g} {unit or 'of 1'}"
        print(
            f"{name}: reachable {low:.4g} to {high:.4g} {unit}; target {curve.made_of}; median error on the sound {near}, "
            f"correlation {errors[name]['correlation']:.3f}"
        )
    for remark in result.remarks:
        print(f"  {remark}")


def _generated(
    name: str,
    result: Controlled,
    curves: Sequence[Curve],
    sound: InputSound | None,
    remarks: tuple[str, ...],
    beside: dict[str, Table],
) -> GeneratedSound:
    errors = result.errors()
    made_from = {
        "start": str(sound.path) if sound else "mean of the training set",
        "curves": {curve.descriptor: curve.made_of for curve in curves},
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
        {**beside, f"{name}_curves.csv": result.table()},
    )
