"""Run of a series model, with conditions and a loss that depends on the progress."""

import dataclasses

import jax
import numpy as np
import pytest

import timbre_jax
from tests.helpers.runs import metric_lines, small_config, small_sources, with_loudness
from timbre_jax.training.loop import train_and_evaluate
from timbre_jax.training.step import random_crops
from timbre_jax.types import Features

MODEL = {"name": "frame_vae", "latent_size": 3, "channels": (16, 16), "strided": 1, "kernel": 3, "reader_weight": 3.0}


@pytest.fixture(scope="module")
def sources():
    sources = small_sources()
    return dataclasses.replace(sources, train=with_loudness(sources.train), valid=with_loudness(sources.valid))


@pytest.fixture(scope="module")
def run(sources, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("series")
    config = small_config(model=MODEL, optimizer={"learning_rate": 1e-2}, steps=60, monitor="last", average_decay=0.0)
    return workdir, config, train_and_evaluate(config, workdir, sources=sources, progress=False)


def test_loss_decreases_and_last_evaluation_is_best(run, sources):
    workdir, _, result = run
    assert (result.status, result.best_step) == ("finished", 60)
    lines = metric_lines(workdir)
    assert result.best_value == [line["loss"] for line in lines if line["event"] == "valid"][-1]
    train = [line for line in lines if line["event"] == "train"]
    spread = np.mean([np.square(e["values"] - 0.5).mean() for e in sources.train])
    assert train[-1]["mse"] < 0.7 * train[0]["mse"]
    assert train[-1]["mse"] < spread
    # Gradient reversal depends on the progress; here its mean over steps 55 to 59 (from 0) of 60.
    expected = 1 - np.exp(-np.arange(55, 60) / 60 / 0.1)
    np.testing.assert_allclose(train[-1]["reversal"], expected.mean(), rtol=1e-4)
    assert train[0]["reversal"] < 0.3


def test_space_contains_distribution_of_conditions(run, sources):
    workdir, _, _ = run
    space = timbre_jax.load(workdir)
    assert (space.kind, space.model.stride) == ("series", 2)
    loudness = np.concatenate([e["loudness"][e["mask"] > 0] for e in sources.train])
    table = np.asarray(space.variables["quantiles"]["loudness"])
    np.testing.assert_allclose(table, np.quantile(loudness, np.linspace(0, 1, 257)), atol=1e-3)
    assert float(space.variables["moments"]["readers_0"]["batches"]) == 60.0
    pairs = np.concatenate([e["loudness"].reshape(-1, 2).mean(1)[e["mask"][::2] > 0] for e in sources.train])
    assert float(space.statistics["condition_loudness"]) == pytest.approx(np.median(pairs), abs=1e-3)
    latent = space.latent(np.zeros((2, 5, 3), np.float32))
    np.testing.assert_allclose(latent.conditions["loudness"], np.full((2, 5), np.median(pairs)), atol=1e-3)
    assert space.decode(np.zeros((2, 5, 3), np.float32)).values.shape == (2, 10, 4)


def test_missing_condition_is_refused(tmp_path):
    with pytest.raises(ValueError, match="given names 'loudness', but the features have no such condition") as error:
        train_and_evaluate(small_config(model=MODEL), tmp_path, sources=small_sources(), progress=False)
    assert "\n" not in str(error.value)


def test_crops_include_mask_and_conditions_and_depend_on_key_only():
    number = np.arange(40, dtype=np.float32)
    values = np.stack([100.0 * b + number for b in range(5)])
    conditions = {"loudness": values + 0.5, "level_db": np.arange(5.0)}
    features = Features(values=values[..., None], mask=np.ones((5, 40), np.float32), conditions=conditions, rate=9.0)
    keys = jax.random.split(jax.random.key(0), 5)
    crops = random_crops(features, keys, 16)
    starts = np.asarray(crops.values[:, 0, 0]) - 100.0 * np.arange(5)
    assert len(set(starts.tolist())) > 2
    assert starts.min() >= 0
    assert starts.max() <= 24
    np.testing.assert_array_equal(crops.values[..., 0] - crops.values[:, :1, 0], np.tile(number[:16], (5, 1)))
    np.testing.assert_array_equal(crops.conditions["loudness"], crops.values[..., 0] + 0.5)
    np.testing.assert_array_equal(crops.conditions["level_db"], conditions["level_db"])
    assert crops.mask.shape == (5, 16)
    reversed_crops = random_crops(jax.tree.map(lambda leaf: leaf[::-1], features), keys[::-1], 16)
    np.testing.assert_array_equal(reversed_crops.values[::-1], crops.values)
    assert random_crops(features, keys, 40) is features
