"""Tests of the study of maps."""

from __future__ import annotations

import json
import math

import pytest

from experiments.studies.map_quality import KERNEL_INVERSE, MapQuality, measure_map

pytestmark = pytest.mark.xdist_group("small_analysis")


@pytest.mark.slow
def test_scores_of_inverses_are_between_baseline_and_upper_bound(pca_run, tmp_path):
    table = measure_map(MapQuality(pca_run, tmp_path, umap=False, sounds=6, progress=False))
    lines = {line[0]: dict(zip(table.columns, line, strict=True)) for line in table.rows}
    assert [name for name in lines if "umap" in name] == []
    baseline, bound, kernel = lines["mean latent (baseline)"], lines["own latent (upper bound)"], lines[KERNEL_INVERSE]
    # The mean latent keeps no variance, the sound's own latent all of it.
    assert baseline["variance"] == pytest.approx(0.0, abs=1e-6)
    assert bound["variance"] == pytest.approx(1.0, abs=1e-6)
    assert baseline["lsd_db"] > bound["lsd_db"]
    # Two of three principal axes lose the variance of the third.
    assert lines["pca map, its inverse"]["variance"] < 1.0
    assert (kernel["lsd_more"], kernel["lsd_more_low"], kernel["lsd_more_high"]) == (0.0, 0.0, 0.0)
    for line in lines.values():
        assert line["variance_low"] <= line["variance"] <= line["variance_high"]
    placed = [line for line in lines.values() if not math.isnan(line["trustworthiness"])]
    assert {line["map and inverse"] for line in placed} == {
        f"{method} map, {inverse}" for method in ("pca", "kernel") for inverse in ("its inverse", "nearest sound")
    }
    assert all(0.0 <= line[name] <= 1.0 for line in placed for name in ("trustworthiness", "continuity", "named"))
    assert all(line["named_low"] <= line["named"] <= line["named_high"] for line in placed)
    document = json.loads((tmp_path / "map_quality.json").read_text())
    assert [line["map and inverse"] for line in document] == list(lines)
    assert (tmp_path / "map_quality.csv").is_file()


def test_overlapping_splits_and_series_spaces_are_refused(pca_run, continuous_run, tmp_path):
    with pytest.raises(ValueError, match="split 'test': is both on the map and held out"):
        measure_map(MapQuality(pca_run, tmp_path, split="all", held_out="test", umap=False, progress=False))
    with pytest.raises(ValueError, match="needs a static space"):
        measure_map(MapQuality(continuous_run, tmp_path, umap=False, progress=False))


def test_too_few_sounds_are_refused(pca_run, tmp_path):
    with pytest.raises(ValueError, match="expected 20 and 5 or more"):
        measure_map(MapQuality(pca_run, tmp_path, number=6, umap=False, progress=False))
