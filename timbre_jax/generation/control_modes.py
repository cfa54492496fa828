"""`generate --mode=control`: sounds whose descriptors follow curves, with what was achieved beside what was asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from timbre_jax.files import write_text
from timbre_jax.generation.control import code_control, code_table, gradient_search
from timbre_jax.generation.control.curves import SHAPES, Curve, from_csv, from_sound, shape
from timbre_jax.generation.control.results import Controlled, frame_settings, is_discrete, need_series
from timbre_jax.generation.sound_files import short_name
from timbre_jax.generation.static_modes import plain
from timbre_jax.metrics.table import Table
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Latent

MIDDLE = 0.7
"""Without --between a curve takes so much of what the space reaches, in the middle (in ratio, of what is compared by ratio)."""
MOST_SECONDS = 60.0
"""Longer sounds are cut: a search holds all of its sound at once."""


@dataclasses.dataclass(frozen=True)
class Control:
    """What the flags of `generate` say.

    Attributes:
      descriptors: one name or more.
      curves: of each a shape and periods a second, such as "sine:0.5"; or
      curve_files: of each a CSV file of time,value; or
      like: a sound whose own descriptors are followed.
      between: of each "low-high"; for what `like` and `curves` are brought into. None: the middle of what the space reaches.
      seconds: without a start, how long; of `curve_files` and `like` None takes their own length.
      rounds: renderings; None: the control's own.
    """

    descriptors: Sequence[str] = ("centroid",)
    curves: Sequence[str] = ()
    curve_files: Sequence[str] = ()
    like: str | None = None
    between: Sequence[str] = ()
    seconds: float | None = None
    rounds: int | None = None

    def __post_init__(self):
        given = [name for name in ("curves", "curve_files", "like") if getattr(self, name)]
        if len(given) != 1:
            said = " and ".join(f"--{name.removesuffix('s')}" for name in given) or "none"
            raise ValueError(
                f"--mode=control follows --curve=sine:0.5, --curve_file=CSV or --like=SOUND, one of them, not {said}"
            )
        for name in ("curves", "curve_files", "between"):
            values = getattr(self, name)
            if values and len(values) != len(self.descriptors):
                raise ValueError(
                    f"--{name.removesuffix('s')}={','.join(values)}: one for each of {', '.join(self.descriptors)} is needed"
                )


def parse_range(text: str) -> tuple[float, float]:
    """ "800-2500" or "-40--10" as (low, high). Raises ValueError for other text; one line."""
    cut = text.find("-", 1)
    try:
        low, high = float(text[:cut]), float(text[cut + 1 :])
    except ValueError:
        raise ValueError(f"--between={text}: two numbers such as 800-2500 are needed") from None
    if cut < 1 or not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"--between={text}: two numbers, the lower first, such as 800-2500, are needed")
    return low, high


def parse_curve(text: str) -> tuple[str, float]:
    """ "sine:0.5" as (shape, Hz). Raises ValueError for other text; one line."""
    kind, _, rate = text.partition(":")
    try:
        number = float(rate or 0.0)
    except ValueError:
        number = float("nan")
    if kind not in SHAPES or not 0 <= number <= 20:
        raise ValueError(f"--curve={text}: {', '.join(SHAPES)} and periods a second (0 to 20) are needed, such as sine:0.5")
    return kind, number


def middle(reach: tuple[float, float], share: float = MIDDLE) -> tuple[float, float]:
    """The middle part of a range; in ratio where it is positive."""
    low, high = reach
    edge = 0.5 * (1.0 - share)
    if low > 0:
        return low * (high / low) ** edge, high * (low / high) ** edge
    return low + edge * (high - low), high - edge * (high - low)


def make_curves(control: Control, reach: dict[str, tuple[float, float]], space: TimbreSpace, seconds: float) -> list[Curve]:
    """The curves that are asked for, one for each descriptor.

    Raises ValueError for files that are no curves or sounds, or ranges that are none; one line.
    """
    from timbre_jax.audio.io import read_wave

    ranges = [parse_range(text) for text in control.between] or [middle(reach[name]) for name in control.descriptors]
    if control.curve_files:
        return [from_csv(path, name) for path, name in zip(control.curve_files, control.descriptors, strict=True)]
    if control.curves:
        kinds = [parse_curve(text) for text in control.curves]
        return [
            shape(kind, name, seconds=seconds, low=low, high=high, rate=rate)
            for (kind, rate), name, (low, high) in zip(kinds, control.descriptors, ranges, strict=True)
        ]
    settings = frame_settings(space)
    wave, _ = read_wave(control.like, sample_rate=space.sample_rate, duration=MOST_SECONDS)
    made = []
    for name, (low, high) in zip(control.descriptors, ranges, strict=True):
        try:
            made.append(from_sound(wave, name, low=low, high=high, **settings))
        except ValueError as error:
            raise ValueError(f"--like={control.like}: {error}") from None
    return made


def own_seconds(control: Control) -> float | None:
    """How long the files that are followed last, None of shapes."""
    from timbre_jax.audio.io import sound_length

    if control.like:
        samples, rate = sound_length(control.like)
        return min(samples / rate, MOST_SECONDS)
    if control.curve_files:
        curves = [from_csv(path, name) for path, name in zip(control.curve_files, control.descriptors, strict=True)]
        return max(curve.seconds for curve in curves) or None
    return None


def control_sounds(
    space: TimbreSpace, inputs: list[dict], control: Control, out: Path, errors: list[dict] | None = None
) -> Iterator[tuple]:
    """One sound from each start (or one from none): (file name, wave [T], manifest entry, series).

    Writes NAME_curves.csv beside each, and of a discrete space codes.csv. Of several starts, one that cannot be used (silence)
    becomes a line of `errors`.

    Raises ValueError for what the space cannot do; one line.
    """
    need_series(space)
    seconds = control.seconds or own_seconds(control) or 4.0
    table = None
    if is_discrete(space):
        table = described_codes(space, control.descriptors, out)
    for number, entry in enumerate(inputs or [None]):
        start, remarks = _start(space, entry, seconds)
        try:
            made, curves = _follow(space, control, table, start, near=entry is not None)
        except ValueError as error:
            if errors is None or len(inputs) < 2:
                raise
            errors.append({"file": str(entry["path"]), "error": f"{entry['path']}: {error}"})
            continue
        says(made, curves)
        followed = control.like or (control.curve_files or control.curves)[0]
        title = f"{number:03d}_" + (short_name(entry["path"], most=40) if entry else "mean")
        name = f"control_{title}_{'_'.join(control.descriptors)}_{short_name(Path(str(followed).replace(':', '_')), most=40)}"
        yield f"{name}.wav", made.wave, _about(made, curves, entry, remarks, out, name), made.latent


def _follow(
    space: TimbreSpace, control: Control, table: code_table.CodeTable | None, start: Latent, *, near: bool
) -> tuple[Controlled, list[Curve]]:
    """The sound from one start, and its curves."""
    length = start.values.shape[1] / start.rate
    rounds = {} if control.rounds is None else {"rounds": control.rounds}
    if table is not None:
        reach = {name: table.reach(name) for name in control.descriptors}
        curves = make_curves(control, reach, space, length)
        return code_control.control_codes(space, table, curves, start=start, near=near, **rounds), curves
    reach = gradient_search.reachable(space, control.descriptors, start)
    curves = make_curves(control, reach, space, length)
    (made,) = gradient_search.search(space, [curves], start, reach=reach, progress=True, **rounds)
    return made, curves


def described_codes(space: TimbreSpace, names: Sequence[str], out: Path):
    """The code table of a discrete space, with the codes that training used; written to OUT/codes.csv."""
    wanted = tuple(dict.fromkeys((*names, "centroid", "flatness")))
    unknown = [name for name in wanted if name not in code_table.CURVES]
    if unknown:
        raise ValueError(f"codes are not described by {unknown[0]!r}, but by {', '.join(code_table.CURVES)}")
    table = code_table.code_table(space, names=wanted, uses=code_table.training_share(space), progress=True)
    records = [
        {"code": i, "share": None if table.uses is None else float(table.uses[i])}
        | {name: float(values[i]) for name, values in table.described.items()}
        | {f"{name}_spread": float(values[i]) for name, values in table.spread.items()}
        for i in range(len(table.codes))
    ]
    made = Table.from_records("codes", records)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "codes.csv", made.csv())
    return table


def _start(space: TimbreSpace, entry: dict | None, seconds: float) -> tuple[Latent, list[str]]:
    """Where to begin: the series of an input, or the mean of the training set."""
    from timbre_jax.generation.series_modes import series_of

    if entry is None:
        return gradient_search.begin(space, seconds=seconds), []
    remarks = list(entry["remarks"])
    most = round(MOST_SECONDS * space.sample_rate)
    if "wave" in entry and entry["length"] > most:
        remarks.append(f"cut to the first {MOST_SECONDS:g} s")
        entry = {**entry, "wave": entry["wave"][:most], "length": most}
    return series_of(space, entry), remarks


def says(made: Controlled, curves: Sequence[Curve]) -> None:
    """Prints what the space reaches, and how near the sound came."""
    errors = made.errors()
    for curve in curves:
        name, unit = curve.descriptor, curve.unit
        low, high = made.reach[name]
        error, scale = errors[name]["median_error"], (f"{unit or 'of 1'}")
        near = f"{error:.3g} {scale}" if _absolute(name) else f"{100 * error:.1f} %"
        print(
            f"{name}: reachable {low:.4g} to {high:.4g} {unit}; target {curve.made_of}; median error on the sound {near}, "
            f"correlation {errors[name]['correlation']:.3f}"
        )
    for remark in made.remarks:
        print(f"  {remark}")


def _absolute(name: str) -> bool:
    from timbre_jax.audio.descriptors import descriptor

    return not descriptor(name).proportional


def _about(made: Controlled, curves: Sequence[Curve], entry: dict | None, remarks: list[str], out: Path, name: str) -> dict:
    columns, rows = made.rows()
    table = Table("curves", columns, tuple(map(tuple, rows)))
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / f"{name}_curves.csv", table.csv())
    errors = made.errors()
    return {
        "made_from": {
            "start": str(entry["path"]) if entry else "mean of the training set",
            "curves": {curve.descriptor: curve.made_of for curve in curves},
        },
        "control": {
            curve.descriptor: {
                "unit": curve.unit,
                "reach": plain(made.reach[curve.descriptor]),
                **{key: None if np.isnan(value) else value for key, value in errors[curve.descriptor].items()},
                "target": plain(made.target[curve.descriptor]),
                "achieved": plain(made.achieved[curve.descriptor]),
            }
            for curve in curves
        },
        "curves": f"{name}_curves.csv",
        "remarks": [*remarks, *made.remarks],
    }
