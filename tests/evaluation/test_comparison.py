"""Tests of the comparison of runs on the same notes."""

from __future__ import annotations

import pytest

from tests.helpers.evaluations import evaluate
from timbre_jax.metrics.table import read_results

pytestmark = pytest.mark.xdist_group("small_analysis")


def test_runs_are_scored_on_the_same_notes(pca_run, mean_run, tmp_path):
    table = evaluate([mean_run, pca_run], tmp_path, sounds=4)
    assert table.column("run") == ["mean", "pca3"]
    assert table.column("notes") == [18, 18]
    mse = table.column("mse")
    assert mse[1] < 0.5 * mse[0]
    assert table.column("mse_vs_reference_percent")[1] is None
    assert table.column("mse_vs_reference_percent")[0] == pytest.approx(100 * (mse[0] / mse[1] - 1))
    assert table.column("family_knn")[0] == table.column("family_knn_baseline")[0]
    assert table.column("family_knn")[1] > 0.8
    sound = table.column("sound_db")
    assert table.column("representation_db")[1] <= sound[1] < sound[0]
    rows = {row.name: row for row in read_results(tmp_path / "results.json")}
    assert rows["store/pca3/mse"].value == pytest.approx(mse[1])
    assert rows["store/pca3/mse"].baseline == pytest.approx(mse[0])
    assert "log f0 80-2100 Hz" in rows["store/pca3/mse"].definition
    text = (tmp_path / "scores.md").read_text(encoding="utf-8")
    assert "| store (18 of 3) | pca3 (3 latents) |" in text
    assert "MSE 0.039 and SSIM 0.948" in text
    assert (tmp_path / "scores.csv").is_file()


def test_store_and_number_select_the_notes(pca_run, small_store, tmp_path):
    table = evaluate([pca_run], tmp_path, store=small_store, number=5, sounds=0, reference=None)
    assert table.column("notes") == [5]
    assert table.column("sound_db") == [None]
    assert table.column("instruments") == [3]


@pytest.mark.parametrize(
    ("runs", "change", "message"),
    [
        (0, {}, "no runs to score"),
        (2, {}, "given twice"),
        (1, {"reference": "other"}, "--reference=other: must be one of the runs pca3"),
        (1, {"families": ["organ"]}, "no notes of the families organ"),
        (1, {"split": "none"}, "no split 'none'"),
    ],
)
def test_wrong_input_is_rejected(pca_run, tmp_path, runs, change, message):
    with pytest.raises(ValueError, match=message):
        evaluate([pca_run] * runs, tmp_path / "out", sounds=0, **change)
