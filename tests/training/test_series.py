"""A run of a series model: it learns, is told the progress, keeps what belongs to series, and several devices agree."""

import dataclasses

import jax
import numpy as np
import pytest

import timbre_jax
from tests.helpers.runs import metric_lines, small_config, small_sources, with_loudness
from timbre_jax.training.loop import train_and_evaluate
from timbre_jax.training.step import cropped
from timbre_jax.types import Features

MODEL = {"name": "frame_vae", "latent_size": 3, "channels": (16, 16), "strided": 1, "kernel": 3, "reader_weight": 3.0}


@pytest.fixture(scope="module")
def sources():
    made = small_sources()
    return dataclasses.replace(made, train=with_loudness(made.train), valid=with_loudness(made.valid))


@pytest.fixture(scope="module")
def run(sources, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("series")
    config = small_config(model=MODEL, optimizer={"learning_rate": 1e-2}, steps=60, monitor="last", average_decay=0.0)
    return workdir, config, train_and_evaluate(config, workdir, sources=sources, progress=False)


def test_it_learns_and_the_last_is_the_best(run, sources):
    workdir, _, result = run
    assert (result.status, result.best_step) == ("finished", 60)
    lines = metric_lines(workdir)
    assert result.best_value == [line["loss"] for line in lines if line["event"] == "valid"][-1]
    train = [line for line in lines if line["event"] == "train"]
    spread = np.mean([np.square(e["values"] - 0.5).mean() for e in sources.train])
    assert train[-1]["mse"] < 0.7 * train[0]["mse"]
    assert train[-1]["mse"] < spread
    # The reversal is told how far the run is: its mean over steps 55..59 of 60 (0 is the first).
    expected = 1 - np.exp(-np.arange(55, 60) / 60 / 0.1)
    np.testing.assert_allclose(train[-1]["reversal"], expected.mean(), rtol=1e-4)
    assert train[0]["reversal"] < 0.3


def test_the_space_knows_its_conditions_and_their_distribution(run, sources):
    workdir, _, _ = run
    space = timbre_jax.load(workdir)
    assert (space.kind, space.model.stride) == ("series", 2)
    heard = np.concatenate([e["loudness"][e["mask"] > 0] for e in sources.train])
    table = np.asarray(space.variables["quantiles"]["loudness"])
    np.testing.assert_allclose(table, np.quantile(heard, np.linspace(0, 1, 257)), atol=1e-3)
    assert float(space.variables["moments"]["readers_0"]["batches"]) == 60.0
    pairs = np.concatenate([e["loudness"].reshape(-1, 2).mean(1)[e["mask"][::2] > 0] for e in sources.train])
    assert float(space.statistics["condition_loudness"]) == pytest.approx(np.median(pairs), abs=1e-3)
    bare = space.latent(np.zeros((2, 5, 3), np.float32))
    np.testing.assert_allclose(bare.conditions["loudness"], np.full((2, 5), np.median(pairs)), atol=1e-3)
    assert space.decode(np.zeros((2, 5, 3), np.float32)).values.shape == (2, 10, 4)


def test_features_without_loudness_are_told(tmp_path):
    with pytest.raises(ValueError, match="given names 'loudness', but the features have no such condition") as error:
        train_and_evaluate(small_config(model=MODEL), tmp_path, sources=small_sources(), progress=False)
    assert "\n" not in str(error.value)


def test_pieces_are_of_the_example_with_all_that_belongs_to_it():
    """And of its key, not of its place in the batch."""
    number = np.arange(40, dtype=np.float32)
    values = np.stack([100.0 * b + number for b in range(5)])
    conditions = {"loudness": values + 0.5, "level_db": np.arange(5.0)}
    whole = Features(values=values[..., None], mask=np.ones((5, 40), np.float32), conditions=conditions, rate=9.0)
    keys = jax.random.split(jax.random.key(0), 5)
    piece = cropped(whole, keys, 16)
    starts = np.asarray(piece.values[:, 0, 0]) - 100.0 * np.arange(5)
    assert len(set(starts.tolist())) > 2
    assert starts.min() >= 0
    assert starts.max() <= 24
    np.testing.assert_array_equal(piece.values[..., 0] - piece.values[:, :1, 0], np.tile(number[:16], (5, 1)))
    np.testing.assert_array_equal(piece.conditions["loudness"], piece.values[..., 0] + 0.5)
    np.testing.assert_array_equal(piece.conditions["level_db"], conditions["level_db"])
    assert piece.mask.shape == (5, 16)
    turned = cropped(jax.tree.map(lambda leaf: leaf[::-1], whole), keys[::-1], 16)
    np.testing.assert_array_equal(turned.values[::-1], piece.values)
    assert cropped(whole, keys, 40) is whole
