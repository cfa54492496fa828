"""Curves that a descriptor of a sound shall follow: shapes, tables in files, or those of another sound. Host code (numpy)."""

from __future__ import annotations

import csv
import dataclasses
import math
import os

import numpy as np

from timbre_jax.audio.descriptors import descriptor

SHAPES = ("sine", "line", "exponential", "constant")
LOUD_DB = 40.0
"""Frames of a sound that is imitated count where they are within this of its loudest."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """Values of a descriptor at times; linear between them.

    Attributes:
      descriptor: its name.
      times: [S] seconds, ascending, from 0 on.
      values: [S] in `unit`.
      made_of: what it comes from, in words.

    Raises ValueError for an unknown descriptor, or times and values that make no curve.
    """

    descriptor: str
    times: np.ndarray
    values: np.ndarray
    made_of: str = ""

    def __post_init__(self):
        known = descriptor(self.descriptor)
        times, values = np.asarray(self.times, np.float64), np.asarray(self.values, np.float64)
        where = f"{self.made_of}: " if self.made_of else ""
        if times.ndim != 1 or times.shape != values.shape or not len(times):
            raise ValueError(f"{where}a curve is as many values as times, at least 1, not {values.shape} and {times.shape}")
        wrong = np.flatnonzero(~(np.isfinite(times) & np.isfinite(values)))
        if len(wrong):
            raise ValueError(f"{where}point {wrong[0] + 1} of {len(times)} is not finite")
        if times[0] < 0 or (np.diff(times) <= 0).any():
            raise ValueError(f"{where}times have to rise, from 0 or later on")
        if known.proportional and (values <= 0).any():
            place = int(np.argmax(values <= 0))
            raise ValueError(f"{where}{self.descriptor} {values[place]:g} at {times[place]:g} s: more than 0 is needed")
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "values", values)

    @property
    def unit(self) -> str:
        return descriptor(self.descriptor).unit

    @property
    def seconds(self) -> float:
        """The time of the last point."""
        return float(self.times[-1])


def to_error_scale(name: str, values: np.ndarray) -> np.ndarray:
    """Returns values of a descriptor on the scale of its errors: the logarithm for ratios, else the values."""
    return np.log(np.maximum(values, 1e-12)) if descriptor(name).proportional else np.asarray(values)


def from_error_scale(name: str, values: np.ndarray) -> np.ndarray:
    """Returns the values of a descriptor from their error scale: the inverse of `to_error_scale`."""
    return np.exp(values) if descriptor(name).proportional else values


def audible_frames(level: np.ndarray, range_db: float) -> np.ndarray:
    """Returns which frames [..., N] lie within `range_db` of the loudest and above -80 dB."""
    return (level > level.max(axis=-1, keepdims=True) - range_db) & (level > -80.0)


def at(curve: Curve, *, rate: float, count: int) -> tuple[np.ndarray, list[str]]:
    """A curve at the times n / rate, n = 0 .. count - 1.

    Before its first point it has the first value, after its last the last.

    Returns:
      (values [count] float64, remarks): what was held or cut, in words; empty where curve and sound are equally long.
    """
    seconds = count / rate
    tolerance = 1.5 / rate
    remarks = []
    if curve.seconds < seconds - tolerance:
        remarks.append(
            f"the curve ends at {curve.seconds:.2f} s and the sound at {seconds:.2f} s: its last value is held"
            if len(curve.times) > 1
            else "the curve is one point: its value is held"
        )
    elif curve.seconds > seconds + tolerance:
        remarks.append(f"the curve lasts {curve.seconds:.2f} s and the sound {seconds:.2f} s: the rest is not used")
    if curve.times[0] > tolerance:
        remarks.append(f"the curve begins at {curve.times[0]:.2f} s: its first value is held until then")
    return np.interp(np.arange(count) / rate, curve.times, curve.values), remarks


def within(values: np.ndarray, low: float, high: float, *, name: str, unit: str) -> tuple[np.ndarray, list[str]]:
    """Values clipped to a range, and a remark on how many were out of it."""
    out = (values < low) | (values > high)
    if not out.any():
        return values, []
    says = (
        f"{name}: {100 * out.mean():.0f} % of the target ({values.min():.4g} to {values.max():.4g} {unit}) lies outside what "
        f"this space reaches ({low:.4g} to {high:.4g} {unit}) and is clipped to it"
    )
    return np.clip(values, low, high), [says.replace("  ", " ").replace(" )", ")")]


# Shapes. -----------------------------------------------------------------------------------------------------------------


def shape(kind: str, name: str, *, seconds: float, low: float, high: float, rate: float = 0.0, phase: float = 0.0) -> Curve:
    """A curve of one of `SHAPES` between two values.

    All but the constant go from `low` to `high` and back, `rate` times a second:

    - sine: low + (high - low) (1 - cos(2 pi x)) / 2;
    - line: straight up and straight down;
    - exponential: as the line, but by equal ratios in equal times where both ends are positive, else along e^3x;
    - constant: halfway (in ratio, of a descriptor that is compared by ratio).

    Args:
      kind: of `SHAPES`. name: of the descriptor.
      seconds: how long it is.
      rate: periods a second; 0: from low to high once in the whole time. phase: in periods.

    Raises ValueError for numbers that make no curve.
    """
    if kind not in SHAPES:
        raise ValueError(f"no curve {kind!r}; there are {', '.join(SHAPES)}")
    if not all(map(math.isfinite, (seconds, low, high, rate, phase))) or seconds <= 0 or rate < 0:
        raise ValueError(f"a curve of {seconds:g} s at {rate:g} Hz from {low:g} to {high:g}: finite numbers above 0 are needed")
    count = max(2, math.ceil(seconds * max(64.0, 64.0 * rate)) + 1)
    times = np.linspace(0.0, seconds, count)
    x = times * rate + phase if rate else 0.5 * times / seconds + phase
    up = 1.0 - np.abs(1.0 - 2.0 * (x % 1.0))
    positive = min(low, high) > 0
    if kind == "sine":
        share = 0.5 - 0.5 * np.cos(2.0 * np.pi * x)
    elif kind == "line":
        share = up
    elif kind == "exponential":
        bend = math.log(high / low) if positive else 3.0
        share = np.expm1(bend * up) / math.expm1(bend) if abs(bend) > 1e-9 else up
    else:
        middle = math.sqrt(low * high) if positive and descriptor(name).proportional else 0.5 * (low + high)
        return Curve(name, times, np.full(count, middle), f"constant {middle:.4g}")
    return Curve(name, times, low + (high - low) * share, f"{kind} at {rate:g} Hz from {low:.4g} to {high:.4g}")


# Files. ------------------------------------------------------------------------------------------------------------------


def from_csv(path: str | os.PathLike, name: str) -> Curve:
    """A curve from lines of time (s), value; a first line of words is a heading, empty lines and lines with # do not count.

    Raises:
      ValueError: one line that says which file, which line and what is wrong with it.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = [
                (number, [cell.strip() for cell in row])
                for number, row in enumerate(csv.reader(file), start=1)
                if any(cell.strip() for cell in row) and not row[0].lstrip().startswith("#")
            ]
    except OSError as error:
        raise ValueError(f"{path}: the curve cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error):
        raise ValueError(f"{path}: the curve is no text: lines of time,value are needed") from None
    if rows and not any(_is_number(cell) for cell in rows[0][1]):
        rows = rows[1:]
    if not rows:
        raise ValueError(f"{path}: the curve is empty: lines of time,value are needed")
    times: list[float] = []
    values: list[float] = []
    for number, row in rows:
        where = f"{path}, line {number}"
        if len(row) != 2:
            raise ValueError(f"{where}: {len(row)} columns, where time,value are needed")
        for cell, title in zip(row, ("time", "value"), strict=True):
            if not _is_number(cell):
                raise ValueError(f"{where}: the {title} {cell!r} is no number")
            if not math.isfinite(float(cell)):
                raise ValueError(f"{where}: the {title} is {cell}: leave the line out, values between are filled in")
        time, value = map(float, row)
        if time < 0:
            raise ValueError(f"{where}: the time {time:g} s lies before the beginning")
        if times and time <= times[-1]:
            raise ValueError(f"{where}: the time {time:g} s does not come after {times[-1]:g} s: sort the lines by time")
        times.append(time)
        values.append(value)
    return Curve(name, np.array(times), np.array(values), os.path.basename(path))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


# Sounds. -----------------------------------------------------------------------------------------------------------------


def from_sound(
    wave: np.ndarray,
    name: str,
    *,
    sample_rate: int,
    low: float | None = None,
    high: float | None = None,
    n_fft: int = 2048,
    hop: int = 256,
    smooth_seconds: float = 0.05,
) -> Curve:
    """A sound's own curve of a descriptor, brought into a range: a voice that is imitated.

    Frames within 40 dB of the loudest count (and, of the f0, those that have one); between them it is linear. It is smoothed
    with a Hann window, and its 5th to 95th percentile are brought to `low` .. `high` (in ratio, of a descriptor that is
    compared by ratio); what goes beyond is clipped. A curve that does not move lies halfway.

    Args:
      wave: [T], mono, in [-1, 1].
      low, high: None leaves the curve as it is.
      smooth_seconds: the window's length; 0: none.

    Raises ValueError for a sound that is silent or has no such descriptor.
    """
    from timbre_jax.audio.descriptors import describe

    wave = np.asarray(wave, np.float32)
    settings = {"sample_rate": sample_rate, "n_fft": n_fft, "hop": hop}
    values = np.asarray(describe(wave[None], name=name, **settings)[0], np.float64)
    level = np.asarray(describe(wave[None], name="loudness", **settings)[0], np.float64)
    heard = audible_frames(level, LOUD_DB)
    if descriptor(name).proportional:
        heard &= values > 0
    if not heard.any():
        raise ValueError(f"the sound has no frame with a {name}: it is silent" + (" or noise" if name == "f0" else ""))
    times = np.arange(len(values)) * hop / sample_rate
    line = np.interp(times, times[heard], to_error_scale(name, values[heard]))
    line = smoothed(line, round(smooth_seconds * sample_rate / hop))
    if low is not None and high is not None:
        bottom, top = np.percentile(line[heard], [5, 95])
        share = np.clip((line - bottom) / (top - bottom), 0, 1) if top - bottom > 1e-6 else np.full_like(line, 0.5)
        ends = to_error_scale(name, np.array([low, high]))
        line = ends[0] + share * (ends[1] - ends[0])
    return Curve(name, times, from_error_scale(name, line), "the sound's own")


def smoothed(line: np.ndarray, width: int) -> np.ndarray:
    """[..., N] averaged with a Hann window of `width` points about each, its ends held; as it is under 2."""
    if width < 2:
        return line
    window = np.hanning(width + 2 + width % 2)[1:-1]
    window = window / window.sum()
    before = len(window) // 2
    padded = np.pad(line, [(0, 0)] * (line.ndim - 1) + [(before, len(window) - 1 - before)], mode="edge")
    return np.apply_along_axis(lambda x: np.convolve(x, window, "valid"), -1, padded)
