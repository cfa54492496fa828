"""experiments/studies/map_quality.py: floors, ceiling and exact ways back in the table of a small run."""

from __future__ import annotations

import json
import math

import pytest

from experiments.studies.map_quality import OURS, MapQuality, measure_map

pytestmark = pytest.mark.xdist_group("small_analysis")


@pytest.mark.slow
def test_floors_and_ceiling_frame_the_ways_back(pca_run, tmp_path):
    table = measure_map(MapQuality(pca_run, tmp_path, umap=False, sounds=6, progress=False))
    lines = {line[0]: dict(zip(table.columns, line, strict=True)) for line in table.rows}
    assert [name for name in lines if "umap" in name] == []
    floor, ceiling, ours = lines["mean latent (floor)"], lines["own latent (ceiling)"], lines[OURS]
    # The mean keeps nothing of what lies around it, the sound's own latent all of it.
    assert floor["variance"] == pytest.approx(0.0, abs=1e-6)
    assert ceiling["variance"] == pytest.approx(1.0, abs=1e-6)
    assert floor["lsd_db"] > ceiling["lsd_db"]
    # Two of three principal axes cannot say what the third does.
    assert lines["pca map, its way back"]["variance"] < 1.0
    assert (ours["lsd_more"], ours["lsd_more_low"], ours["lsd_more_high"]) == (0.0, 0.0, 0.0)
    for line in lines.values():
        assert line["variance_low"] <= line["variance"] <= line["variance_high"]
    placed = [line for line in lines.values() if not math.isnan(line["trustworthiness"])]
    assert {line["map and way back"] for line in placed} == {
        f"{kind} map, {way}" for kind in ("pca", "kernel") for way in ("its way back", "nearest sound")
    }
    assert all(0.0 <= line[name] <= 1.0 for line in placed for name in ("trustworthiness", "continuity", "named"))
    assert all(line["named_low"] <= line["named"] <= line["named_high"] for line in placed)
    document = json.loads((tmp_path / "map_quality.json").read_text())
    assert [line["map and way back"] for line in document] == list(lines)
    assert (tmp_path / "map_quality.csv").is_file()


def test_sounds_on_the_map_are_not_held_out(pca_run, continuous_run, tmp_path):
    with pytest.raises(ValueError, match="split test is on the map and held out"):
        measure_map(MapQuality(pca_run, tmp_path, split="all", held_out="test", umap=False, progress=False))
    with pytest.raises(ValueError, match="needs a static space"):
        measure_map(MapQuality(continuous_run, tmp_path, umap=False, progress=False))


def test_too_few_sounds_are_said(pca_run, tmp_path):
    with pytest.raises(ValueError, match="20 sounds or more and 5 held out"):
        measure_map(MapQuality(pca_run, tmp_path, number=6, umap=False, progress=False))
