"""Tests of the study of descriptor control."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.studies.control_accuracy import ControlAccuracy, control_accuracy, draw_curves, summarize
from timbre_jax.metrics.table import read_results

pytestmark = pytest.mark.xdist_group("small_analysis")


def test_curves_stay_within_the_range_and_do_not_depend_on_their_number():
    few, many = (draw_curves("centroid", (500.0, 5000.0), number=number, seconds=4.0, seed=3) for number in (4, 20))
    for a, b in zip(few, many, strict=False):
        np.testing.assert_array_equal(a.values, b.values)
    for curve in many:
        assert curve.values.min() * 1.001 >= 500 * 10**0.1
        assert curve.values.max() <= 5000 / 10**0.1 * 1.001
        assert curve.values.max() >= 1.45 * curve.values.min()
    assert len({curve.origin.split()[0] for curve in many}) == 3
    with pytest.raises(ValueError, match="range that the space reaches is empty"):
        draw_curves("centroid", (500.0, 500.0), number=2, seconds=1.0, seed=0)


@pytest.mark.slow
def test_study_writes_tables_and_sounds_of_a_discrete_run(discrete_run, tmp_path):
    table = control_accuracy(ControlAccuracy(discrete_run, tmp_path, curves=3, seconds=1.0, progress=False))
    assert table.column("measure")[:3] == ["median_error", "mean_error", "correlation"]
    rows = {result.name: result for result in read_results(tmp_path / "results.json")}
    median = rows["control/centroid/median_error"]
    assert 0 <= median.low <= median.value <= median.high
    assert median.baseline is not None
    lines = (tmp_path / "curves.csv").read_text().splitlines()
    assert len(lines) == 4
    values = [float(line.split(",")[lines[0].split(",").index("median_error")]) for line in lines[1:]]
    assert median.value == pytest.approx(np.mean(values))
    assert (tmp_path / "figure.png").is_file()
    assert len(list((tmp_path / "audio").glob("*.wav"))) == 3


@pytest.mark.slow
def test_held_out_sounds_can_be_starts(discrete_run, tmp_path):
    table = control_accuracy(ControlAccuracy(discrete_run, tmp_path, curves=2, start="sounds", split="train", progress=False))
    assert "sounds of split" in table.caption


def test_static_space_is_refused(mean_run, tmp_path):
    with pytest.raises(ValueError, match="descriptor control needs a series space"):
        control_accuracy(ControlAccuracy(mean_run, tmp_path))


def test_silent_sounds_do_not_count_as_good_scores():
    def record(error, correlation):
        return {
            "median_error": error, "mean_error": error, "correlation": correlation, "uncontrolled_error": 2.0 * error,
            "nearest_error": error, "nearest_correlation": correlation,
        }  # fmt: skip

    silent = float("nan")
    table, results = summarize([record(1.0, 0.9), record(silent, silent), record(3.0, 0.7)], "centroid", "here")
    rows = {result.name: result for result in results}
    assert rows["control/centroid/median_error"].value == pytest.approx(2.0)
    assert rows["control/centroid/median_error"].baseline == pytest.approx(4.0)
    assert "of 2 of 3 curves" in rows["control/centroid/median_error"].definition
    assert rows["control/centroid/correlation"].value == pytest.approx(1.6 / 3)
    assert "of 2 of 3 curves" in table.markdown()
    assert "0 for curves that are silent" in rows["control/centroid/correlation"].definition
    table, _ = summarize([record(silent, silent)] * 2, "centroid", "here")
    assert "median_error" not in table.column("measure")
