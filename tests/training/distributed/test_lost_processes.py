"""A run of two processes that are stopped and killed: what it leaves behind, how the others end, and how it goes on.

TIMBRE_TEST_KILLS=20 kills so often at random moments (5 without).
"""

import os
import random
import signal
import time

import pytest

from tests.helpers.processes import run, start_together, wait_for
from tests.helpers.runs import assert_close_runs
from timbre_jax import checkpoint
from timbre_jax.training.distributed.failures import ABORTED, LOST, MESSAGE

PROGRAM = "tests/training/run_small.py"
CACHE = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}


def saved(workdir):
    return checkpoint.steps(workdir / "checkpoints")[-1:]


def begun(workdir):
    """When the last checkpoint was begun to be written: what was trained until then is in it."""
    path = checkpoint.step_path(workdir / "checkpoints", saved(workdir)[0])
    return min(file.stat().st_mtime for file in path.rglob("*") if file.is_file())


def ends(processes, seconds=60.0):
    """Exit codes and last lines of processes that have to end within a minute."""
    try:
        told = [process.communicate(timeout=seconds)[1].strip().splitlines()[-1:] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], told


@pytest.mark.slow
def test_a_signal_to_one_saves_on_all_at_one_step_and_another_number_of_processes_goes_on(tmp_path):
    cache = {**CACHE, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    together, alone = tmp_path / "together", tmp_path / "alone"
    processes = start_together(2, PROGRAM, together, 40, "jit", 1, **cache)
    wait_for(lambda: saved(together), *processes)
    processes[1].send_signal(signal.SIGTERM)
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [143, 143], outputs
    lines = {out.strip().splitlines()[-1] for out, _ in outputs}
    step = saved(together)[0]
    assert lines == {f"stopped {step}"}
    assert 0 < step < 40
    assert checkpoint.load(together).latent_size == 3
    for workdir in (together, alone):  # on one process with one device
        done = run(PROGRAM, workdir, 40, **cache)
        assert done.returncode == 0, done.stderr
    assert_close_runs(together, alone)
    codes, told = ends(start_together(2, PROGRAM, alone, 45, **cache), seconds=300.0)
    assert codes == [0, 0], told
    assert saved(alone) == [45]


@pytest.mark.slow
def test_random_kills_lose_little_and_the_others_end_and_say_why(tmp_path):
    """Of the main process, the other, or both; each time the same command goes on from the last checkpoint."""
    cache, workdir, every = {**CACHE, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}, tmp_path / "run", 2.0
    rng, lost, last = random.Random(0), [], []
    for kill in range(int(os.environ.get("TIMBRE_TEST_KILLS", 5))):
        processes = start_together(2, PROGRAM, workdir, 1_000_000, "jit", every, **cache)
        wait_for(lambda last=last: saved(workdir) != last, *processes)
        time.sleep(rng.uniform(0.0, 4.0))
        victims = ((0,), (1,), (0, 1))[kill % 3]
        killed = time.time()
        for victim in victims:
            processes[victim].kill()
        codes, told = ends(processes)
        for number in range(2):
            if number in victims:
                assert codes[number] == -signal.SIGKILL
            else:
                assert codes[number] == LOST, told
                assert told[number][0].startswith((f"error: {MESSAGE} (", f"error: {ABORTED}"))
                assert time.time() - killed < 60.0
        assert saved(workdir) >= last
        last = saved(workdir)
        for step in checkpoint.steps(workdir / "checkpoints"):
            checkpoint.verify(checkpoint.step_path(workdir / "checkpoints", step))
        assert checkpoint.load(workdir).latent_size == 3
        lost.append(killed - begun(workdir))
    print(f"seconds of work lost by each kill, saving every {every} s: {', '.join(f'{value:.1f}' for value in lost)}")
    assert max(lost) < every + 30.0  # a checkpoint takes long on a busy machine
