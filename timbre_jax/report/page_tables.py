"""Tables of pages: at most seven columns, units in headers, intervals beside values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from timbre_jax.metrics.table import Table

MOST_COLUMNS = 7
HEADERS = {
    "mse": "MSE",
    "ssim": "SSIM",
    "std": "standard deviation",
    "distance_db": "distance (dB)",
    "disabled_at": "disabled latents at",
    "enabled": "enabled latents",
    "percent": "change (% of the value)",
    "deviation": "change (standard deviations)",
    "ssim_decrease_percent": "decrease of SSIM (%)",
    "percent_of_total": "share of the total (%)",
    "quartile": "quartiles",
    "whisker": "whiskers",
    "range": "1st to 99th percentile",
    "chance": "chance level",
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
"""Columns by table that are only in the CSV file."""
PERCENTILES = ("series", "axes")
"""Tables whose columns `low` and `high` are percentiles; in other tables they bound the preceding column."""


@dataclasses.dataclass(frozen=True)
class PageTable:
    """Table of a page: headers and cells as text.

    Attributes:
      name: name of the CSV file with all columns.
      headers: headers of the C columns.
      right: whether each column is aligned to the right.
      rows: rows of C cells.
      caption: caption of the table.
    """

    name: str
    headers: Sequence[str]
    right: Sequence[bool]
    rows: Sequence[Sequence[str]]
    caption: str


def page_table(table: Table) -> PageTable:
    """Formats a table for a page.

    Columns `X_low` and `X_high` are merged into the cell of `X`: "0.93 (0.91 to 0.95)". Without a column `X` they share a cell:
    "0.91 to 0.95".

    Raises:
      ValueError: the table has more than seven columns.
    """
    bounds, shown = _intervals(table), []
    ends = {end for pair in bounds.values() for end in pair}
    for column in table.columns:
        if column in bounds or (column not in ends and column not in HIDDEN.get(table.name, ())):
            shown.append(column)
        else:  # a lower bound without a column of its value
            shown += [name for name, (low, _) in bounds.items() if low == column and name not in table.columns]
    if len(shown) > MOST_COLUMNS:
        raise ValueError(
            f"table {table.name!r}: must have at most {MOST_COLUMNS} columns (got {len(shown)}: {', '.join(shown)})"
        )
    numeric = dict(zip(table.columns, table.numeric_columns(), strict=True))
    records = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    rows = [[_cell(record, column, bounds.get(column)) for column in shown] for record in records]
    headers = [HEADERS.get(column, column.replace("_", " ")) for column in shown]
    return PageTable(table.name, headers, [numeric.get(column, True) for column in shown], rows, table.caption)


def number_text(value: Any) -> str:
    """Returns a cell as text: floats with three significant digits, and a dash for missing values."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 1e-6:
        return f"{value:.2e}" if value else "0"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def interval_text(low: float, high: float) -> str:
    """Returns an interval as text, "0.91 to 0.95", or "" if an end is not finite."""
    return f"{number_text(low)} to {number_text(high)}" if math.isfinite(low) and math.isfinite(high) else ""


def _intervals(table: Table) -> dict[str, tuple[str, str]]:
    """Returns the columns of the lower and upper bound by bounded column."""
    bounds = {}
    for index, column in enumerate(table.columns):
        if column == "low":
            base = "range" if table.name in PERCENTILES else table.columns[index - 1]
        elif column.endswith("_low"):
            base = column.removesuffix("_low")
        else:
            continue
        bounds[base] = (column, column.removesuffix("low") + "high")
    return bounds


def _cell(record: dict[str, Any], column: str, bounds: tuple[str, str] | None) -> str:
    interval = "" if bounds is None else interval_text(record[bounds[0]], record[bounds[1]])
    if column not in record:
        return interval
    return number_text(record[column]) + (f" ({interval})" if interval else "")
