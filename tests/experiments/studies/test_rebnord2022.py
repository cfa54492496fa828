"""Tests of the nine models of Rebnord 2022 and of their table, on a small scale."""

from __future__ import annotations

import csv
import json

import pytest

from experiments.configs.rebnord2022 import MODELS, get_config
from experiments.studies.rebnord2022 import SCORES, LibraryTable, _training_config, comparison_table, reproduce_library
from tests.helpers.library import write_library
from timbre_jax.metrics.table import Result, write_results
from timbre_jax.models import make_model
from timbre_jax.training.checkpointing.progress import Result as Ended
from timbre_jax.training.config import resolve
from timbre_jax.training.programs import program_key


def test_each_model_differs_from_the_base_in_one_setting():
    assert len(MODELS) == len(SCORES) == 9
    base = resolve(get_config()).to_dict()
    fields = {
        "8_dim": ("model", "latent_size", 8), "256_dim": ("model", "latent_size", 256), "0_flow": ("model", "flows", 0),
        "20_flow": ("model", "flows", 20), "beta": ("train", "kl_weight", 128.0), "no_dropout": ("model", "dropout", 0.0),
        "underfit": ("train", "steps", 2000), "overfit": ("train", "steps", 55000),
    }  # fmt: skip
    for name in MODELS:
        config = resolve(get_config(name)).to_dict()
        if name == "no_dropout":
            assert config["train"].pop("steps") == 10_000
            config["train"]["steps"] = 20_000
        if name == "underfit":
            # Only the first models of the thesis had a falling learning rate.
            assert config["optimizer"]["schedule"] == "plateau"
            config["optimizer"]["schedule"] = "constant"
        if name == "20_flow":
            # With 20 flows, training diverges from initial weights of the usual size.
            assert config["model"]["flow_init_scale"] == 0.1
            config["model"]["flow_init_scale"] = base["model"]["flow_init_scale"]
        if name in fields:
            section, field, value = fields[name]
            assert config[section][field] == value
            config[section][field] = base[section][field]
        assert config == base, name
    with pytest.raises(ValueError, match="rebnord2022:large: no such variant; the variants are 8_dim"):
        get_config("large")


def test_models_that_differ_in_kl_weight_or_steps_share_a_program():
    configs = {name: resolve(get_config(name)) for name in MODELS}
    models = {name: make_model(feature_shape=(250, 128), **config.model) for name, config in configs.items()}
    keys = {name: program_key(config, models[name], None, config.train.steps) for name, config in configs.items()}
    assert [name for name in MODELS if keys[name] == keys["64_dim"]] == ["64_dim", "beta", "underfit", "overfit"]
    assert len(set(keys.values())) == 6
    # A cosine schedule depends on the number of steps.
    for name in ("64_dim", "overfit"):
        configs[name].optimizer.schedule = "cosine"
        keys[name] = program_key(configs[name], models[name], None, configs[name].train.steps)
    assert keys["64_dim"] != keys["overfit"]


def test_models_that_are_equal_after_few_steps_are_trained_once():
    def same(steps):
        configs = {name: get_config(name) for name in MODELS}
        for config in configs.values():
            config.train.steps = steps
        return [name for name in MODELS if _training_config(configs[name]) == _training_config(configs["64_dim"])]

    assert same(500) == ["64_dim", "underfit", "overfit"]
    # After five evaluations without improvement, every 100 steps, the learning rate may have fallen.
    assert same(501) == ["64_dim", "overfit"]


def test_table_compares_our_scores_with_the_thesis(tmp_path):
    rows = [
        Result("hits/beta/odg", -3.5, -3.6, -3.4, -3.9, "x"), Result("hits/beta/ndb", 7, None, None, 2.4, "x"),
        Result("hits/<unrelated sounds>/odg", -3.9, -3.91, -3.89, None, "x"),
    ]  # fmt: skip
    write_results(tmp_path / "results.json", rows)
    table = comparison_table(tmp_path / "results.json", "hits", {"beta": Ended("finished", 90, 90, 1.0)})
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["ODG"], row["NDB of 50"], row["LSD, dB"]) == ("-3.5 (-3.6 to -3.4)", "7 (by chance 2.4)", None)
    floor = dict(zip(table.columns, table.rows[1], strict=True))
    assert (floor["model"], floor["ODG"], floor["steps"]) == ("<unrelated sounds>", "-3.9 (-3.91 to -3.89)", None)
    assert (row["steps"], row["thesis: steps"], row["thesis: FID"]) == (90, 20000, 163.0)
    assert "fewer steps" in table.caption
    # With the steps of 64_dim, overfit is the same run.
    ended = Ended("finished", 90, 90, 1.0)
    shared = comparison_table(tmp_path / "results.json", "hits", {"overfit": ended}, runs={"overfit": "beta"})
    assert dict(zip(shared.columns, shared.rows[0], strict=True))["ODG"] == "-3.5 (-3.6 to -3.4)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"only": ("gan",), "store": "x"}, "--only: unknown model 'gan'; the models are 8_dim"),
        ({}, "--path and --store: give the library by one of them"),
        ({"store": "x", "fraction": 0.0}, "--fraction=0: must be above 0"),
        ({"store": "x", "fraction": 1.5}, "fraction=1.5: must be at most 1"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        reproduce_library(tmp_path / "out", LibraryTable(**arguments), progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_table_is_reproduced_from_a_folder_of_sounds(tmp_path):
    sounds = write_library(tmp_path / "sounds", 40, classes=("kick", "snare"), rate=16000)
    changes = {
        "train.steps": 2, "train.batch_size": 8, "train.eval_every": 2, "representation.iterations": 2,
        "representation.n_mels": 32, "representation.length": 8192, "representation.n_frames": 64, "model.flows": 1,
        "model.flow_hidden": 8, "model.channels": (4, 4, 4, 4), "model.latent_size": 8, "model.hidden": 16,
    }  # fmt: skip
    settings = LibraryTable(path=(str(sounds),), classes="folder", only=("underfit", "beta"), sounds=4)
    where, signal = reproduce_library(tmp_path / "out", settings, changes=changes, progress=False)
    assert signal == 0
    text = where.read_text(encoding="utf-8")
    assert "| underfit | 64 | 10 |" in text
    assert "| beta | 64 | 10 |" in text
    with open(tmp_path / "out" / "library.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
        assert {"<unrelated sounds>", "<log_mel>"} <= {row["model"] for row in rows}
        for row in rows[:2]:
            assert all(row[name] for name in ("MSE", "LSD, dB", "ODG")), row
    config = json.loads((tmp_path / "out" / "runs" / "beta" / "config.json").read_text())
    assert config["config"]["optimizer"]["eps"] == 1e-4
