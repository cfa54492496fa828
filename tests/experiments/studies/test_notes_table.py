"""Tests of the reproduction of the table of notes, on a small scale."""

from __future__ import annotations

import csv
import json

import pytest

from experiments.studies.notes_table import NotesTable, reproduce_notes
from timbre_jax.metrics.table import read_results

TRIAL = {
    "train.batch_size": 16, "train.eval_every": 3, "train.log_every": 1, "model.basis_size": 12,
    "model.width": 16, "model.depth": 1,
}  # fmt: skip


@pytest.mark.slow
def test_table_is_reproduced_from_nothing(tmp_path):
    where, signal = reproduce_notes(
        tmp_path, NotesTable(only=("pca8", "notes_best"), number=64, steps=3), changes=TRIAL, progress=False
    )
    assert (where, signal) == (tmp_path / "scores" / "scores.md", 0)
    table = where.read_text(encoding="utf-8")
    assert "| pca8 (8 latents) |" in table
    assert "| notes_best (8 latents) |" in table
    with open(tmp_path / "scores" / "scores.csv", encoding="utf-8") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    results = {row.name: row.value for row in read_results(tmp_path / "scores" / "results.json")}
    for name, row in rows.items():
        assert 0 < float(row["mse"]) < 1
        assert results[f"notes/{name}/mse"] == pytest.approx(float(row["mse"]))
    config = json.loads((tmp_path / "runs" / "notes_best" / "config.json").read_text())["config"]
    assert config["train"]["steps"] == 3
    assert config["data"]["store"] == str(tmp_path / "stores" / "notes")
    # A change applies only to the configurations that have the field.
    assert "basis_size" not in json.loads((tmp_path / "runs" / "pca8" / "config.json").read_text())["config"]["model"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"only": ("pca8", "gan")}, "--only: unknown model 'gan'; the models are mean_image, pca8, natsiou2023, notes_best"),
        ({"nsynth": "folder"}, "--nsynth and --split_file: give both or neither"),
        ({"split_file": "split.json"}, "--nsynth and --split_file: give both or neither"),
        ({"only": ("pca8",), "changes": {"train.stepz": 3}}, "config.train.stepz: no such field in pca8"),
        ({"only": ("pca8",), "changes": {"model.width": 3}}, "config.model.width: no such field in pca8"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(arguments, message, tmp_path):
    changes = arguments.pop("changes", {})
    with pytest.raises(ValueError, match=message):
        reproduce_notes(tmp_path / "out", NotesTable(**arguments), changes=changes, progress=False)
    assert not (tmp_path / "out").exists()
