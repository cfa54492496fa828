"""Tests of maps of every method: files, placement, and errors."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest

from timbre_jax.analysis.projection import umap_map
from timbre_jax.maps.sound_map import load_map, make_map, place_sounds

LATENTS = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("method", "settings"),
    [("pca", {}), ("tsne", {"perplexity": 5.0, "iterations": 250}), ("kernel", {"steps": 50})],
)
def test_saved_map_is_loaded_unchanged(tmp_path, method, settings):
    sound_map = make_map(LATENTS, method=method, settings=settings, seed=1)
    sound_map.save(tmp_path / "map.npz")
    loaded = load_map(tmp_path / "map.npz")
    points = np.random.default_rng(1).random((5, 2))
    for a, b in zip(sound_map.inverse(points), loaded.inverse(points), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(sound_map.coordinates, loaded.coordinates)
    assert (loaded.method, loaded.settings) == (method, sound_map.settings)
    with zipfile.ZipFile(tmp_path / "map.npz") as file:
        for name in file.namelist():
            assert np.lib.format.read_array(file.open(name), allow_pickle=False) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["map.npz"]


def test_missing_and_damaged_maps_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="no such map"):
        load_map(tmp_path / "map.npz")
    sound_map = make_map(LATENTS, method="pca")
    path = sound_map.save(tmp_path / "map.npz")
    whole = path.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2], pickle.dumps({"about": 1})):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a map, or damaged"):
            load_map(path)
    np.savez(path, coordinates=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="not a map, or damaged"):
        load_map(path)
    np.savez(path, about=np.array('{"format": 99, "method": "pca"}'))
    with pytest.raises(ValueError, match="got 99"):
        load_map(path)


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_placement_of_three_sounds_by_pca_is_recorded(method):
    sound_map = make_map(LATENTS[:3], method=method)
    assert sound_map.settings["placed_by"] == "pca"
    np.testing.assert_array_equal(sound_map.inverse(sound_map.coordinates)[0], LATENTS[:3])


def test_pca_map_places_sounds_by_projection():
    sound_map = make_map(LATENTS, method="pca")
    np.testing.assert_allclose(place_sounds(sound_map, LATENTS), sound_map.coordinates, atol=1e-5)


@pytest.mark.parametrize(
    ("latents", "options", "message"),
    [
        (LATENTS, {"method": "som"}, "one of kernel, umap, tsne, pca"),
        (LATENTS, {"method": "pca", "settings": {"perplexity": 3}}, "no setting perplexity"),
        (LATENTS[0], {}, r"must be \[M, D\]"),
        (LATENTS[:0], {}, "at least one sound"),
        (np.where(np.arange(30)[:, None] == 2, np.inf, LATENTS), {}, "1 of 30 sounds are not finite"),
    ],
)
def test_wrong_settings_are_an_error(latents, options, message):
    with pytest.raises(ValueError, match=message):
        make_map(latents, **options)


@pytest.mark.slow
def test_umap_preserves_clusters():
    centers = np.repeat(np.eye(4) * 30, 15, axis=0)
    latents = centers + np.random.default_rng(1).standard_normal(centers.shape)
    projection = umap_map(latents, neighbors=10, min_dist=0.1)
    middle = projection.points.reshape(4, 15, 2).mean(1)
    nearest = np.linalg.norm(projection.points[:, None] - middle, axis=2).argmin(1)
    np.testing.assert_array_equal(nearest, np.arange(60) // 15)
    with pytest.raises(ValueError, match="at least 5 sounds"):
        umap_map(latents[:4])
