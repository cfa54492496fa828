"""Tests of maps of runs: files, reused maps, and errors."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from timbre_jax.maps import files
from timbre_jax.maps.build import MapSettings, known_map, make_map_of_run
from timbre_jax.maps.generation_mode import open_map

pytestmark = pytest.mark.xdist_group("small_analysis")


@pytest.fixture
def small_grid(monkeypatch):
    """Reduces the grid to 2 x 2 sounds."""
    monkeypatch.setattr(files, "GRID", 2)


def test_folder_contains_all_files(run_map, map_settings):
    out, library, sound_map = map_settings.out, run_map.library, run_map.sound_map
    assert sorted(path.name for path in out.iterdir()) == ["grid", "grid.png", "map.html", "map.json", "map.npz", "map.png"]
    assert len(list((out / "grid").glob("*.wav"))) == 100
    document = json.loads((out / "map.json").read_text())
    assert len(document["sounds"]) == len(library) == sum(map(library.store.length, library.store.splits))
    assert {sound["split"] for sound in document["sounds"]} == {"train", "valid", "test"}
    first = document["sounds"][3]
    row = int(np.flatnonzero(library.ids == first["id"])[0])
    np.testing.assert_allclose([first["x"], first["y"]], sound_map.coordinates[row])
    latents = sound_map.inverse([[first["x"], first["y"]]])[0][0]
    np.testing.assert_array_equal(latents, library.latents[row])
    tile = document["grid"][0]
    assert (tile["x"], tile["y"]) == pytest.approx((0.05, 0.95))
    assert (out / "map.html").read_text().count("data:audio/mpeg") == 5 + 100


def test_map_with_the_same_identity_is_reused(run_map, map_settings):
    def known(**changes):
        return known_map(run_map.library, dataclasses.replace(map_settings, **changes))

    assert known() is not None
    assert known(method="pca") is None
    assert known(seed=1) is None
    assert known(perplexity=5.0) is None


def test_reused_map_records_the_current_space(small_grid, pca_run, tmp_path):
    # After an update of the library, the digest of the same space may differ.
    settings = MapSettings(pca_run, tmp_path, number=6, method="pca", progress=False)
    first = make_map_of_run(settings).sound_map
    dataclasses.replace(first, settings={**first.settings, "space": "another"}).save(tmp_path / "map.npz")
    reused = make_map_of_run(settings)
    np.testing.assert_array_equal(reused.sound_map.coordinates, first.coordinates)
    assert open_map(reused.run.space, tmp_path)[0].settings["space"] == first.settings["space"]


def test_three_sounds_are_placed_by_pca(small_grid, pca_run, tmp_path):
    few = make_map_of_run(MapSettings(pca_run, tmp_path, number=3, method="umap", progress=False))
    assert len(few.library) == 3
    assert few.sound_map.settings["placed_by"] == "pca"
    assert "too few" in (tmp_path / "map.html").read_text()
    assert len(list((tmp_path / "grid").glob("*.wav"))) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "som"}, "one of kernel"),
        ({"split": "nothing"}, "no split 'nothing'"),
        ({"store": "/nowhere"}, "no such store"),
        ({"method": "pca", "perplexity": 3.0}, "has no setting perplexity"),
    ],
)
def test_wrong_settings_are_an_error(pca_run, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make_map_of_run(MapSettings(pca_run, tmp_path / "out", progress=False, **options))
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file; give a folder"):
        make_map_of_run(MapSettings(pca_run, tmp_path / "file", progress=False))
