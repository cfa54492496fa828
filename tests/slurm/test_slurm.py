"""Runs launch/submit.py with a real Slurm of two nodes on this machine."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.launches import FITTED, TRAINED, config_file, small_notes
from tests.helpers.processes import ROOT
from tests.helpers.runs import assert_same_run

HERE = Path(__file__).parent
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]


class Slurm:
    """Running Slurm, with its programs and launch/submit.py."""

    def __init__(self, environment: dict[str, str]):
        self.environment = environment

    def run(self, *words, check: bool = True) -> str:
        """Runs a program and returns its output."""
        done = subprocess.run(
            list(map(str, words)), env=self.environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def submit(self, *words) -> str:
        """Runs launch/submit.py and returns its output."""
        return self.run(sys.executable, ROOT / "launch" / "submit.py", *words)

    def state(self, job: str) -> str:
        """Returns the state of a job, such as "RUNNING" or "PENDING"; "" if it has ended."""
        lines = self.run("squeue", "--me", "--noheader", "--format=%i %T").splitlines()
        return next((line.split()[1] for line in lines if line.split()[0] == job), "")

    def wait(self, condition, *, seconds: float = 300.0) -> None:
        """Waits until a condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.run("squeue", "--array")
            time.sleep(0.1)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slurm")
    done = subprocess.run([HERE / "up", folder], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip(f"Slurm cannot run on this machine: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    try:
        cache = {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        }
        lines = subprocess.run(
            ["bash", "-c", f". {folder}/environment && env -0"], env={**os.environ, **cache}, capture_output=True, check=True
        ).stdout
        yield Slurm(dict(line.split("=", 1) for line in lines.decode().split("\0") if line))
    finally:
        subprocess.run([HERE / "down", folder], check=False)


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    return small_notes(tmp_path_factory.mktemp("notes") / "notes")


def steps_of(workdir: Path) -> int:
    """Returns the last step in the log of a run."""
    with contextlib.suppress(FileNotFoundError):
        steps = re.findall(r'"event": "train", "step": (\d+)', (workdir / "metrics.jsonl").read_text())
        return int(steps[-1]) if steps else 0
    return 0


def processes_of(workdir: Path) -> dict[str, int]:
    """Returns the processes of a run by the names of their nodes."""
    process_ids = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"--workdir=%s" % os.fsencode(workdir) in words and any(word.endswith(b"train.py") for word in words):
                variables = (process / "environ").read_bytes().split(b"\0")
                node = next((v.decode() for v in variables if v.startswith(b"SLURMD_NODENAME=")), "")
                if b"srun" not in words[0]:
                    process_ids[node.partition("=")[2]] = int(process.name)
    return process_ids


def test_stopped_and_killed_job_equals_undisturbed_job(slurm, notes, tmp_path):
    # The second run is first stopped by a signal and saves; then one of its processes is killed without saving.
    try:
        socket.gethostbyname(socket.gethostname())
    except OSError:
        pytest.skip(f"the host name {socket.gethostname()} has no address, which JAX needs")
    config, steps = config_file(tmp_path / "small.py", TRAINED), 600
    jobs = {}
    for name in ("whole", "killed"):
        output = slurm.submit(
            f"--config={config}", f"--workdir={tmp_path / name}", "--cluster=slurm", "--nodes=2", "--time=30",
            "--", f"--config.data.store={notes}", f"--config.train.steps={steps}",
        )  # fmt: skip
        jobs[name] = re.search(r"train: job (\d+)", output)[1]
    job, killed = jobs["killed"], tmp_path / "killed"
    log = killed / "logs" / "train.log"

    slurm.wait(lambda: steps_of(killed) >= 10)
    nodes = processes_of(killed)
    assert len(nodes) == 2, nodes
    slurm.run("scancel", "--signal=TERM", job)
    slurm.wait(lambda: slurm.state(job) == "PENDING")
    assert json.loads((killed / "launch" / "state" / "train.json").read_text())["code"] == 143
    stopped = int(re.search(r"Stopped at step (\d+) and saved", log.read_text())[1])
    assert stopped < steps
    assert "| train | waiting |" in slurm.submit("--action=status", f"--workdir={killed}")

    # By default Slurm waits for two minutes.
    slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")
    slurm.wait(lambda: steps_of(killed) >= stopped + 10)
    assert f"Resuming from step {stopped}" in log.read_text()
    other = next(pid for node, pid in processes_of(killed).items() if node.endswith("-second"))
    os.kill(other, signal.SIGKILL)
    slurm.wait(lambda: slurm.state(job) == "PENDING")
    assert json.loads((killed / "launch" / "state" / "train.json").read_text())["code"] == 137
    assert steps_of(killed) < steps

    slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")
    slurm.wait(lambda: not slurm.state(job) and not slurm.state(jobs["whole"]))
    assert f"Finished at step {steps}" in log.read_text(), log.read_text()
    assert log.read_text().count("Resuming from step") == 2
    assert_same_run(tmp_path / "whole", killed)
    status = slurm.submit("--action=status", f"--workdir={killed}")
    assert f"| train | done | {steps:,} |" in status


def test_sweep_on_slurm_continues_after_a_failed_run(slurm, notes, tmp_path):
    # A PCA of 40 notes cannot have 400 latents.
    workdir = tmp_path / "sweep"
    grid = tmp_path / "grid.json"
    grid.write_text('{"model.latent_size": [2, 400, 3]}')
    slurm.submit(
        f"--config={config_file(tmp_path / 'small.py', FITTED)}", f"--grid={grid}", f"--workdir={workdir}", "--cluster=slurm",
        "--experiment=train,generate,evaluate", "--at_once=2", "--", f"--config.data.store={notes}",
        "--", "--mode=sample", "--number=2", "--", "--sounds=0",
    )  # fmt: skip
    slurm.wait(lambda: not slurm.run("squeue", "--me", "--noheader", "--name=small.train,small.generate,small.evaluate"))
    status = slurm.submit("--action=status", f"--workdir={workdir}")
    assert "| train.latent_size=400 | failed |" in status, status
    assert "5 done, 1 failed, 1 not started" in status
    assert len(list((workdir / "latent_size=3" / "sounds").glob("*.wav"))) == 2
    with open(workdir / "scores" / "scores.csv", encoding="utf-8") as file:
        assert [row["run"] for row in csv.DictReader(file)] == ["latent_size=2", "latent_size=3"]
    slurm.submit("--action=table", f"--workdir={workdir}")
    with open(workdir / "sweep.csv", encoding="utf-8") as file:
        assert [row["latent_size"] for row in csv.DictReader(file)] == ["2", "3"]
    # Only missing tasks are submitted again.
    again = slurm.submit("--action=resume", f"--workdir={workdir}", "--dry_run")
    lines = [line for line in again.splitlines() if line.startswith("sbatch ")]
    assert [re.sub(r" \S+\.sh$", "", line) for line in lines] == [
        "sbatch --parsable --array=1%2",
        "sbatch --parsable --array=1%2 '--dependency=aftercorr:{train}' --kill-on-invalid-dep=yes",
        "sbatch --parsable '--dependency=afterany:{generate}' --kill-on-invalid-dep=yes",
    ]
