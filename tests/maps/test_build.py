"""Maps of runs: the files, maps that are used again, and errors in one line."""

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
    """A grid of 2 x 2 sounds."""
    monkeypatch.setattr(files, "GRID", 2)


def test_everything_is_in_the_folder(run_map, map_settings):
    out, library, sound_map = map_settings.out, run_map.library, run_map.sound_map
    assert sorted(path.name for path in out.iterdir()) == ["grid", "grid.png", "map.html", "map.json", "map.npz", "map.png"]
    assert len(list((out / "grid").glob("*.wav"))) == 100
    document = json.loads((out / "map.json").read_text())
    assert len(document["sounds"]) == len(library) == sum(map(library.store.length, library.store.splits))
    assert {sound["split"] for sound in document["sounds"]} == {"train", "valid", "test"}
    first = document["sounds"][3]
    row = int(np.flatnonzero(library.ids == first["id"])[0])
    np.testing.assert_allclose([first["x"], first["y"]], sound_map.coordinates[row])
    back = sound_map.inverse([[first["x"], first["y"]]])[0][0]
    np.testing.assert_array_equal(back, library.latents[row])
    tile = document["grid"][0]
    assert (tile["x"], tile["y"]) == pytest.approx((0.05, 0.95))
    assert (out / "map.html").read_text().count("data:audio/mpeg") == 5 + 100


def test_the_same_map_is_not_made_twice(run_map, map_settings):
    def known(**changes):
        return known_map(run_map.library, dataclasses.replace(map_settings, **changes))

    assert known() is not None
    assert known(method="pca") is None
    assert known(seed=1) is None
    assert known(perplexity=5.0) is None


def test_a_map_that_is_used_again_belongs_to_the_run_as_it_is_now(small_grid, pca_run, tmp_path):
    """After an update of the library the same latents may be of a space that is written otherwise."""
    settings = MapSettings(pca_run, tmp_path, number=6, method="pca", progress=False)
    first = make_map_of_run(settings).sound_map
    dataclasses.replace(first, settings={**first.settings, "space": "another"}).save(tmp_path / "map.npz")
    again = make_map_of_run(settings)
    np.testing.assert_array_equal(again.sound_map.coordinates, first.coordinates)
    assert open_map(again.run.space, tmp_path)[0].settings["space"] == first.settings["space"]


def test_a_library_of_three_sounds_has_a_map(small_grid, pca_run, tmp_path):
    few = make_map_of_run(MapSettings(pca_run, tmp_path, number=3, method="umap", progress=False))
    assert len(few.library) == 3
    assert few.sound_map.settings["placed_by"] == "pca"
    assert "so few" in (tmp_path / "map.html").read_text()
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
def test_wrong_wishes_are_one_line(pca_run, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make_map_of_run(MapSettings(pca_run, tmp_path / "out", progress=False, **options))
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="a map needs a folder"):
        make_map_of_run(MapSettings(pca_run, tmp_path / "file", progress=False))
