"""Tables as plain data, written as CSV and Markdown, and the rows of `results.json`."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import numbers
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from timbre_jax.files import write_text


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under named columns, with a caption.

    Attributes:
      name: name of the table and of its file ("ablation").
      columns: names of the columns.
      rows: cells of each row: numbers, strings, booleans or None (unknown, not applicable).
      caption: definition of the numbers, with units and the set of sounds.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    caption: str = ""

    def __post_init__(self):
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.name!r}: a row has {len(row)} cells for {len(self.columns)} columns: {row}")

    @classmethod
    def from_records(cls, name: str, records: Sequence[Mapping[str, Any]], caption: str = "") -> Table:
        """Returns a table of dicts; columns are in the order of their first occurrence.

        Args:
          name: name of the table.
          records: cells by column; missing cells are None.
          caption: definition of the numbers.
        """
        columns = tuple(dict.fromkeys(key for record in records for key in record))
        return cls(name, columns, tuple(tuple(record.get(column) for column in columns) for record in records), caption)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows as dicts by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def column(self, name: str) -> list[Any]:
        """Returns the cells of a column.

        Raises:
          ValueError: there is no such column.
        """
        if name not in self.columns:
            raise ValueError(f"table {self.name!r}: no column {name!r}; there are {', '.join(self.columns)}")
        position = self.columns.index(name)
        return [row[position] for row in self.rows]

    def csv(self) -> str:
        """Returns comma-separated values with a header; floats are exact, None and nan are empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self.rows:
            writer.writerow(["" if _missing(cell) else _plain(cell) for cell in row])
        return text.getvalue()

    def markdown(self) -> str:
        """Returns a Markdown table; numbers are aligned right, with four significant digits."""
        right = self.numeric_columns()
        head = "| " + " | ".join(_escape(c) for c in self.columns) + " |"
        rule = "|" + "|".join("---:" if numeric else "---" for numeric in right) + "|"
        lines = ["| " + " | ".join(_escape(format_cell(cell)) for cell in row) + " |" for row in self.rows]
        return "\n".join([head, rule, *lines]) + "\n"

    def write_csv(self, folder: str | os.PathLike) -> Path:
        """Writes FOLDER/NAME.csv atomically and returns its path."""
        return write_text(Path(folder) / f"{self.name}.csv", self.csv())

    def numeric_columns(self) -> list[bool]:
        """Returns for each column whether all of its cells are numbers or missing."""

        def numeric(position: int) -> bool:
            cells = [row[position] for row in self.rows if not _missing(row[position])]
            return bool(cells) and all(isinstance(c, numbers.Real) and not isinstance(c, bool) for c in map(_plain, cells))

        return [numeric(position) for position in range(len(self.columns))]


@dataclasses.dataclass(frozen=True)
class Result:
    """Row of `results.json`.

    Attributes:
      name: stable name with slashes ("reconstruction/mse", "shapley/mse/latent_3").
      value: the number; nan if it could not be computed.
      low: lower end of the 95 % interval over instruments; None: no interval.
      high: upper end.
      baseline: value of a trivial method (mean image, majority class, permuted labels); None: no baseline.
      definition: what was measured, on which sounds, in which unit, and against which baseline.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    definition: str = ""


def write_results(path: str | os.PathLike, results: Iterable[Result]) -> Path:
    """Writes a JSON list of {name, value, low, high, baseline, definition}.

    nan and infinity become null.

    Args:
      path: the file.
      results: rows with different names.

    Returns:
      The path.

    Raises:
      ValueError: two results have the same name.
    """
    rows = [dataclasses.asdict(result) for result in results]
    names = [row["name"] for row in rows]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"results: two have the name {repeated[0]!r}")
    for row in rows:
        for key in ("value", "low", "high", "baseline"):
            row[key] = float(row[key]) if row[key] is not None and math.isfinite(row[key]) else None
    text = "[\n" + ",\n".join("  " + json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows) + "\n]\n"
    return write_text(path, text)


def read_results(path: str | os.PathLike) -> list[Result]:
    """Reads the file of `write_results`; a null value is nan."""
    with open(path, encoding="utf-8") as file:
        rows = json.load(file)
    return [Result(**{**row, "value": math.nan if row["value"] is None else row["value"]}) for row in rows]


def format_cell(cell: Any) -> str:
    """Formats a cell: four significant digits above 1, three below; a dash if missing."""
    if _missing(cell):
        return "–"
    cell = _plain(cell)
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        if not math.isfinite(cell):
            return "∞" if cell > 0 else "-∞"
        if cell == 0:
            return "0"
        if abs(cell) >= 10000:
            return f"{cell:,.0f}"
        if abs(cell) < 1e-4:
            return f"{cell:.2e}"
        size = math.floor(math.log10(abs(cell)))
        return f"{cell:.{max(0, 3 - size)}f}" if size >= 0 else f"{cell:.{max(3, 2 - size)}f}"
    return str(cell)


def interval_columns(name: str, numbers: Iterable[float | None]) -> dict[str, float | None]:
    """Returns the cells NAME, NAME_low and NAME_high of a value and its interval."""
    return dict(zip((name, f"{name}_low", f"{name}_high"), numbers, strict=True))


def interval_cell(record: Mapping[str, Any], name: str, *, scale: float = 1.0) -> str:
    """Formats the cells of `interval_columns` as 0.863 (0.841–0.880) or -5.1 (-6.4 to -3.9)."""
    value, low, high = (record[f"{name}{end}"] for end in ("", "_low", "_high"))
    if _missing(value) or _missing(low):
        return format_cell(None if value is None else scale * value)
    between = "–" if min(low, high) >= 0 else " to "  # a dash beside a minus sign is hard to read
    return f"{format_cell(scale * value)} ({format_cell(scale * low)}{between}{format_cell(scale * high)})"


def _plain(cell: Any) -> Any:
    """Converts numpy scalars to Python numbers."""
    return cell.item() if hasattr(cell, "item") and getattr(cell, "ndim", 0) == 0 else cell


def _missing(cell: Any) -> bool:
    """Returns whether a cell is None, nan or empty."""
    cell = _plain(cell)
    return cell is None or (isinstance(cell, float) and math.isnan(cell)) or (isinstance(cell, str) and cell == "")


def _escape(text: str) -> str:
    """Escapes text for a Markdown cell; "<real sounds>" would be read as an HTML tag."""
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "\\<")
