"""Tests of libraries of maps: sounds, cached latents, and borrowed classes."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from timbre_jax.data.store import open_store
from timbre_jax.evaluation.runs import open_run
from timbre_jax.maps import library as map_library
from timbre_jax.maps.library import borrow_classes, cluster_names, read_library, share_evenly

pytestmark = pytest.mark.xdist_group("small_analysis")


def test_audio_is_read_from_the_right_split(run_map):
    library = run_map.library
    for row in (0, 35, len(library) - 1):
        split = library.splits[row]
        position = int(np.flatnonzero(library.store.metadata(split)["id"] == library.ids[row])[0])
        recorded = library.store.audio(split, [position])[0]
        wave = library.audio(row)
        np.testing.assert_array_equal(wave, recorded[: len(wave)])


@pytest.mark.parametrize(
    ("number", "sizes", "shares"),
    [
        (2000, [907, 124, 124], [907, 124, 124]), (0, [907, 124, 124], [907, 124, 124]),
        (600, [907, 124, 124], [352, 124, 124]), (100, [907, 124, 124], [33, 34, 33]), (2, [5, 5, 5], [1, 1, 0]),
        (10, [0, 20], [0, 10]),
    ],
)  # fmt: skip
def test_number_is_shared_evenly_as_far_as_splits_are_large_enough(number, sizes, shares):
    assert share_evenly(number, sizes) == shares


def test_all_splits_are_read_whole_if_they_fit_in_the_number(pca_run, small_store):
    store = open_store(small_store)
    total = sum(store.length(split) for split in store.splits)
    library = read_library(open_run(pca_run), str(small_store), split="all", number=total, progress=False)
    assert len(library) == total
    assert library.splits.tolist() == [split for split in store.splits for _ in range(store.length(split))]


def test_latents_of_a_large_library_are_cached(pca_run, small_store, tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    shutil.copytree(pca_run, workdir)
    run = open_run(workdir)
    # Computed in a block of another size, so that the last bits differ.
    expected = read_library(open_run(pca_run), str(small_store), number=0).latents
    monkeypatch.setattr(map_library, "CACHED_FROM", 10)
    monkeypatch.setattr(map_library, "BLOCK", 7)
    first = read_library(run, str(small_store), split="train", number=0, progress=False)
    np.testing.assert_allclose(first.latents, expected, atol=5e-5)
    (cached,) = (workdir / "latents").iterdir()

    def unused(*_, **__):
        raise AssertionError("latents were not cached")

    monkeypatch.setattr(map_library, "feature_blocks", unused)
    part = read_library(run, str(small_store), split="train", number=8, progress=False)
    assert len(part) == 8
    rows = [first.ids.tolist().index(name) for name in part.ids]
    np.testing.assert_array_equal(part.latents, first.latents[rows])
    monkeypatch.undo()
    cached.write_bytes(cached.read_bytes()[:50])  # a damaged cache is replaced
    np.testing.assert_allclose(read_library(run, str(small_store), number=0, progress=False).latents, first.latents, atol=1e-5)


def test_borrowed_classes_have_their_share_of_neighbors(run_map, small_store):
    run, library, sound_map = run_map.run, run_map.library, run_map.sound_map
    train = read_library(run, str(small_store), split="train", progress=False)
    borrowed = borrow_classes(run, library, train)
    assert borrowed.agreement.min() > 0
    assert borrowed.agreement.max() <= 1
    assert np.mean(borrowed.classes == library.classes) > 0.6
    names = cluster_names(sound_map.coordinates, borrowed.classes)
    assert sum(name["count"] for name in names) == len(library)
    assert all(0 < name["share"] <= 1 for name in names)
    nameless = dataclasses.replace(train, classes=np.full(len(train), "unlabeled"))
    with pytest.raises(ValueError, match="has no labeled sounds"):
        borrow_classes(run, library, nameless)


def test_regions_are_named_for_borrowed_classes_only(run_map):
    assert run_map.labels == []
    borrowed = dataclasses.replace(run_map.library, agreement=np.ones(len(run_map.library)))
    assert len(dataclasses.replace(run_map, library=borrowed).labels) > 1


def test_library_is_named_after_its_stores(run_map, small_store):
    assert run_map.library.name == "store"
    joined = dataclasses.replace(run_map.library, store=open_store(f"{small_store},{small_store}"))
    assert joined.name == "store + store"
