"""Tests of tables as CSV and Markdown, and of results.json."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest

from timbre_jax.metrics.table import Result, Table, format_cell, read_results, write_results

TABLE = Table("t", ("name", "value", "note"), (("a|b", 0.00251234, None), ("c", 12345.6, "<i>")), "A caption.")


def test_csv_keeps_full_precision():
    rows = list(csv.DictReader(io.StringIO(TABLE.csv())))
    assert float(rows[0]["value"]) == 0.00251234
    assert rows[0] == {"name": "a|b", "value": "0.00251234", "note": ""}
    assert rows[1]["note"] == "<i>"


def test_markdown_aligns_numbers_and_escapes_bars():
    lines = TABLE.markdown().splitlines()
    assert lines[1] == "|---|---:|---|"
    assert lines[2] == "| a\\|b | 0.00251 | – |"


def test_narrow_markdown_repeats_the_first_columns():
    table = Table("t", ("run", "a", "b", "c"), (("x", 1, 2, 3),))
    assert table.narrow_markdown(head=1, most=3) == (
        "| run | a | b |\n|---|---:|---:|\n| x | 1 | 2 |\n\n| run | c |\n|---|---:|\n| x | 3 |\n"
    )
    assert table.narrow_markdown(head=1) == table.markdown()


@pytest.mark.parametrize(
    ("cell", "text"),
    [(0.00251234, "0.00251"), (0.86342, "0.863"), (6.61534, "6.615"), (123.456, "123.5"), (23456.7, "23,457"), (3, "3"),
     (None, "–"), (float("nan"), "–"), (True, "yes"), (np.float32(0.5), "0.500"), (0.0, "0"), (1e-7, "1.00e-07"),
     (-0.25, "-0.250"), (float("inf"), "∞"), (np.int64(7), "7"), ("text", "text")],
)  # fmt: skip
def test_format_cell_rounds_numbers(cell, text):
    assert format_cell(cell) == text


def test_rows_of_wrong_length_and_unknown_columns_are_rejected():
    with pytest.raises(ValueError, match="2 cells for 1 columns"):
        Table("t", ("a",), ((1, 2),))
    assert TABLE.column("value") == [0.00251234, 12345.6]
    with pytest.raises(ValueError, match="no column 'x'"):
        TABLE.column("x")
    joined = Table.from_records("j", [{"a": 1}, {"b": 2, "a": 3}])
    assert joined.columns == ("a", "b")
    assert joined.rows == ((1, None), (3, 2))


def test_results_are_strict_json(tmp_path):
    rows = [Result("mse", 0.1, 0.05, np.float32(0.25), None, "größer"), Result("x", float("nan"), float("inf"))]
    path = write_results(tmp_path / "deep" / "results.json", rows)
    loaded = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(name))
    assert [list(row) for row in loaded] == [["name", "value", "low", "high", "baseline", "definition"]] * 2
    assert loaded[0] == {"name": "mse", "value": 0.1, "low": 0.05, "high": 0.25, "baseline": None, "definition": "größer"}
    assert loaded[1]["value"] is None
    assert loaded[1]["low"] is None
    again = read_results(path)
    assert again[0].value == 0.1
    assert math.isnan(again[1].value)


def test_duplicate_result_names_are_rejected(tmp_path):
    with pytest.raises(ValueError, match="two have the name 'a'"):
        write_results(tmp_path / "r.json", [Result("a", 1.0), Result("a", 2.0)])
    assert list(tmp_path.iterdir()) == []
