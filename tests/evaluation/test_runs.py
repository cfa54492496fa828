"""Tests of training notes of runs, and of notes in the representation of a run."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

from tests.helpers.evaluations import evaluate
from tests.helpers.library import write_library
from timbre_jax.data.store import Store
from timbre_jax.evaluation.runs import _with_common_ranges, default_store, even_choice, open_run, trained_on, training_notes

pytestmark = pytest.mark.xdist_group("small_analysis")


def _changed(run, folder, **data):
    """Returns a copy of the run whose configuration names other data."""
    shutil.copytree(run, folder)
    document = json.loads((folder / "config.json").read_text())
    document["config"]["data"].update(data)
    (folder / "config.json").write_text(json.dumps(document))
    return open_run(folder)


def test_training_notes_equal_those_of_the_training(pca_run, small_store, tmp_path):
    everything = training_notes(open_run(pca_run), number=10**6, progress=False)
    metadata = Store.open(small_store).metadata("train")
    assert everything.labels["id"].tolist() == metadata["id"].tolist()
    family = str(metadata["family"][0])
    # The other store has no notes of the family, so training uses none of it.
    other = tmp_path / "other"
    shutil.copytree(small_store, other)
    records = (other / "records.csv").read_text(encoding="utf-8")
    (other / "records.csv").write_text(records.replace(f",{family},", ",string,"), encoding="utf-8")
    index = json.loads((other / "index.json").read_text())
    (other / "index.json").write_text(json.dumps({**index, "fingerprint": "another"}))
    run = _changed(pca_run, tmp_path / "run", families=[family], extra_stores=[str(other)], max_examples=3)
    few = training_notes(run, number=10**6, progress=False)
    assert len(few.positions) == 3
    assert set(few.labels["family"]) == {family}
    run = _changed(pca_run, tmp_path / "both", extra_stores=[str(other)])
    both = training_notes(run, number=10**6, progress=False)
    assert len(both.positions) == 2 * len(metadata["id"])
    np.testing.assert_allclose(both.features.values[: len(metadata["id"])], everything.features.values, atol=1e-5)
    assert trained_on(run, Store.open(other), "train")
    assert not trained_on(run, Store.open(other), "test")
    assert not trained_on(open_run(pca_run), Store.open(other), "train")


def test_default_store_of_a_run_on_several_stores_is_an_error(pca_run, small_store, tmp_path):
    run = _changed(pca_run, tmp_path / "run", store=f"{small_store},{small_store}")
    with pytest.raises(ValueError, match=r"several.*--store=STORE"):
        default_store(run)


def test_training_notes_have_no_knn_accuracy(pca_run, tmp_path):
    table = evaluate([pca_run], tmp_path, split="train", number=6, sounds=0)
    assert table.column("family_knn") == [None]
    rows = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert all("which the run was trained on" in row["definition"] for row in rows)


def test_stores_of_one_name_are_distinguished_by_path(pca_run, mean_run, small_store, tmp_path):
    twin = tmp_path / "elsewhere" / small_store.name
    shutil.copytree(small_store, twin)
    table = evaluate(
        [mean_run, pca_run], tmp_path / "out", store=small_store, more_stores=[twin], number=5, sounds=0, progress=False
    )
    assert table.column("store") == [str(small_store)] * 2 + [str(twin)] * 2
    with pytest.raises(ValueError, match="store: the same one is given twice"):
        evaluate([pca_run], tmp_path / "out", store=small_store, more_stores=[small_store])


def test_common_ranges_widen_but_never_narrow(pca_run):
    base = open_run(pca_run).base
    assert _with_common_ranges(base) == base
    odd = dataclasses.replace(base, f0_range=(40.0, 1000.0), amplitude_range=(-60.0, 6.0))
    assert _with_common_ranges(odd).f0_range == (40.0, 2100.0)
    assert _with_common_ranges(odd).amplitude_range == (-100.0, 6.0)


def test_library_run_reads_sounds_with_classes_and_lengths(tmp_path):
    """Reads one-shots of folders, with classes, near-duplicates and lengths."""
    from timbre_jax.data.prepare.make_store import prepare
    from timbre_jax.evaluation.runs import read_notes
    from timbre_jax.training.loop import train_and_evaluate

    store = prepare(
        out=str(tmp_path / "store"), source="folder", path=[str(write_library(tmp_path / "lib", 40))], seconds=0.0, workers=1,
        progress=False,
    )  # fmt: skip
    representation = {"name": "log_mel", "length": 3200, "n_frames": 0, "n_mels": 16, "n_fft": 256, "window_length": 256}
    config = {
        "representation": representation, "model": {"name": "pca", "latent_size": 3},
        "data": {"store": str(store.path), "families": ("kick", "snare")},
    }  # fmt: skip
    train_and_evaluate(config, tmp_path / "run", progress=False)
    run = open_run(tmp_path / "run")
    assert default_store(run) == str(store.path)
    notes = read_notes(run, store, "train", progress=False)
    assert set(notes.labels["family"]) == {"kick", "snare"}
    assert set(notes.labels["pitch"]) == {-1}
    assert notes.labels["id"].tolist() == notes.labels["instrument"].tolist()
    frames = notes.features.mask.sum(axis=1)
    np.testing.assert_array_equal(notes.lengths(range(len(frames))), store.lengths("train", notes.positions))
    assert frames.min() < frames.max()  # masks follow the lengths of the sounds
    np.testing.assert_allclose(frames, np.minimum(notes.lengths(range(len(frames))), 3200) / 128, atol=2)
    seen = training_notes(run, number=10**6, progress=False)
    assert seen.labels["id"].tolist() == notes.labels["id"].tolist()
    assert trained_on(run, store, "train")
    assert run.space.embed(store.audio("test", [0], samples=3200)).values.shape == (1, 3)
    with pytest.raises(ValueError, match="has no ranges"):
        train_and_evaluate(
            {**config, "representation": {**representation, "fit_ranges": True}}, tmp_path / "no", progress=False
        )


def test_even_choice_takes_equally_many_of_each_group():
    groups = ["a"] * 50 + ["b"] * 3 + ["c"] * 20
    chosen = even_choice(groups, 15, seed=1)
    counts = [sum(groups[i] == name for i in chosen) for name in "abc"]
    assert counts == [6, 3, 6]
    assert (chosen == sorted(set(chosen))).all()
    assert (even_choice(groups, 15, seed=1) == chosen).all()
    assert (even_choice(groups, 15, seed=2) != chosen).any()
    assert len(even_choice(groups, 500)) == 73
