"""Grids of runs, compared with the same runs alone."""

from __future__ import annotations

import dataclasses
import signal

import pytest

import timbre_jax
from tests.helpers.processes import run
from tests.helpers.runs import StoppingSource, assert_close_runs, assert_same_run, small_config, small_sources
from timbre_jax.training import programs
from timbre_jax.training.distributed.interrupt import locked
from timbre_jax.training.loop import train_and_evaluate
from timbre_jax.training.sweeps.grid import train_grid
from timbre_jax.training.trainer import Trainer


def config(seed: int = 0, kl_weight: float = 1.0, *, rate: float = 3e-3, **train) -> dict:
    settings = {"steps": 20, "kl_weight": kl_weight, **train}
    return {**small_config(optimizer={"learning_rate": rate}, **settings), "seed": seed}


def grid(members, **options):
    return train_grid(members, sources=small_sources(), progress=False, **options)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Returns the folder and result of a run without a grid."""
    workdir = tmp_path_factory.mktemp("alone")
    return workdir, train_and_evaluate(config(1, 0.25), workdir, sources=small_sources(), progress=False)


@pytest.fixture
def traces(monkeypatch):
    """Returns a list with an item for each trace (and compilation) of the training step."""
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


def test_runs_that_share_a_program_equal_separate_runs(alone, traces, tmp_path):
    # Seeds, KL weights, learning rates and lengths differ; one run diverges, and one folder is locked.
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
def test_vectorized_runs_are_close_to_separate_runs(alone, traces, tmp_path):
    # Two slots for four runs, of which one ends early and one diverges.
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
    assert_close_runs(tmp_path / "same", alone[0], rtol=1e-3, atol=1e-5)


def test_invalid_configurations_are_refused_before_training(tmp_path):
    members = {tmp_path / "a": config(), tmp_path / "b": {**config(), "optimizer": {"learning_rate": -1.0}}}
    with pytest.raises(ValueError, match=r"optimizer.learning_rate=-1.0: must not be negative"):
        grid(members)
    with pytest.raises(ValueError, match="at_once=-1: must be at least 0"):
        grid(members, at_once=-1)
    assert not list(tmp_path.iterdir())


def test_closed_form_models_are_fitted_once_in_a_grid(tmp_path):
    members = {tmp_path / str(size): small_config(model={"name": "pca", "latent_size": size}) for size in (1, 2)}
    results = grid(members)
    assert [result.status for result in results.values()] == ["finished", "finished"]
    assert results[tmp_path / "1"].best_value > results[tmp_path / "2"].best_value
    assert grid(members) == results


def test_run_that_was_killed_after_its_last_step_takes_no_further_step(alone, monkeypatch, tmp_path):
    members = {tmp_path / "run": config(1, 0.25)}

    def fail(self):
        self.save()
        self.wait_until_saved()
        raise ValueError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "end", fail)
        assert [(result.status, result.step) for result in grid(members, at_once=1).values()] == [("failed", 20)]
    assert list(grid(members, at_once=1).values()) == [alone[1]]


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 2])
def test_signal_saves_all_runs_and_same_call_resumes_them(at_once, tmp_path):
    sources = small_sources()

    def members(folder):
        return {tmp_path / folder / str(seed): config(seed) for seed in range(3)}

    whole = grid(members("whole"), at_once=at_once)
    stopping = dataclasses.replace(sources, train=StoppingSource(sources.train, 16 * (28 if at_once == 1 else 23)))
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
def test_each_device_trains_a_run(alone, tmp_path):
    ended = run("-c", TWO_DEVICES, tmp_path, devices=2)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("finished") == 3
    assert_close_runs(tmp_path / "1", alone[0], rtol=1e-3, atol=1e-5)
