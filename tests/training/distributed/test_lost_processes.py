"""Stops and kills processes of a run of two processes, and resumes it.

TIMBRE_TEST_KILLS sets the number of random kills (default 5).
"""

import os
import random
import signal
import time

import pytest

from tests.helpers.processes import run, start_together, wait_for
from tests.helpers.runs import assert_close_runs
from timbre_jax import checkpoint
from timbre_jax.training.distributed.failures import ABORT_MESSAGE, LOST_EXIT_CODE, LOST_MESSAGE

PROGRAM = "tests/training/run_small.py"
CACHE = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}


def saved(workdir):
    return checkpoint.steps(workdir / "checkpoints")[-1:]


def write_started(workdir):
    """Returns the time at which writing the last checkpoint started."""
    path = checkpoint.step_path(workdir / "checkpoints", saved(workdir)[0])
    return min(file.stat().st_mtime for file in path.rglob("*") if file.is_file())


def exit_codes(processes, seconds=60.0):
    """Returns exit codes and last lines of processes, which must end within a time limit."""
    try:
        last_lines = [process.communicate(timeout=seconds)[1].strip().splitlines()[-1:] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], last_lines


@pytest.mark.slow
def test_signal_to_one_process_saves_and_another_number_of_processes_resumes(tmp_path):
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
    for workdir in (together, alone):  # resumed on one process with one device
        done = run(PROGRAM, workdir, 40, **cache)
        assert done.returncode == 0, done.stderr
    assert_close_runs(together, alone)
    codes, last_lines = exit_codes(start_together(2, PROGRAM, alone, 45, **cache), seconds=300.0)
    assert codes == [0, 0], last_lines
    assert saved(alone) == [45]


@pytest.mark.slow
def test_random_kills_lose_little_work_and_end_other_processes(tmp_path):
    # Kills the main process, the other one, or both. The same command then resumes the run.
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
        codes, last_lines = exit_codes(processes)
        for number in range(2):
            if number in victims:
                assert codes[number] == -signal.SIGKILL
            else:
                assert codes[number] == LOST_EXIT_CODE, last_lines
                assert last_lines[number][0].startswith((f"error: {LOST_MESSAGE} (", f"error: {ABORT_MESSAGE}"))
                assert time.time() - killed < 60.0
        assert saved(workdir) >= last
        last = saved(workdir)
        for step in checkpoint.steps(workdir / "checkpoints"):
            checkpoint.verify(checkpoint.step_path(workdir / "checkpoints", step))
        assert checkpoint.load(workdir).latent_size == 3
        lost.append(killed - write_started(workdir))
    print(f"seconds of work lost by each kill, saving every {every} s: {', '.join(f'{value:.1f}' for value in lost)}")
    assert max(lost) < every + 30.0  # writing a checkpoint takes long on a busy machine
