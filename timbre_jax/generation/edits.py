"""Edits of a series from a list, a CSV or a JSON file: operators on time ranges, of latents, playable axes or the level.

A CSV has the header `start,end,what,operator,amount,fade`; a JSON file is a list of objects with these keys.

  start, end   seconds of the sound as it is when its turn comes; an empty end is the end of the sound
  what         "all", "latent 3", "axis 0" (a playable axis: `generation.axes`), "level"
  operator     scale     amount: factor around the training mean (the level: around the training median)
               offset    amount: training deviations (the level: dB)
               set       amount: training deviations from the training mean (the level: dB)
               smooth    amount: seconds (standard deviation of a Gaussian)
               noise     amount: training deviations (the level: dB)
               quantize  amount: steps in training deviations (the level: dB)
               reverse   (all): the range backwards, level too
               stretch   (all) amount: factor on the range's duration, level too
               freeze    (all): the range's first latent held, level too; amount: for so many seconds, else as long as it is
  amount       a number; of scale, offset, set and noise also "a:b", which moves from a to b over the range
  fade         seconds over which an edit comes in and goes out within its range (not reverse, stretch, freeze); empty: 0

Edits are made in their order. Codes are lost where values change.
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

COLUMNS = ("start", "end", "what", "operator", "amount", "fade")
OF_VALUES = ("scale", "offset", "set", "smooth", "noise", "quantize")
OF_TIME = ("reverse", "stretch", "freeze")
OPERATORS = (*OF_VALUES, *OF_TIME)
RAMPS = ("scale", "offset", "set", "noise")
LONGEST = 100.0
"""Stretch factors lie between 1 / LONGEST and LONGEST; a frozen latent is held for at most 600 s."""


@dataclasses.dataclass(frozen=True)
class Edit:
    """One edit; see the module.

    Attributes:
      start, end: seconds; end None: to the end.
      what: "all", "latent", "axis" or "level". index: of the latent or axis.
      operator: of `OPERATORS`. amount: at the range's beginning and end, or None. fade: seconds.
      place: where it was said ("edits.csv, line 3"), for errors.
    """

    start: float
    end: float | None
    what: str
    index: int | None
    operator: str
    amount: tuple[float, float] | None
    fade: float
    place: str


def read_edits(file: str | os.PathLike) -> list[Edit]:
    """Edits of a CSV or JSON file.

    Raises:
      ValueError: no such file, no edits, or an edit that makes no sense: which line, what is wrong. One line.
    """
    file = Path(file)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = "no such file" if isinstance(error, FileNotFoundError) else "not a readable text file"
        raise ValueError(f"{file}: {why}; edits are a CSV with the header {','.join(COLUMNS)}, or JSON") from None
    if file.suffix.lower() == ".json":
        try:
            rows = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{file}: not JSON ({error})") from None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{file}: edits in JSON are a list of objects with {', '.join(COLUMNS)}")
        placed = [(f"{file}, edit {i + 1}", row) for i, row in enumerate(rows)]
    else:
        reader = csv.DictReader(text.splitlines())
        if reader.fieldnames is None or "operator" not in [str(name).strip() for name in reader.fieldnames]:
            raise ValueError(f"{file}: the first line has to be {','.join(COLUMNS)}")
        placed = []
        for row in reader:
            if None in row:
                raise ValueError(f"{file}, line {reader.line_num}: more cells than the header has columns")
            cells = {name.strip(): (cell or "").strip() for name, cell in row.items()}
            if any(cells.values()):
                placed.append((f"{file}, line {reader.line_num}", cells))
    if not placed:
        raise ValueError(f"{file}: there are no edits in it")
    return [make_edit(row, place=place) for place, row in placed]


def make_edit(row: Mapping[str, Any], *, place: str = "the edit") -> Edit:
    """An edit from its cells, text or numbers, checked.

    Raises:
      ValueError: an unknown key, operator or target, or a number that makes no sense. One line.
    """
    if unknown := sorted(set(row) - set(COLUMNS)):
        raise ValueError(f"{place}: there is no column {unknown[0]!r}; there are {', '.join(COLUMNS)}")
    cells = {name: "" if row.get(name) is None else str(row[name]).strip() for name in COLUMNS}
    operator = cells["operator"].lower()
    if operator not in OPERATORS:
        raise ValueError(f"{place}: operator is one of {', '.join(OPERATORS)}, not {cells['operator']!r}")
    what, index = _target(cells["what"] or "all", place)
    if operator in OF_TIME and what != "all":
        raise ValueError(
            f"{place}: {operator} moves all latents and the level together: what has to be all, not {cells['what']!r}"
        )
    start = _number(cells["start"] or "0", "start", place)
    end = _number(cells["end"], "end", place) if cells["end"] else None
    if start < 0 or (end is not None and end <= start):
        raise ValueError(
            f"{place}: start must not be negative and end must lie behind it, got {cells['start']} and {cells['end']}"
        )
    amount = _amount(cells["amount"], operator, place)
    fade = _number(cells["fade"] or "0", "fade", place)
    if fade < 0 or (fade and operator in OF_TIME):
        raise ValueError(f"{place}: a fade is not negative, and {', '.join(OF_TIME)} have none")
    return Edit(start, end, what, index, operator, amount, fade, place)


def apply_edits(
    space: TimbreSpace, latent: Latent, edits: Iterable[Edit], *, key: Array | None = None, basis: Axes | None = None
) -> Latent:
    """The series [1, M, D] with all edits made, one after another.

    Args:
      key: of the operator noise; edit after edit draws its own.
      basis: playable axes, where an edit names one.

    Raises:
      ValueError: an edit of what the space does not have, or behind the end of the sound. One line.
    """
    key = jax.random.key(0) if key is None else key
    for number, edit in enumerate(edits):
        latent = _apply(space, latent, edit, jax.random.fold_in(key, number), basis)
    return latent


def _apply(space: TimbreSpace, latent: Latent, edit: Edit, key: Array, basis: Axes | None) -> Latent:
    count, rate = latent.values.shape[1], latent.rate
    amount = edit.amount or (0.0, 0.0)
    first = int(edit.start * rate + 1e-6)
    if first >= count:
        raise ValueError(f"{edit.place}: begins at {edit.start:g} s, the sound ends at {count / rate:.2f} s")
    stop = count if edit.end is None else min(count, max(first + 1, round(edit.end * rate)))
    if edit.operator in OF_TIME:
        latent = jax.tree.map(np.asarray, latent)  # jax would compile every slice anew for every length
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
    values, center, unit, back = _columns(space, latent, edit, basis)
    series = Latent(values=values, mask=latent.mask, rate=rate)
    changed = np.asarray(_value_operator(series, edit, amount, center, unit, key, first, stop).values)
    share = _share(count, first, stop, edit.fade * rate)[None, :, None]
    if edit.index is not None:
        share = share * (np.arange(values.shape[-1]) == edit.index)
    return back(np.where(share > 0, values + share * (changed - values), values).astype(np.float32))


def _columns(space: TimbreSpace, latent: Latent, edit: Edit, basis: Axes | None):
    """What an edit works on [1, M, K], its center and unit [K], and the way back to a `Latent`."""
    values = np.asarray(latent.values, np.float32)
    if edit.what == "level":
        name = level_name(latent.conditions)
        if name is None:
            raise ValueError(f"{edit.place}: this space sets no level aside, so there is none to edit")
        level = np.broadcast_to(np.asarray(latent.conditions[name], np.float32), values.shape[:2])[..., None]
        center = np.asarray(space.statistics.get(f"condition_{name}", level.mean()), np.float32).reshape(1)
        keep = {**latent.conditions}
        return level, center, np.ones(1, np.float32), lambda new: latent.replace(conditions={**keep, name: new[..., 0]})
    if edit.what == "axis":
        if basis is None:
            raise ValueError(f"{edit.place}: this space has no playable axes")
        axes = np.asarray(basis.to_axes(values), np.float32)
        _exists(edit, axes.shape[-1])
        deviation = np.asarray(basis.deviation, np.float32)

        def from_axes(new: np.ndarray) -> Latent:
            # Only the difference goes back: what the axes do not span stays.
            moved = values + np.asarray(basis.from_axes(new)) - np.asarray(basis.from_axes(axes))
            return latent.replace(values=moved.astype(np.float32), codes=None)

        return axes, np.zeros_like(deviation), deviation, from_axes
    _exists(edit, values.shape[-1])
    mean, deviation = (np.asarray(space.statistics[name], np.float32) for name in ("latent_mean", "latent_std"))
    return values, mean, deviation, lambda new: latent.replace(values=new, codes=None)


def _exists(edit: Edit, size: int) -> None:
    if edit.index is not None and edit.index >= size:
        raise ValueError(f"{edit.place}: there is no {edit.what} {edit.index}; there are 0 to {size - 1}")


def _value_operator(
    series: Latent, edit: Edit, amounts: tuple[float, float], center, unit, key: Array, first: int, stop: int
) -> Latent:
    amount = _ramp(amounts, series.values.shape[1], first, stop)
    if edit.operator == "scale":
        return path.scale(series, amount, center=center)
    if edit.operator == "offset":
        return path.offset(series, amount * unit)
    if edit.operator == "set":
        at = amount * unit + (0.0 if edit.what == "level" else center)
        return series.replace(values=np.broadcast_to(at, series.values.shape).astype(np.float32))
    if edit.operator == "noise":
        return path.noise(series, amount * unit, key=key)
    if edit.operator == "quantize":
        return path.quantize(series, amounts[0] * unit, center=center)
    return path.smooth(series, amounts[0] * series.rate)


def _ramp(amount: tuple[float, float], count: int, first: int, stop: int) -> np.ndarray:
    """[M, 1]: from the one to the other within the range, constant outside."""
    return np.interp(np.arange(count), [first, max(first + 1, stop - 1)], amount)[:, None]


def _share(count: int, first: int, stop: int, fade: float) -> np.ndarray:
    """[M]: how much of an edit each latent gets: 1 within its range, rising and falling over `fade` latents at its ends."""
    place = np.arange(count)
    inside = ((place >= first) & (place < stop)).astype(np.float32)
    if fade > 0:
        inside *= np.clip(np.minimum(place - first + 1, stop - place) / (fade + 1.0), 0.0, 1.0)
    return inside


def _target(text: str, place: str) -> tuple[str, int | None]:
    words = text.lower().replace(":", " ").split()
    if words in (["all"], ["level"]):
        return words[0], None
    if len(words) == 1 and words[0].isdigit():
        words = ["latent", words[0]]
    if len(words) == 2 and words[0] in ("latent", "axis") and words[1].isdigit():
        return words[0], int(words[1])
    raise ValueError(f'{place}: what is "all", "level", "latent 3" or "axis 0", not {text!r}')


def _amount(text: str, operator: str, place: str) -> tuple[float, float] | None:
    if operator == "reverse" or (operator == "freeze" and not text):
        if text:
            raise ValueError(f"{place}: reverse takes no amount, got {text!r}")
        return None
    if not text:
        raise ValueError(f"{place}: {operator} needs an amount")
    parts = text.split(":")
    if len(parts) > 2 or (len(parts) == 2 and operator not in RAMPS):
        ramps = ", ".join(RAMPS)
        raise ValueError(f"{place}: amount is a number, or a:b for {ramps}, not {text!r}")
    amounts = [_number(part, "amount", place) for part in parts]
    low, high = {"stretch": (1 / LONGEST, LONGEST), "freeze": (0.0, 600.0)}.get(operator, (-math.inf, math.inf))
    if operator in ("smooth", "quantize", "noise"):
        low = 0.0
    if not all(low <= amount <= high for amount in amounts):
        raise ValueError(f"{place}: the amount of {operator} lies between {low:g} and {high:g}, not {text}")
    return amounts[0], amounts[-1]


def _number(text: str, name: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{place}: {name} is a number, not {text!r}") from None
    if not math.isfinite(value):
        raise ValueError(f"{place}: {name} is a finite number, not {text!r}")
    return value
