"""Tests of tables of pages: intervals in the cell of their value, headers with units."""

from __future__ import annotations

import pytest

from timbre_jax.metrics.table import Table
from timbre_jax.report.page_tables import number_text, page_table


def test_intervals_share_the_cell_of_their_value():
    table = Table("t", ("model", "mse", "mse_low", "mse_high", "quartile_low", "quartile_high"), (("a", 0.5, 0.25, 1.0, 1, 2),))
    shown = page_table(table)
    assert shown.headers == ["model", "MSE", "quartiles"]
    assert shown.rows == [["a", "0.500 (0.250 to 1.00)", "1 to 2"]]
    assert shown.right == [False, True, True]


def test_bare_bounds_belong_to_the_column_before_them():
    table = Table("t", ("sound", "distance_db", "low", "high"), (("a", 7.0, 4.0, 10.0), ("b", 7.0, float("nan"), float("nan"))))
    shown = page_table(table)
    assert shown.headers == ["sound", "distance (dB)"]
    assert shown.rows == [["a", "7.00 (4.00 to 10.0)"], ["b", "7.00"]]


def test_percentiles_are_a_column_of_their_own_and_hidden_columns_are_left_out():
    shown = page_table(Table("series", ("std", "low", "high", "lag_one"), ((1, 2, 3, 4),)))
    assert shown.headers == ["standard deviation", "1st to 99th percentile"]
    assert shown.rows == [["1", "2 to 3"]]


def test_more_than_seven_columns_are_an_error():
    with pytest.raises(ValueError, match="table 't': must have at most 7"):
        page_table(Table("t", tuple("abcdefgh"), ()))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00123456, "0.00123"), (8.37e-5, "0.0000837"), (12.345, "12.3"), (0.0, "0"), (1234, "1,234"), (12345.6, "12,346"),
     (None, "–"), (float("nan"), "–"), ("a", "a"), (-0.5, "-0.500")],
)  # fmt: skip
def test_numbers_have_three_significant_digits(value, text):
    assert number_text(value) == text
