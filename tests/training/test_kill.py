"""Runs in separate processes that are stopped, killed and resumed."""

import random
import signal
import time

import pytest

from tests.helpers.processes import run, start, wait_for
from tests.helpers.runs import assert_same_run
from timbre_jax import checkpoint

PROGRAM = "tests/training/run_small.py"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_and_exits(number, tmp_path):
    process = start(PROGRAM, tmp_path, 100000)
    wait_for(lambda: (tmp_path / "metrics.jsonl").exists() and (tmp_path / "metrics.jsonl").stat().st_size > 0, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    status, step = out.split()
    assert status == "stopped"
    assert checkpoint.steps(tmp_path / "checkpoints")[-1] == int(step)
    assert checkpoint.load(tmp_path).latent_size == 3


@pytest.mark.slow
def test_run_killed_at_random_moments_equals_undisturbed_run(tmp_path):
    # Checkpoints are written after nearly every step, and most kills interrupt a write.
    steps, whole, killed = 600, tmp_path / "whole", tmp_path / "killed"
    environment = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    assert run(PROGRAM, whole, steps, **environment).returncode == 0
    rng = random.Random(0)
    kills = at_work = half_written = 0
    while kills < 20:
        process = start(PROGRAM, killed, steps, "jit", "0.02", **environment)
        before = checkpoint.steps(killed / "checkpoints")[-1:]
        if kills % 4:
            # Kills within the training loop; every fourth kill is at any time.
            wait_for(lambda before=before: checkpoint.steps(killed / "checkpoints")[-1:] != before, process)
            at_work += 1
        time.sleep(rng.uniform(0.0, 0.4 if kills % 4 else 4.0))
        if process.poll() is not None:
            break
        process.kill()
        process.communicate()
        kills += 1
        half_written += any(entry.name.endswith(".tmp") for entry in killed.rglob(".*"))
        saved = checkpoint.steps(killed / "checkpoints")
        for step in saved:
            checkpoint.read_document(checkpoint.step_path(killed / "checkpoints", step))
        if saved:
            assert checkpoint.load(killed).latent_size == 3
    assert kills == 20, "the run ended before it was killed 20 times: it needs more steps"
    assert at_work == 15
    assert half_written, "no kill interrupted the writing of a checkpoint"
    done = run(PROGRAM, killed, steps, **environment)
    assert done.returncode == 0, done.stderr
    assert_same_run(whole, killed)
    assert not [entry for entry in killed.rglob(".*") if entry.name.endswith(".tmp")]
