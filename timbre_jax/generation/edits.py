"""Edits of latent series, listed in a CSV or JSON file.

An edit applies an operator to a time range of latents, of a playable axis or of the level. A CSV has the header
`start,end,target,operator,amount,fade`; a JSON file is a list of objects with these keys.

- start, end: time range in seconds, in the sound after the previous edits; an empty end is the end of the sound.
- target: "all", "latent 3", "axis 0" (a playable axis, see `generation.axes`) or "level".
- operator: one of the list below.
- amount: in training deviations, or in dB for the level, unless the list says otherwise:
    scale     factor around the training mean (for the level: around the training median)
    offset    amount that is added
    set       distance from the training mean (for the level: the level itself)
    smooth    standard deviation of a Gaussian in seconds
    noise     standard deviation of added noise
    quantize  step of a grid
    reverse   no amount; reverses the range
    stretch   factor on the duration of the range
    freeze    seconds for which the first latent is held; empty: the duration of the range
  The last three operators need the target "all" and move the level with the latents. The amount of scale, offset, set
  and noise may be "a:b", which moves from a to b over the range.
- fade: seconds over which an edit fades in and out within its range (not for reverse, stretch and freeze); empty: 0.

Edits are applied in their order. Edits of values remove the codes of a discrete space.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from timbre_jax.generation import series_paths as path
from timbre_jax.generation.axes import Axes
from timbre_jax.inference.pooled import level_name
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Latent, concatenate_frames, frame_mask, slice_frames

COLUMNS = ("start", "end", "target", "operator", "amount", "fade")
VALUE_OPERATORS = ("scale", "offset", "set", "smooth", "noise", "quantize")
TIME_OPERATORS = ("reverse", "stretch", "freeze")
OPERATORS = (*VALUE_OPERATORS, *TIME_OPERATORS)
RAMP_OPERATORS = ("scale", "offset", "set", "noise")
"""Operators whose amount may be "a:b"."""
MAX_STRETCH = 100.0
"""Largest stretch factor, and the inverse of the smallest one."""
MAX_FREEZE_SECONDS = 600.0


@dataclasses.dataclass(frozen=True)
class Edit:
    """Edit of a latent series: an operator that is applied to a target over a time range.

    Attributes:
      start: start of the range in seconds.
      end: end of the range in seconds; None for the end of the sound.
      target: "all", "latent", "axis" or "level".
      index: index of the latent or axis, or None.
      operator: one of `OPERATORS`.
      amount: amount at the start and at the end of the range, or None.
      fade: duration of the fades in seconds.
      location: file and line of the edit ("edits.csv, line 3"), for messages.
    """

    start: float
    end: float | None
    target: str
    index: int | None
    operator: str
    amount: tuple[float, float] | None
    fade: float
    location: str


def read_edits(file: str | os.PathLike) -> list[Edit]:
    """Reads the edits of a CSV or JSON file.

    Raises:
      ValueError: the file cannot be read, has no edits, or has a wrong edit; the message names the line.
    """
    file = Path(file)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = "no such file" if isinstance(error, FileNotFoundError) else "not a readable text file"
        raise ValueError(f"{file}: {why}, expected a CSV with the header {','.join(COLUMNS)}, or JSON") from None
    if file.suffix.lower() == ".json":
        try:
            rows = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{file}: not JSON ({error})") from None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{file}: expected a list of objects with {', '.join(COLUMNS)}")
        located = [(f"{file}, edit {i + 1}", row) for i, row in enumerate(rows)]
    else:
        reader = csv.DictReader(text.splitlines())
        if reader.fieldnames is None or "operator" not in [str(name).strip() for name in reader.fieldnames]:
            raise ValueError(f"{file}: the first line must be {','.join(COLUMNS)}")
        located = []
        for row in reader:
            if None in row:
                raise ValueError(
                    f"{file}, line {reader.line_num}: more cells than the header has columns; quote cells with commas"
                )
            cells = {name.strip(): (cell or "").strip() for name, cell in row.items()}
            if any(cells.values()):
                located.append((f"{file}, line {reader.line_num}", cells))
    if not located:
        raise ValueError(f"{file}: contains no edits")
    return [make_edit(row, location=location) for location, row in located]


def make_edit(row: Mapping[str, Any], *, location: str = "the edit") -> Edit:
    """Parses an edit from its cells.

    Args:
      row: texts or numbers by column.
      location: file and line of the edit, for messages.

    Raises:
      ValueError: a column, operator or target is unknown, or a number is wrong.
    """
    if unknown := sorted(set(row) - set(COLUMNS)):
        raise ValueError(f"{location}: unknown column {unknown[0]!r}, expected {', '.join(COLUMNS)}")
    cells = {name: "" if row.get(name) is None else str(row[name]).strip() for name in COLUMNS}
    operator = cells["operator"].lower()
    if operator not in OPERATORS:
        raise ValueError(f"{location}: operator must be one of {', '.join(OPERATORS)} (got {cells['operator']!r})")
    target, index = _parse_target(cells["target"] or "all", location)
    if operator in TIME_OPERATORS and target != "all":
        raise ValueError(
            f"{location}: target must be all, because {operator} moves all latents and the level (got {cells['target']!r})"
        )
    start = _parse_number(cells["start"] or "0", "start", location)
    end = _parse_number(cells["end"], "end", location) if cells["end"] else None
    if start < 0 or (end is not None and end <= start):
        raise ValueError(
            f"{location}: start must not be negative and end must be after it (got {cells['start']} and {cells['end']})"
        )
    amount = _parse_amount(cells["amount"], operator, location)
    fade = _parse_number(cells["fade"] or "0", "fade", location)
    if fade < 0 or (fade and operator in TIME_OPERATORS):
        raise ValueError(
            f"{location}: fade must not be negative, and must be empty for {', '.join(TIME_OPERATORS)} (got {fade:g})"
        )
    return Edit(start, end, target, index, operator, amount, fade, location)


def apply_edits(
    space: TimbreSpace, latent: Latent, edits: Iterable[Edit], *, key: Array | None = None, basis: Axes | None = None
) -> Latent:
    """Applies edits to a series [1, M, D] in their order.

    Args:
      space: space of the series.
      latent: series [1, M, D].
      edits: edits to apply.
      key: random key of the operator noise; None for a fixed key.
      basis: playable axes for edits of an axis; None if there are none.

    Raises:
      ValueError: the space does not have the latent, axis or level of an edit, or an edit starts after the end of the sound.
    """
    key = jax.random.key(0) if key is None else key
    for number, edit in enumerate(edits):
        latent = _apply_edit(space, latent, edit, jax.random.fold_in(key, number), basis)
    return latent


def _apply_edit(space: TimbreSpace, latent: Latent, edit: Edit, key: Array, basis: Axes | None) -> Latent:
    count, rate = latent.values.shape[1], latent.rate
    amount = edit.amount or (0.0, 0.0)
    first = int(edit.start * rate + 1e-6)
    if first >= count:
        raise ValueError(
            f"{edit.location}: starts at {edit.start:g} s, but the sound ends at {count / rate:.2f} s; start it earlier"
        )
    stop = count if edit.end is None else min(count, max(first + 1, round(edit.end * rate)))
    if edit.operator in TIME_OPERATORS:
        latent = jax.tree.map(np.asarray, latent)  # JAX would compile the slices for every length
        codes = None if edit.operator == "stretch" else latent.codes
        latent = latent.replace(mask=frame_mask(latent), codes=codes)
        middle = slice_frames(latent, first, stop)
        if edit.operator == "reverse":
            middle = path.reverse(middle)
        elif edit.operator == "stretch":
            middle = path.stretch(middle, max(1, round(amount[0] * (stop - first))))
        else:
            middle = path.freeze(middle, stop - first if edit.amount is None else max(1, round(amount[0] * rate)))
        return concatenate_frames([slice_frames(latent, 0, first), middle, slice_frames(latent, stop)])
    values, center, unit, to_latent = _edited_values(space, latent, edit, basis)
    series = Latent(values=values, mask=latent.mask, rate=rate)
    changed = np.asarray(_apply_value_operator(series, edit, amount, center, unit, key, first, stop).values)
    share = _fade_curve(count, first, stop, edit.fade * rate)[None, :, None]
    if edit.index is not None:
        share = share * (np.arange(values.shape[-1]) == edit.index)
    return to_latent(np.where(share > 0, values + share * (changed - values), values).astype(np.float32))


def _edited_values(space: TimbreSpace, latent: Latent, edit: Edit, basis: Axes | None):
    """Returns the values [1, M, K] to edit, center and unit [K], and the inverse conversion."""
    values = np.asarray(latent.values, np.float32)
    if edit.target == "level":
        name = level_name(latent.conditions)
        if name is None:
            raise ValueError(f"{edit.location}: this space has no level condition to edit; use another target")
        level = np.broadcast_to(np.asarray(latent.conditions[name], np.float32), values.shape[:2])[..., None]
        center = np.asarray(space.statistics.get(f"condition_{name}", level.mean()), np.float32).reshape(1)
        conditions = {**latent.conditions}
        return level, center, np.ones(1, np.float32), lambda new: latent.replace(conditions={**conditions, name: new[..., 0]})
    if edit.target == "axis":
        if basis is None:
            raise ValueError(f"{edit.location}: this space has no playable axes; use another target")
        axes = np.asarray(basis.to_axes(values), np.float32)
        _check_index(edit, axes.shape[-1])
        deviation = np.asarray(basis.deviation, np.float32)

        def from_axes(new: np.ndarray) -> Latent:
            # Only the difference is converted, so that parts outside the axes stay unchanged.
            moved = values + np.asarray(basis.from_axes(new)) - np.asarray(basis.from_axes(axes))
            return latent.replace(values=moved.astype(np.float32), codes=None)

        return axes, np.zeros_like(deviation), deviation, from_axes
    _check_index(edit, values.shape[-1])
    mean, deviation = (np.asarray(space.statistics[name], np.float32) for name in ("latent_mean", "latent_std"))
    return values, mean, deviation, lambda new: latent.replace(values=new, codes=None)


def _check_index(edit: Edit, size: int) -> None:
    if edit.index is not None and edit.index >= size:
        raise ValueError(f"{edit.location}: expected {edit.target} 0 to {size - 1} (got {edit.index})")


def _apply_value_operator(
    series: Latent, edit: Edit, amounts: tuple[float, float], center, unit, key: Array, first: int, stop: int
) -> Latent:
    """Applies the operator of an edit of values to all frames of a series."""
    amount = _ramp(amounts, series.values.shape[1], first, stop)
    if edit.operator == "scale":
        return path.scale(series, amount, center=center)
    if edit.operator == "offset":
        return path.offset(series, amount * unit)
    if edit.operator == "set":
        at = amount * unit + (0.0 if edit.target == "level" else center)
        return series.replace(values=np.broadcast_to(at, series.values.shape).astype(np.float32))
    if edit.operator == "noise":
        return path.noise(series, amount * unit, key=key)
    if edit.operator == "quantize":
        return path.quantize(series, amounts[0] * unit, center=center)
    return path.smooth(series, amounts[0] * series.rate)


def _ramp(amount: tuple[float, float], count: int, first: int, stop: int) -> np.ndarray:
    """Returns amounts [M, 1] that move from one value to another within a range."""
    return np.interp(np.arange(count), [first, max(first + 1, stop - 1)], amount)[:, None]


def _fade_curve(count: int, first: int, stop: int, fade: float) -> np.ndarray:
    """Returns the weight [M] of an edit: 1 within its range, with fades of `fade` latents."""
    position = np.arange(count)
    inside = ((position >= first) & (position < stop)).astype(np.float32)
    if fade > 0:
        inside *= np.clip(np.minimum(position - first + 1, stop - position) / (fade + 1.0), 0.0, 1.0)
    return inside


def _parse_target(text: str, location: str) -> tuple[str, int | None]:
    """Parses the target and the index from a text such as "latent 3"."""
    words = text.lower().replace(":", " ").split()
    if words in (["all"], ["level"]):
        return words[0], None
    if len(words) == 1 and words[0].isdigit():
        words = ["latent", words[0]]
    if len(words) == 2 and words[0] in ("latent", "axis") and words[1].isdigit():
        return words[0], int(words[1])
    raise ValueError(f'{location}: target must be "all", "level", "latent 3" or "axis 0" (got {text!r})')


def _parse_amount(text: str, operator: str, location: str) -> tuple[float, float] | None:
    """Parses the amounts at both ends of a range from "2" or "0:2"; None if empty."""
    if operator == "reverse" or (operator == "freeze" and not text):
        if text:
            raise ValueError(f"{location}: amount of reverse must be empty (got {text!r})")
        return None
    if not text:
        raise ValueError(f"{location}: {operator} needs an amount, such as 2")
    parts = text.split(":")
    if len(parts) > 2 or (len(parts) == 2 and operator not in RAMP_OPERATORS):
        raise ValueError(f"{location}: amount must be a number, or a:b for {', '.join(RAMP_OPERATORS)} (got {text!r})")
    amounts = [_parse_number(part, "amount", location) for part in parts]
    limits = {"stretch": (1 / MAX_STRETCH, MAX_STRETCH), "freeze": (0.0, MAX_FREEZE_SECONDS)}
    low, high = limits.get(operator, (-math.inf, math.inf))
    if operator in ("smooth", "quantize", "noise"):
        low = 0.0
    if not all(low <= amount <= high for amount in amounts):
        raise ValueError(f"{location}: amount of {operator} must be between {low:g} and {high:g} (got {text})")
    return amounts[0], amounts[-1]


def _parse_number(text: str, name: str, location: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{location}: {name} must be a number (got {text!r})") from None
    if not math.isfinite(value):
        raise ValueError(f"{location}: {name} must be finite (got {text!r})")
    return value
