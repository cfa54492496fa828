"""Target curves of descriptors, from shapes, CSV files and sounds."""

from __future__ import annotations

import csv
import dataclasses
import math
import os

import numpy as np

from timbre_jax.audio.descriptors import describe, descriptor

SHAPES = ("sine", "line", "exponential", "constant")
SOUND_RANGE_DB = 40.0
"""Only frames within this range of the loudest frame define the curve of a sound."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """Curve of a descriptor over time, linear between its points.

    Attributes:
      descriptor: name of the descriptor.
      times: ascending times [S] in seconds, 0 or later.
      values: values [S] in `unit`.
      origin: file or shape that the curve comes from, for messages.

    Raises:
      ValueError: the descriptor is unknown, or times and values do not define a curve.
    """

    descriptor: str
    times: np.ndarray
    values: np.ndarray
    origin: str = ""

    def __post_init__(self):
        entry = descriptor(self.descriptor)
        times, values = np.asarray(self.times, np.float64), np.asarray(self.values, np.float64)
        prefix = f"{self.origin}: " if self.origin else ""
        if times.ndim != 1 or times.shape != values.shape or not len(times):
            raise ValueError(f"{prefix}expected one value for each time, at least one (got {values.shape} and {times.shape})")
        wrong = np.flatnonzero(~(np.isfinite(times) & np.isfinite(values)))
        if len(wrong):
            raise ValueError(f"{prefix}point {wrong[0] + 1} of {len(times)} must be finite")
        if times[0] < 0 or (np.diff(times) <= 0).any():
            raise ValueError(f"{prefix}times must be ascending and start at 0 or later")
        if entry.proportional and (values <= 0).any():
            place = int(np.argmax(values <= 0))
            raise ValueError(f"{prefix}{self.descriptor} must be above 0 (got {values[place]:g} at {times[place]:g} s)")
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "values", values)

    @property
    def unit(self) -> str:
        """Unit of the values; "" for a share."""
        return descriptor(self.descriptor).unit

    @property
    def seconds(self) -> float:
        """Time of the last point."""
        return float(self.times[-1])


def to_error_scale(name: str, values: np.ndarray) -> np.ndarray:
    """Converts values of a descriptor to the scale on which errors are measured.

    This is the logarithm for descriptors that are compared by ratio (such as Hz), and the identity for others (such as dB).
    """
    return np.log(np.maximum(values, 1e-12)) if descriptor(name).proportional else np.asarray(values)


def from_error_scale(name: str, values: np.ndarray) -> np.ndarray:
    """Converts values from the error scale to the unit of a descriptor."""
    return np.exp(values) if descriptor(name).proportional else values


def audible_frames(level: np.ndarray, range_db: float) -> np.ndarray:
    """Returns whether frames [..., N] are within a range of the loudest one and above -80 dB."""
    return (level > level.max(axis=-1, keepdims=True) - range_db) & (level > -80.0)


def sample_curve(curve: Curve, *, rate: float, count: int) -> tuple[np.ndarray, list[str]]:
    """Samples a curve at the times n / rate for n = 0 .. count - 1.

    Before its first point the curve has the first value, after its last point the last value.

    Returns:
      Values [count] float64, and remarks on parts that were held or cut; empty if curve and sound are equally long.
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


def clip_to_range(values: np.ndarray, low: float, high: float, *, name: str, unit: str) -> tuple[np.ndarray, list[str]]:
    """Clips values of a descriptor to a range; adds a remark if any were outside."""
    outside = (values < low) | (values > high)
    if not outside.any():
        return values, []
    remark = (
        f"{name}: {100 * outside.mean():.0f} % of the target ({values.min():.4g} to {values.max():.4g} {unit}) are outside the "
        f"range of this space ({low:.4g} to {high:.4g} {unit}) and are clipped to it"
    )
    return np.clip(values, low, high), [remark.replace("  ", " ").replace(" )", ")")]


def make_curve(
    kind: str, name: str, *, seconds: float, low: float, high: float, rate: float = 0.0, phase: float = 0.0
) -> Curve:
    """Returns a curve that alternates between two values in one of the `SHAPES`.

    - sine: low + (high - low) (1 - cos(2 pi x)) / 2.
    - line: a straight line up and down.
    - exponential: equal ratios in equal times if both values are positive, otherwise along e^3x.
    - constant: the middle value (the geometric mean for descriptors that are compared by ratio).

    Args:
      kind: one of `SHAPES`.
      name: name of the descriptor.
      seconds: duration.
      low: value at the start of a period.
      high: value in the middle of a period.
      rate: periods per second; 0 moves once from `low` to `high`.
      phase: start within the first period, in periods.

    Raises:
      ValueError: the shape is unknown, or the numbers do not define a curve.
    """
    if kind not in SHAPES:
        raise ValueError(f"curve: expected one of {', '.join(SHAPES)} (got {kind!r})")
    if not all(map(math.isfinite, (seconds, low, high, rate, phase))) or seconds <= 0 or rate < 0:
        raise ValueError(
            f"curve: numbers must be finite and the duration positive (got {seconds:g} s, {rate:g} Hz, {low:g} to {high:g})"
        )
    count = max(2, math.ceil(seconds * max(64.0, 64.0 * rate)) + 1)
    times = np.linspace(0.0, seconds, count)
    x = times * rate + phase if rate else 0.5 * times / seconds + phase
    triangle = 1.0 - np.abs(1.0 - 2.0 * (x % 1.0))
    positive = min(low, high) > 0
    if kind == "sine":
        share = 0.5 - 0.5 * np.cos(2.0 * np.pi * x)
    elif kind == "line":
        share = triangle
    elif kind == "exponential":
        exponent = math.log(high / low) if positive else 3.0
        share = np.expm1(exponent * triangle) / math.expm1(exponent) if abs(exponent) > 1e-9 else triangle
    else:
        middle = math.sqrt(low * high) if positive and descriptor(name).proportional else 0.5 * (low + high)
        return Curve(name, times, np.full(count, middle), f"constant {middle:.4g}")
    return Curve(name, times, low + (high - low) * share, f"{kind} at {rate:g} Hz from {low:.4g} to {high:.4g}")


def read_curve(path: str | os.PathLike, name: str) -> Curve:
    """Reads a curve from a CSV file with the columns time, in seconds, and value.

    A header, empty lines and lines that start with # are ignored.

    Raises:
      ValueError: the file cannot be read, or a line of it is wrong; the message names the line.
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
        raise ValueError(f"{path}: the curve must be a text file with lines of time,value") from None
    if rows and not any(_is_number(cell) for cell in rows[0][1]):
        rows = rows[1:]
    if not rows:
        raise ValueError(f"{path}: the curve is empty, expected lines of time,value")
    times: list[float] = []
    values: list[float] = []
    for number, row in rows:
        line = f"{path}, line {number}"
        if len(row) != 2:
            raise ValueError(f"{line}: expected 2 columns, time and value (got {len(row)})")
        for cell, title in zip(row, ("time", "value"), strict=True):
            if not _is_number(cell):
                raise ValueError(f"{line}: the {title} must be a number (got {cell!r})")
            if not math.isfinite(float(cell)):
                raise ValueError(f"{line}: the {title} is {cell}; remove the line, and the value is interpolated")
        time, value = map(float, row)
        if time < 0:
            raise ValueError(f"{line}: the time must not be negative (got {time:g} s)")
        if times and time <= times[-1]:
            raise ValueError(f"{line}: the time {time:g} s must be after {times[-1]:g} s; sort the lines by time")
        times.append(time)
        values.append(value)
    return Curve(name, np.array(times), np.array(values), os.path.basename(path))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def measure_curve(
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
    """Measures the curve of a sound, such as a voice to imitate, and scales it to a range.

    Only frames within 40 dB of the loudest one count (for f0, voiced ones); the curve is linear between them. It is smoothed
    with a Hann window. Its 5th and 95th percentile become `low` and `high` (in logarithm for descriptors that are compared by
    ratio), and values beyond them are clipped. A constant curve gets the middle value.

    Args:
      wave: mono samples [T] in [-1, 1].
      name: name of the descriptor.
      sample_rate: samples per second.
      low: lower end of the range; None keeps the measured values.
      high: upper end of the range; None keeps the measured values.
      n_fft: window length in samples.
      hop: samples per frame.
      smooth_seconds: length of the smoothing window; 0 for none.

    Raises:
      ValueError: the sound is silent or does not have the descriptor.
    """
    wave = np.asarray(wave, np.float32)
    settings = {"sample_rate": sample_rate, "n_fft": n_fft, "hop": hop}
    values = np.asarray(describe(wave[None], name=name, **settings)[0], np.float64)
    level = np.asarray(describe(wave[None], name="loudness", **settings)[0], np.float64)
    audible = audible_frames(level, SOUND_RANGE_DB)
    if descriptor(name).proportional:
        audible &= values > 0
    if not audible.any():
        reason = "silent or noise" if name == "f0" else "silent"
        raise ValueError(f"{name}: no frame of the sound has one, because it is {reason}; use another sound")
    times = np.arange(len(values)) * hop / sample_rate
    line = np.interp(times, times[audible], to_error_scale(name, values[audible]))
    line = smooth_curve(line, round(smooth_seconds * sample_rate / hop))
    if low is not None and high is not None:
        bottom, top = np.percentile(line[audible], [5, 95])
        share = np.clip((line - bottom) / (top - bottom), 0, 1) if top - bottom > 1e-6 else np.full_like(line, 0.5)
        ends = to_error_scale(name, np.array([low, high]))
        line = ends[0] + share * (ends[1] - ends[0])
    return Curve(name, times, from_error_scale(name, line), "the curve of the sound")


def smooth_curve(values: np.ndarray, width: int) -> np.ndarray:
    """Smooths values [..., N] with a Hann window of `width` points; unchanged if below 2."""
    if width < 2:
        return values
    window = np.hanning(width + 2 + width % 2)[1:-1]
    window = window / window.sum()
    before = len(window) // 2
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(before, len(window) - 1 - before)], mode="edge")
    return np.apply_along_axis(lambda x: np.convolve(x, window, "valid"), -1, padded)
