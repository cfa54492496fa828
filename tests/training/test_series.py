"""A run of a series model: it learns, is told the progress, keeps what belongs to series, and several devices agree."""

import dataclasses

import jax
import numpy as np
import pytest

import timbre_jax
from tests.helpers.runs import SHAPE, metric_lines, small_config, small_sources, with_loudness
from timbre_jax.models import make_model
from timbre_jax.training.loop import train_and_evaluate
from timbre_jax.training.state import create_state, make_optimizer
from timbre_jax.training.step import cropped, make_train_step
from timbre_jax.types import Features

MODEL = {"name": "frame_vae", "latent_size": 3, "channels": (16, 16), "strided_layer": 1, "kernel": 3, "reader_weight": 3.0}


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


@pytest.mark.slow
def test_another_number_of_steps_is_another_run(run, sources):
    workdir, config, _ = run
    longer = {**config, "train": {**config["train"], "steps": 80}}
    with pytest.raises(ValueError, match=r"train\.steps: 60 -> 80"):
        train_and_evaluate(longer, workdir, sources=sources, progress=False)


def test_features_without_loudness_are_told(tmp_path):
    with pytest.raises(ValueError, match="decoder_conditions names 'loudness', which is no condition of the features") as error:
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


@pytest.mark.slow
def test_a_step_on_a_batch_cut_in_two_is_the_step_on_the_whole(sources):
    """Gradients, batch statistics and the reader's moments, over a mapped axis as under pmap."""
    settings = {k: v for k, v in MODEL.items() if k != "name"}
    model = make_model("frame_vae", feature_shape=SHAPE, **settings)
    optimizer = make_optimizer("sgd")
    state = jax.jit(lambda: create_state(model, optimizer, jax.random.key(0), hyper={"learning_rate": 0.1, "kl_weight": 1.0}))()
    examples = sources.train[:8]
    batch = {name: np.stack([example[name] for example in examples]) for name in examples[0]}
    key = jax.random.key(1)
    whole, metrics = jax.jit(make_train_step(model, optimizer, total_steps=10))(state, batch, key)
    parts = {name: value.reshape(2, 4, *value.shape[1:]) for name, value in batch.items()}
    step = make_train_step(model, optimizer, total_steps=10, axis_name="data")
    cut, cut_metrics = jax.jit(jax.vmap(step, in_axes=(None, 0, None), axis_name="data"))(state, parts, key)
    np.testing.assert_allclose(cut_metrics["loss"][0], metrics["loss"], rtol=1e-4)
    first = jax.tree.map(lambda leaf: leaf[0], cut)
    for (path, a), b in zip(jax.tree.leaves_with_path(whole.mutable), jax.tree.leaves(first.mutable), strict=True):
        tolerance = 2e-4 * max(1.0, float(np.abs(a).max()))
        np.testing.assert_allclose(b, a, atol=tolerance, err_msg=jax.tree_util.keystr(path))
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(first.params), strict=True):
        np.testing.assert_allclose(b, a, atol=2e-4 * max(1.0, float(np.abs(a).max())))
