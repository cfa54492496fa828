"""Grids of runs against the same runs alone."""

from __future__ import annotations

import dataclasses
import os
import signal

import numpy as np
import pytest

import timbre_jax
from tests.helpers.processes import run
from tests.helpers.runs import assert_same_run, last_checkpoint, metric_lines, small_config, small_sources
from timbre_jax.data.example_source import ExampleSource
from timbre_jax.training import programs
from timbre_jax.training.distributed.interrupt import locked
from timbre_jax.training.loop import train_and_evaluate
from timbre_jax.training.sweeps.grid import train_grid


def config(seed: int = 0, kl_weight: float = 1.0, *, rate: float = 3e-3, **train) -> dict:
    settings = {"steps": 20, "kl_weight": kl_weight, **train}
    return {**small_config(optimizer={"learning_rate": rate}, **settings), "seed": seed}


def grid(members, **options):
    return train_grid(members, sources=small_sources(), progress=False, **options)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run without a grid."""
    workdir = tmp_path_factory.mktemp("alone")
    return workdir, train_and_evaluate(config(1, 0.25), workdir, sources=small_sources(), progress=False)


@pytest.fixture
def traces(monkeypatch):
    """How often the training step is traced, which is how often it is compiled."""
    counts = []

    def counted(*arguments, **options):
        step = make(*arguments, **options)

        def counting(*arguments):
            counts.append(1)
            return step(*arguments)

        return counting

    make = programs.make_train_step
    monkeypatch.setattr(programs, "make_train_step", counted)
    return counts


def test_runs_that_share_a_program_are_those_of_one_by_one_to_the_bit(alone, traces, tmp_path):
    """Other seeds, KL weights, rates and lengths, and one that goes bad, in one program."""
    members = {
        tmp_path / "first": config(0, 4.0, steps=10),
        tmp_path / "bad": config(2, rate=1e30, rollback={"every": 10, "maximum": 0}),
        tmp_path / "same": config(1, 0.25),
        tmp_path / "taken": config(3),
    }
    with locked(tmp_path / "taken"):
        results = grid(members, at_once=1)
    assert len(traces) == 1
    assert list(results) == list(members)
    assert results[tmp_path / "same"] == alone[1]
    assert_same_run(tmp_path / "same", alone[0])
    assert [result.status for result in results.values()] == ["finished", "failed", "finished", "failed"]
    assert "after 0 rollbacks" in results[tmp_path / "bad"].error
    assert "another process is training" in results[tmp_path / "taken"].error
    assert results[tmp_path / "first"].step == 10
    assert timbre_jax.load(tmp_path / "first").latent_size == 3


@pytest.mark.slow
def test_runs_side_by_side_are_those_of_one_by_one(alone, traces, tmp_path):
    """Two slots for four runs: one ends early and one goes bad, and the next take their slots."""
    members = {
        tmp_path / "early": config(0, 4.0, steps=5),
        tmp_path / "same": config(1, 0.25),
        tmp_path / "bad": config(2, rate=1e30, rollback={"every": 10, "maximum": 0}),
        tmp_path / "last": config(1, steps=10),
    }
    results = grid(members, at_once=2)
    assert len(traces) == 1
    assert [(result.status, result.step) for result in results.values() if result.status != "failed"] == [
        ("finished", 5),
        ("finished", 20),
        ("finished", 10),
    ]
    assert results[tmp_path / "bad"].status == "failed"
    close(tmp_path / "same", alone[0])


def close(a, b) -> None:
    """Both runs have the same lines and parameters but for rounding, and the same data behind them."""
    for line, other in zip(metric_lines(a), metric_lines(b), strict=True):
        assert line.keys() == other.keys()
        for name, value in line.items():
            assert value == (pytest.approx(other[name], rel=1e-4) if isinstance(value, float) else other[name]), name
    (arrays, document), (others, other) = last_checkpoint(a), last_checkpoint(b)
    for name, array in arrays.items():
        np.testing.assert_allclose(array, others[name], rtol=1e-3, atol=1e-5, err_msg=name)
    for name in ("iterator", "position", "best_step", "skipped", "evaluations_since_best"):
        assert document["progress"][name] == other["progress"][name]


def test_wrong_configurations_are_told_before_anything_is_trained(tmp_path):
    members = {tmp_path / "a": config(), tmp_path / "b": {**config(), "optimizer": {"learning_rate": -1.0}}}
    with pytest.raises(ValueError, match=r"optimizer.learning_rate must not be negative"):
        grid(members)
    with pytest.raises(ValueError, match="at_once must be at least 1"):
        grid(members, at_once=-1)
    assert not list(tmp_path.iterdir())


def test_models_that_are_fitted_stand_in_a_grid_too(tmp_path):
    members = {tmp_path / str(size): small_config(model={"name": "pca", "latent_size": size}) for size in (1, 2)}
    results = grid(members)
    assert [result.status for result in results.values()] == ["finished", "finished"]
    assert results[tmp_path / "1"].best_value > results[tmp_path / "2"].best_value
    assert grid(members) == results


class Stopping(ExampleSource):
    """A source that sends this process a signal when so many examples have been read."""

    def __init__(self, source, reads):
        self._source, self._left = source, reads

    def __len__(self):
        return len(self._source)

    def __getitem__(self, i):
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return self._source[i]


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 2])
def test_a_signal_saves_all_and_the_same_call_goes_on(at_once, tmp_path):
    """Three runs; the third may not have begun."""
    sources = small_sources()

    def members(folder):
        return {tmp_path / folder / str(seed): config(seed) for seed in range(3)}

    whole = grid(members("whole"), at_once=at_once)
    stopping = dataclasses.replace(sources, train=Stopping(sources.train, 16 * (28 if at_once == 1 else 23)))
    stopped = train_grid(members("parts"), sources=stopping, at_once=at_once, progress=False)
    assert {result.signal for result in stopped.values()} >= {signal.SIGTERM}
    assert [result.status for result in stopped.values()].count("stopped") >= 2
    assert stopped[tmp_path / "parts" / "2"].step == 0
    again = grid(members("parts"), at_once=at_once)
    assert list(again.values()) == list(whole.values())
    for a, b in zip(members("whole"), members("parts"), strict=True):
        assert_same_run(a, b)


TWO_DEVICES = """
import sys
from pathlib import Path
from tests.training.sweeps.test_grid import config, grid
members = {Path(sys.argv[1]) / str(seed): config(seed, 0.25, steps=20) for seed in range(3)}
print([result.status for result in grid(members).values()])
"""


@pytest.mark.slow
def test_two_devices_have_a_run_each(alone, tmp_path):
    """And the third follows."""
    ended = run("-c", TWO_DEVICES, tmp_path, devices=2)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("finished") == 3
    close(tmp_path / "1", alone[0])


@pytest.mark.slow
def test_sixteen_of_the_papers_network_are_those_of_one_by_one_with_one_compilation(traces, tmp_path):
    """4 seeds x 4 KL weights of natsiou2023, of full size but for the number of sounds; four of them alone as well."""
    from experiments.configs.natsiou2023 import get_config
    from timbre_jax.data.datasets import Sources, base_representation
    from timbre_jax.data.example_source import ListedExamples

    settings = get_config()
    settings.train.update(batch_size=8, steps=2, epochs=0.0, log_every=1)
    settings.representation.fit_ranges = False
    random = np.random.default_rng(0)
    values = random.uniform(size=(24, *base_representation(settings).feature_shape)).astype(np.float32)
    examples = [{"values": v, "mask": np.ones(len(v), np.float32), "index": np.int32(i)} for i, v in enumerate(values)]
    sources = Sources(ListedExamples(examples[:16]), ListedExamples(examples[16:]), base_representation(settings))
    members = {}
    for seed in range(4):
        for kl_weight in (0.25, 0.5, 1.0, 2.0):
            changed = settings.copy_and_resolve_references()
            changed.seed, changed.train.kl_weight = seed, kl_weight
            members[tmp_path / f"{seed}-{kl_weight}"] = changed
    results = train_grid(members, sources=sources, progress=False, at_once=1)
    assert len(traces) == 1
    assert {result.status for result in results.values()} == {"finished"}
    assert len({result.best_value for result in results.values()}) == 16
    for number, (workdir, changed) in enumerate(members.items()):
        if number % 5 == 0:
            other = tmp_path / "alone" / workdir.name
            assert train_and_evaluate(changed, other, sources=sources, progress=False) == results[workdir]
            assert_same_run(workdir, other)
    assert len(traces) == 2  # those alone share one (`shared_programs`)
