"""Sweeps: a run for each set of changes, and their table."""

import csv

import pytest

import timbre_jax
from tests.helpers.runs import small_config, small_sources
from timbre_jax.training.sweeps.grid_file import read_grid
from timbre_jax.training.sweeps.sweep import sweep


def sizes(*values):
    return [{"model.latent_size": value} for value in values]


def test_sweep_trains_each_value_once_and_writes_table(tmp_path):
    config = small_config(model={"name": "pca", "latent_size": 8})
    sources = small_sources()
    table, results = sweep(config, tmp_path, sizes("1", 2, "3"), sources=sources, progress=False)
    assert [result.status for result in results.values()] == ["finished"] * 3
    assert table.column("latent_size") == [1, 2, 3]
    mse = table.column("mse")
    assert mse[0] > mse[1] > mse[2]
    assert [timbre_jax.load(tmp_path / f"latent_size={n}").latent_size for n in (1, 2, 3)] == [1, 2, 3]
    rows = list(csv.DictReader((tmp_path / "sweep.csv").open()))
    assert [float(row["mse"]) for row in rows] == mse
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("arrays/*")}
    assert sweep(config, tmp_path, sizes(1, 2, 3), sources=sources, progress=False)[0] == table
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("arrays/*")} == before


def test_sweep_trains_all_combinations_of_a_grid(tmp_path):
    config = small_config(model={"name": "pca", "latent_size": 8})
    changes = read_grid('{"model.latent_size": [1, 2], "train.batch_size": [8, "16"]}')
    table, results = sweep(config, tmp_path, changes, sources=small_sources(), progress=False)
    names = ["latent_size=1+batch_size=8", "latent_size=1+batch_size=16", "latent_size=2+batch_size=8"]
    assert [run.name for run in results] == [*names, "latent_size=2+batch_size=16"]
    assert table.column("latent_size") == [1, 1, 2, 2]
    assert table.column("batch_size") == [8, 16, 8, 16]
    mse = table.column("mse")
    assert mse[0] == pytest.approx(mse[1], rel=1e-4)
    assert mse[0] > mse[2]
    with pytest.raises(ValueError, match="sweep: two runs have the name 'latent_size=1'"):
        sweep(config, tmp_path, sizes("1", 1), sources=small_sources())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model.width", "3", "config.model.width: no such field"),
        ("model.latent_size", "many", "config.model.latent_size='many': must be int, like 3"),
        ("model.latent_size", 2.5, "config.model.latent_size=2.5: must be int, like 3"),
        ("model", "3", "config.model='3': must be"),
    ],
)
def test_invalid_fields_and_values_are_refused(field, value, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        sweep(small_config(), tmp_path, [{field: value}], sources=small_sources())
