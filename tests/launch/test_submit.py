"""Command line of launch/submit.py, and launches on this machine."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import pytest

import timbre_jax
from launch.check import check
from launch.plan import LaunchOptions, make_plan
from tests.helpers.launches import TRAINED, config_file
from tests.helpers.processes import run, start, wait_for
from timbre_jax import checkpoint

SUBMIT = "launch/submit.py"


def grid_of(tmp_path, grid) -> str:
    (tmp_path / "grid.json").write_text(json.dumps(grid))
    return f"--grid={tmp_path / 'grid.json'}"


def test_help_contains_examples():
    done = run(SUBMIT, "--help")
    for word in ("dry_run:", "--action=status", "--action=resume", "--gpus_per_node", "grid.json", "train,analyze,evaluate"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("--action=status",), "error: --action=status: give --workdir=DIR", 1),
        (("--action=resume", "--workdir=NONE"), "contains no launch", 1),
        (("train",), "unexpected argument 'train': options start with --", 1),
        (("--nodes=0",), "nodes=0", 2),
        (("--config=CONFIG", "--nodes=2", "--gpus_per_node=1"), "error: --nodes: local nodes are processes on the CPU", 1),
        (("--grid=none.json", "--config=CONFIG"), "--grid=none.json: No such file or directory", 1),
    ],
)
def test_invalid_input_is_one_line(arguments, message, code, config, tmp_path):
    arguments = [word.replace("NONE", str(tmp_path / "w")).replace("CONFIG", str(config)) for word in arguments]
    done = run(SUBMIT, *arguments)
    assert message in done.stderr
    assert done.returncode == code
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": ""}, "train: give --config=NAME"),
        ({"config": "none.py"}, "none.py: no such file"),
        ({"config": "natsiou203"}, "no such configuration in experiments/configs; similar: natsiou2023"),
        ({"options": LaunchOptions(time="soon")}, "--time=soon: must be minutes"),
        ({"arguments": [["--config.train.batchsize=3"]]}, "similar: config.train.batch_size"),
        ({"arguments": [["--config.seed=-1"]]}, "config.seed=-1: must not be negative"),
        ({"arguments": [["--platfrom=cpu"]]}, "train: Unknown command line flag 'platfrom'"),
        ({"stages": ["train", "analyze"], "arguments": [[], ["--nubmer=3"]]}, "analyze: Unknown command line flag"),
        ({"runs": {"a": {"model.width": 1}}}, "config.model.width: no such field"),
        ({"runs": {"a": {"model.latent_size": "many"}}}, "config.model.latent_size='many': must be int"),
    ],
)
def test_errors_of_experiments_are_reported_before_launch(options, message, config, tmp_path):
    options = {"config": str(config), "stages": ["train"], "arguments": [], **options}
    with pytest.raises(ValueError, match=message) as error:
        check(make_plan(name="x", workdir=tmp_path / "w", **options))
    assert "\n" not in str(error.value)


def test_refused_launch_writes_nothing(config, tmp_path):
    done = run(SUBMIT, f"--workdir={tmp_path / 'w'}", f"--config={config}", "--", "--config.train.batchsize=3")
    assert "similar: config.train.batch_size" in done.stderr
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (tmp_path / "w").exists()


def test_dry_run_prints_and_writes_nothing(config, notes, tmp_path):
    common = (f"--config={config}", f"--workdir={tmp_path / 'w'}", grid_of(tmp_path, {"seed": [0, 1]}), "--dry_run")
    done = run(SUBMIT, *common, "--cluster=slurm", "--nodes=2", "--gpus_per_node=4", "--", f"--config.data.store={notes}")
    assert done.returncode == 0, done.stderr
    assert "#SBATCH --ntasks-per-node=4" in done.stdout
    assert f"sbatch --parsable --array=0-1 {tmp_path}/w/launch/train.sh" in done.stdout
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
def test_local_sweep_continues_after_a_failed_run(config, notes, tmp_path):
    # A PCA of 40 notes cannot have 400 latents.
    workdir = tmp_path / "sweep"
    command = (
        SUBMIT, f"--config={config}", f"--workdir={workdir}", "--experiment=train,generate,evaluate", "--at_once=2",
        grid_of(tmp_path, {"model.latent_size": [2, 400, 3]}), "--",
        f"--config.data.store={notes}", "--", "--mode=sample", "--number=2", "--", "--sounds=0",
    )  # fmt: skip
    done = run(*command)
    assert done.returncode == 1
    assert "train.latent_size=400 FAILED with exit code 1: error: " in done.stdout
    assert "generate.latent_size=400 is skipped: train.latent_size=400 failed" in done.stdout
    assert "5 of 7 tasks done; not done: train.latent_size=400, generate.latent_size=400" in done.stdout
    assert timbre_jax.load(workdir / "latent_size=3").latent_size == 3
    assert len(list((workdir / "latent_size=2" / "sounds").glob("*.wav"))) == 2
    scores = list(csv.DictReader((workdir / "scores" / "scores.csv").open()))
    assert [row["run"] for row in scores] == ["latent_size=2", "latent_size=3"]
    assert "Fitted" in (workdir / "logs" / "train.latent_size=2.log").read_text()

    status = run(SUBMIT, "--action=status", f"--workdir={workdir}").stdout
    assert "| train.latent_size=400 | failed |" in status
    assert "5 done, 1 failed, 1 not started" in status
    table = run(SUBMIT, "--action=table", f"--workdir={workdir}")
    assert table.returncode == 0, table.stderr
    rows = list(csv.DictReader((workdir / "sweep.csv").open()))
    assert [(row["latent_size"], row["status"]) for row in rows] == [("2", "finished"), ("3", "finished")]

    # Finished tasks are not repeated.
    before = (workdir / "logs" / "train.latent_size=2.log").stat().st_mtime_ns
    again = run(SUBMIT, "--action=resume", f"--workdir={workdir}")
    assert again.returncode == 1
    assert "train.latent_size=400 FAILED" in again.stdout
    assert (workdir / "logs" / "train.latent_size=2.log").stat().st_mtime_ns == before


def child_of(pid: int) -> int:
    """Returns the only child process of a process, from /proc."""
    children = [number for file in Path(f"/proc/{pid}/task").glob("*/children") for number in file.read_text().split()]
    assert len(children) == 1, children
    return int(children[0])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="requires /proc to find the processes of a launch")
def test_stopped_and_killed_launches_are_resumed(notes, tmp_path):
    file = config_file(tmp_path / "small.py", TRAINED)
    workdir = tmp_path / "run"

    def launch(steps, **options):
        words = [SUBMIT, f"--config={file}", f"--workdir={workdir}", *(f"--{k}={v}" for k, v in options.items())]
        return start(*words, "--", f"--config.data.store={notes}", f"--config.train.steps={steps}")

    def wait_until_saved(step, process):
        wait_for(lambda: any(saved >= step for saved in checkpoint.steps(workdir / "checkpoints")), process)

    process = launch(1_000_000)
    wait_until_saved(5, process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, out
    assert "Stopped and saved" in out
    assert "| train | stopped |" in run(SUBMIT, "--action=status", f"--workdir={workdir}").stdout
    saved = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])["step"]

    # A killed process is restarted.
    process = launch(saved + 400)
    wait_until_saved(saved + 5, process)
    os.kill(child_of(process.pid), signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, (out, err)
    assert "FAILED with exit code 137" in out
    assert "train again" in out
    assert f"Finished at step {saved + 400}" in (workdir / "logs" / "train.log").read_text()
