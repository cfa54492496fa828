"""Tables as pages show them: at most seven columns, units in the headers, an interval in the cell of its value."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from timbre_jax.metrics.table import Table, format_cell

MOST_COLUMNS = 7
HEADERS = {
    "mse": "MSE",
    "ssim": "SSIM",
    "std": "standard deviation",
    "distance_db": "distance (dB)",
    "others_at": "value when off",
    "enabled": "latents on",
    "percent": "change (% of the value)",
    "deviation": "change (standard deviations)",
    "ssim_decrease_percent": "decrease of SSIM (%)",
    "percent_of_total": "share of the total (%)",
    "quartile": "quartiles",
    "whisker": "whiskers",
    "range": "1st to 99th percentile",
    "floor": "chance level",
    "within": "variance within sounds (share)",
    "memory_seconds": "memory (s)",
    "speed": "speed (deviations/s)",
    "change_of_pitch_semitones": "pitch (semitones)",
    "change_of_level_db": "level (dB)",
    "change_of_brightness_harmonics": "brightness (harmonic number)",
    "change_of_temporal_centroid_seconds": "temporal centroid (s)",
    "centroid": "centroid (Hz)",
    "bandwidth": "bandwidth (Hz)",
    "rolloff": "rolloff (Hz)",
    "f0": "f0 (Hz)",
}
HIDDEN = {"series": ("lag_one",), "code_table": ("x", "y")}
"""Columns, by table, that only the CSV file has."""
PERCENTILES = ("series", "axes")
"""Tables whose columns `low` and `high` are percentiles of their own; in others they bound the column before them."""


@dataclasses.dataclass(frozen=True)
class PageTable:
    """Table of a page: headers and cells as text.

    Attributes:
      name: of the CSV file with all columns.
      headers: [C].
      right: [C], whether a column is aligned to the right.
      rows: [R][C].
      caption: definition of the numbers.
    """

    name: str
    headers: Sequence[str]
    right: Sequence[bool]
    rows: Sequence[Sequence[str]]
    caption: str


def page_table(table: Table) -> PageTable:
    """Returns a table with every `X_low` and `X_high` in the cell of `X`: "0.93 (0.91 to 0.95)", or alone, "0.91 to 0.95".

    Raises:
      ValueError: the table has too many columns for a page.
    """
    bounds, shown = _intervals(table), []
    ends = {end for pair in bounds.values() for end in pair}
    for column in table.columns:
        if column in bounds or (column not in ends and column not in HIDDEN.get(table.name, ())):
            shown.append(column)
        else:  # A lower bound without a column of its value takes that column's place.
            shown += [name for name, (low, _) in bounds.items() if low == column and name not in table.columns]
    if len(shown) > MOST_COLUMNS:
        raise ValueError(f"table {table.name!r}: {len(shown)} columns ({', '.join(shown)}), a page shows {MOST_COLUMNS}")
    numeric = dict(zip(table.columns, table.numeric_columns(), strict=True))
    records = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    rows = [[_cell(record, column, bounds.get(column)) for column in shown] for record in records]
    headers = [HEADERS.get(column, column.replace("_", " ")) for column in shown]
    return PageTable(table.name, headers, [numeric.get(column, True) for column in shown], rows, table.caption)


def interval_text(low: float, high: float) -> str:
    """Returns "0.91 to 0.95"; "" if the ends are not known."""
    return f"{format_cell(low)} to {format_cell(high)}" if math.isfinite(low) and math.isfinite(high) else ""


def _intervals(table: Table) -> dict[str, tuple[str, str]]:
    """Returns the columns of the lower and upper bound by the column that they bound."""
    found = {}
    for place, column in enumerate(table.columns):
        if column == "low":
            base = "range" if table.name in PERCENTILES else table.columns[place - 1]
        elif column.endswith("_low"):
            base = column.removesuffix("_low")
        else:
            continue
        found[base] = (column, column.removesuffix("low") + "high")
    return found


def _cell(record: dict[str, Any], column: str, bounds: tuple[str, str] | None) -> str:
    interval = "" if bounds is None else interval_text(record[bounds[0]], record[bounds[1]])
    if column not in record:
        return interval
    return format_cell(record[column]) + (f" ({interval})" if interval else "")
