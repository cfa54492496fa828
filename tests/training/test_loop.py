import dataclasses
import json
import signal
import threading

import jax
import numpy as np
import pytest

import timbre_jax
from tests.helpers.runs import StoppingSource, assert_same_run, last_checkpoint, metric_lines, small_config, small_sources
from timbre_jax import checkpoint
from timbre_jax.data.example_source import ExampleSource, Labeled, ListedExamples
from timbre_jax.training.checkpointing.progress import TrainingError
from timbre_jax.training.distributed.interrupt import locked
from timbre_jax.training.loop import train_and_evaluate
from timbre_jax.types import Features


def train(config, workdir, sources=None, **options):
    return train_and_evaluate(config, workdir, sources=sources or small_sources(), progress=False, **options)


class SourceWithNan(ExampleSource):
    """Source with one example that is NaN."""

    def __init__(self, source, position):
        self._source, self._position = source, position

    def __len__(self):
        return len(self._source)

    def __getitem__(self, i):
        example = dict(self._source[i])
        if i == self._position:
            example["values"] = np.full_like(example["values"], np.nan)
        return example


def test_run_writes_its_files_and_loss_decreases(whole_run):
    workdir, result = whole_run
    assert (result.status, result.step) == ("finished", 40)
    lines = metric_lines(workdir)
    assert [line["step"] for line in lines if line["event"] == "train"] == list(range(5, 45, 5))
    valid = {line["step"]: line for line in lines if line["event"] == "valid"}
    assert sorted(valid) == [10, 20, 30, 40]
    assert valid[40]["loss"] < valid[10]["loss"]
    assert result.best_value == min(line["loss"] for line in valid.values())
    assert any((workdir / "tensorboard").iterdir())
    raw = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert all(0.0 <= line["checkpoint_share"] < 1.0 for line in raw if line["event"] == "train")
    document = json.loads((workdir / "config.json").read_text())
    assert document["config"]["optimizer"]["eps"] == 1e-8  # defaults too
    assert document["representation"]["n_frames"] == 12
    assert not list(workdir.rglob("*.pkl"))


def test_space_has_averaged_parameters_and_training_set_statistics(whole_run):
    workdir, result = whole_run
    assert result.best_step == 40
    space = timbre_jax.load(workdir)
    arrays, _ = last_checkpoint(workdir)
    for where, leaf in jax.tree.leaves_with_path(space.variables["params"]):
        np.testing.assert_array_equal(leaf, arrays["['state']['average']" + jax.tree_util.keystr(where)])
    values = np.stack([example["values"] for example in small_sources().train])
    z = np.asarray(space.encode(space_features(values)).values)
    np.testing.assert_allclose(space.statistics["latent_mean"], z.mean(0), atol=1e-5)
    np.testing.assert_allclose(space.statistics["latent_std"], z.std(0), atol=1e-5)
    low, high = np.percentile(z, [1, 99], axis=0)
    np.testing.assert_allclose(space.statistics["latent_low"], low, atol=1e-4)
    np.testing.assert_allclose(space.statistics["latent_high"], high, atol=1e-4)


def space_features(values):
    return Features(values=values, mask=np.ones(values.shape[:2], np.float32))


def test_run_with_more_steps_equals_longer_run(whole_run, tmp_path):
    train(small_config(steps=20), tmp_path)
    assert timbre_jax.load(tmp_path).latent_size == 3
    train(small_config(steps=40), tmp_path)
    assert_same_run(tmp_path, whole_run[0])


def test_run_stopped_by_signal_is_resumed_exactly(whole_run, tmp_path):
    # At a step between log lines, evaluations and anchors.
    sources = small_sources()
    before = signal.getsignal(signal.SIGTERM)
    stopping = dataclasses.replace(sources, train=StoppingSource(sources.train, 16 * 23))
    result = train(small_config(), tmp_path, stopping)
    assert (result.status, result.signal) == ("stopped", signal.SIGTERM)
    assert 0 < result.step < 40
    assert signal.getsignal(signal.SIGTERM) == before
    assert timbre_jax.load(tmp_path).kind == "static"
    assert train(small_config(), tmp_path).status == "finished"
    assert_same_run(tmp_path, whole_run[0])


@pytest.mark.slow
def test_run_with_labels_dropout_and_plateaus_is_resumed_exactly(tmp_path):
    # Stopped between two drops of the learning rate.
    sources, kinds = small_sources(), ("kick", "snare")
    loud = [float(example["values"].mean()) > 0.5 for example in (*sources.train, *sources.valid)]
    labels = np.array(loud, np.int32)
    sources = dataclasses.replace(
        sources,
        train=Labeled(sources.train, {"family": labels[: len(sources.train)]}),
        valid=Labeled(sources.valid, {"family": labels[len(sources.train) :]}),
        classes=(("family", kinds),),
    )
    model = {"name": "flow_vae", "latent_size": 3, "channels": (4,), "pools": ((2, 2),), "hidden": 8, "flows": 2}
    falling = {"schedule": "plateau", "learning_rate": 0.05, "plateau": {"patience": 1, "factor": 0.5}}
    config = small_config(model=model, optimizer=falling, eval_every=4, rollback={"every": 4, "maximum": 5})
    train(config, tmp_path / "whole", sources)
    stopped = train({**config, "train": {**config["train"], "steps": 20}}, tmp_path / "parts", sources)
    assert (stopped.status, stopped.step) == ("finished", 20)
    train(config, tmp_path / "parts", sources)
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
    rates = {line["learning_rate"] for line in metric_lines(tmp_path / "whole") if "learning_rate" in line}
    assert len(rates) > 1, "the learning rate never dropped, so the test proves nothing"
    assert timbre_jax.load(tmp_path / "parts").classes == {"family": kinds}


def test_finished_run_is_unchanged(whole_run):
    workdir, result = whole_run
    lines = metric_lines(workdir)
    assert train(small_config(), workdir) == result
    assert metric_lines(workdir) == lines


def test_changed_configuration_or_sounds_are_refused(whole_run):
    workdir, _ = whole_run
    config = small_config(optimizer={"learning_rate": 1e-2}, batch_size=8)
    with pytest.raises(ValueError, match=r"optimizer.learning_rate: 0.003 -> 0.01, train.batch_size: 16 -> 8"):
        train(config, workdir)
    with pytest.raises(ValueError, match=r"started with other sounds .* \(examples.train: 96 -> 80\)"):
        train(small_config(), workdir, small_sources(train=80))


def test_folder_is_locked(tmp_path):
    with locked(tmp_path), pytest.raises(ValueError, match="another process is training"):
        train(small_config(), tmp_path)


def test_training_works_outside_main_thread(tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(train(small_config(steps=5), tmp_path)))
    thread.start()
    thread.join()
    assert results[0].status == "finished"


def test_early_stopping_counts_evaluations_and_keeps_best_space(tmp_path):
    # With a learning rate of 0 only the first evaluation is an improvement.
    config = small_config(optimizer={"learning_rate": 0.0}, steps=1000, patience=2)
    result = train(config, tmp_path)
    assert (result.status, result.step, result.best_step) == ("converged", 30, 10)
    assert checkpoint.steps(tmp_path / "best") == [10]
    assert train(config, tmp_path) == result
    # With more patience the run is resumed.
    assert train(small_config(optimizer={"learning_rate": 0.0}, steps=1000, patience=3), tmp_path).step == 40


def test_rollback_skips_bad_batch_and_is_resumed_exactly(tmp_path):
    sources = small_sources(train=320)  # an epoch has 20 steps, so the example occurs once in each half of the run
    sources = dataclasses.replace(sources, train=SourceWithNan(sources.train, 41))
    a, b = tmp_path / "a", tmp_path / "b"
    assert train(small_config(), a, sources).status == "finished"
    events = [line for line in metric_lines(a) if line["event"] == "rollback"]
    assert len(events) == 2
    assert "nan" in events[0]["reason"]
    assert events[0]["anchor_step"] <= events[0]["step"]
    arrays, document = last_checkpoint(a)
    progress = document["progress"]
    assert progress["skipped"] == sorted(event["skipped_batch"] for event in events)
    assert [event["learning_rate_scale"] for event in events] == [0.5 ** (n + 1) for n in range(len(events))]
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert arrays["['state']['hyper']['learning_rate_scale']"] == 0.5 ** len(events)
    # The run used a batch for each of the 40 good steps and skipped the others.
    assert progress["step"] == 40
    assert progress["position"] == 40 + len([p for p in progress["skipped"] if p <= progress["position"]])
    # Stopped after the first rollback and resumed.
    train(small_config(steps=20), b, sources)
    train(small_config(), b, sources)
    assert_same_run(a, b)


def test_rollbacks_reduce_learning_rate_until_training_converges(tmp_path):
    config = small_config(
        optimizer={"name": "sgd", "learning_rate": 5.0, "warmup_steps": 80},  # rises until training diverges
        steps=50,
        rollback={"every": 10, "factor": 1.0, "maximum": 12},
    )
    result = train(config, tmp_path)
    events = [line for line in metric_lines(tmp_path) if line["event"] == "rollback"]
    assert result.status == "finished"
    assert len(events) >= 2
    assert events[-1]["learning_rate_scale"] == 0.5 ** len(events)
    assert np.isfinite(result.best_value)


def test_too_many_rollbacks_are_an_error(tmp_path):
    sources = small_sources()
    broken = ListedExamples({**example, "values": example["values"] * np.nan} for example in sources.train)
    sources = dataclasses.replace(sources, train=broken)
    with pytest.raises(TrainingError, match=r"step 1 \(the loss is nan\) after 2 rollbacks.*learning_rate"):
        train(small_config(rollback={"every": 10, "maximum": 2}), tmp_path, sources)
    with pytest.raises(TrainingError, match="after 0 rollbacks"):
        train(small_config(rollback={"every": 0}), tmp_path / "off", sources)


@pytest.mark.parametrize("name", ["pca", "mean_image"])
def test_closed_form_models_are_fitted(name, tmp_path):
    sources = small_sources()
    config = small_config(model={"name": name})
    result = train(config, tmp_path, sources)
    space = timbre_jax.load(tmp_path)
    values = np.stack([example["values"] for example in sources.valid])
    again = np.asarray(space.decode(space.encode(space_features(values))).values)
    np.testing.assert_allclose(result.best_value, np.square(again - values).mean(), rtol=1e-4)
    assert metric_lines(tmp_path)[0]["mse"] == result.best_value
    assert train(config, tmp_path, sources) == result
    if name == "pca":
        np.testing.assert_allclose(space.statistics["latent_std"], 1.0, rtol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "both are 0"),
        ({"batch_size": 97}, "the training set has only 96 sounds"),
        ({"log_every": 0}, "train.log_every=0: must be at least 1"),
        ({"stepz": 3}, "config.train.stepz: no such field; similar fields: config.train.steps"),
        ({"steps": "many"}, "config.train.steps='many': must be int, like 0"),
        ({"monitor": "beauty"}, "must be one of loss, mse, last"),
        ({"rollback": {"evry": 3}}, "config.train.rollback.evry: no such field; similar fields: config.train.rollback.every"),
    ],
)
def test_invalid_configurations_are_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(small_config(**changes), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()
    if "batch_size" in changes:  # config.json is written before the check, and a corrected batch size is accepted
        assert train(small_config(steps=5), tmp_path / "run").step == 5
