"""The command as a user gives it: what it refuses, what it shows, and launches on this machine."""

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


def test_help_teaches():
    done = run(SUBMIT, "--help")
    for word in ("--dry_run", "--action=status", "--action=resume", "--gpus_per_node", "grid.json", "train,analyze,evaluate"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("--action=status",), "error: --action=status needs --workdir=DIR", 1),
        (("--action=resume", "--workdir=NONE"), "nothing was launched in", 1),
        (("train",), "there is no argument 'train'; options begin with --", 1),
        (("--nodes=0",), "nodes=0", 2),
        (("--config=CONFIG", "--nodes=2", "--gpus_per_node=1"), "error: --nodes on this machine are processes on its CPU", 1),
        (("--grid=none.json", "--config=CONFIG"), "--grid=none.json: No such file or directory", 1),
    ],
)
def test_wrong_input_is_one_line(arguments, message, code, config, tmp_path):
    arguments = [word.replace("NONE", str(tmp_path / "w")).replace("CONFIG", str(config)) for word in arguments]
    done = run(SUBMIT, *arguments)
    assert message in done.stderr
    assert done.returncode == code
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": ""}, "train needs --config=NAME"),
        ({"config": "none.py"}, "there is no configuration file none.py"),
        ({"config": "natsiou203"}, "no such configuration in experiments/configs; near it: natsiou2023"),
        ({"options": LaunchOptions(time="soon")}, "--time=soon must be minutes"),
        ({"arguments": [["--config.train.batchsize=3"]]}, "near it: config.train.batch_size"),
        ({"arguments": [["--config.seed=-1"]]}, "config.seed must not be negative"),
        ({"arguments": [["--platfrom=cpu"]]}, "train: Unknown command line flag 'platfrom'"),
        ({"stages": ["train", "analyze"], "arguments": [[], ["--nubmer=3"]]}, "analyze: Unknown command line flag"),
        ({"runs": {"a": {"model.width": 1}}}, "config.model.width: no such field"),
        ({"runs": {"a": {"model.latent_size": "many"}}}, "config.model.latent_size='many': must be int"),
    ],
)
def test_what_the_experiments_would_refuse_is_told_first(options, message, config, tmp_path):
    options = {"config": str(config), "stages": ["train"], "arguments": [], **options}
    with pytest.raises(ValueError, match=message) as error:
        check(make_plan(name="x", workdir=tmp_path / "w", **options))
    assert "\n" not in str(error.value)


def test_nothing_is_made_of_a_launch_that_is_refused(config, tmp_path):
    done = run(SUBMIT, f"--workdir={tmp_path / 'w'}", f"--config={config}", "--", "--config.train.batchsize=3")
    assert "near it: config.train.batch_size" in done.stderr
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (tmp_path / "w").exists()


def test_a_dry_run_shows_and_makes_nothing(config, notes, tmp_path):
    common = (f"--config={config}", f"--workdir={tmp_path / 'w'}", grid_of(tmp_path, {"seed": [0, 1]}), "--dry_run")
    done = run(SUBMIT, *common, "--cluster=slurm", "--nodes=2", "--gpus_per_node=4", "--", f"--config.data.store={notes}")
    assert done.returncode == 0, done.stderr
    assert "#SBATCH --ntasks-per-node=4" in done.stdout
    assert f"sbatch --parsable --array=0-1 {tmp_path}/w/launch/train.sh" in done.stdout
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
def test_a_sweep_here_with_a_run_that_fails_goes_on_when_it_is_mended(config, notes, tmp_path):
    """latent_size 400 is more than a PCA of so few notes can have; the other runs, and the evaluation, do not mind."""
    workdir = tmp_path / "sweep"
    command = (
        SUBMIT, f"--config={config}", f"--workdir={workdir}", "--experiment=train,generate,evaluate", "--at_once=2",
        grid_of(tmp_path, {"model.latent_size": [2, 400, 3]}), "--",
        f"--config.data.store={notes}", "--", "--mode=sample", "--number=2", "--", "--sounds=0",
    )  # fmt: skip
    done = run(*command)
    assert done.returncode == 1
    assert "train.latent_size=400 FAILED with code 1: error: " in done.stdout
    assert "generate.latent_size=400 is left out: train.latent_size=400 did not end well" in done.stdout
    assert "5 of 7 done; not: train.latent_size=400, generate.latent_size=400" in done.stdout
    assert timbre_jax.load(workdir / "latent_size=3").latent_size == 3
    assert len(list((workdir / "latent_size=2" / "sounds").glob("*.wav"))) == 2
    scores = list(csv.DictReader((workdir / "scores" / "scores.csv").open()))
    assert [row["run"] for row in scores] == ["latent_size=2", "latent_size=3"]
    assert "Fitted" in (workdir / "logs" / "train.latent_size=2.log").read_text()

    status = run(SUBMIT, "--action=status", f"--workdir={workdir}").stdout
    assert "| train.latent_size=400 | failed |" in status
    assert "5 done, 1 failed, 1 not begun" in status
    table = run(SUBMIT, "--action=table", f"--workdir={workdir}")
    assert table.returncode == 0, table.stderr
    rows = list(csv.DictReader((workdir / "sweep.csv").open()))
    assert [(row["latent_size"], row["status"]) for row in rows] == [("2", "finished"), ("3", "finished")]

    # What is done is not done again.
    before = (workdir / "logs" / "train.latent_size=2.log").stat().st_mtime_ns
    again = run(SUBMIT, "--action=resume", f"--workdir={workdir}")
    assert again.returncode == 1
    assert "train.latent_size=400 FAILED" in again.stdout
    assert (workdir / "logs" / "train.latent_size=2.log").stat().st_mtime_ns == before


def child_of(pid: int) -> int:
    """The one process that a process has started, as Linux tells it."""
    children = [number for file in Path(f"/proc/{pid}/task").glob("*/children") for number in file.read_text().split()]
    assert len(children) == 1, children
    return int(children[0])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc: the processes of a launch cannot be found")
def test_stopped_and_killed_launches_go_on(notes, tmp_path):
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

    # A process that is killed is begun again.
    process = launch(saved + 400)
    wait_until_saved(saved + 5, process)
    os.kill(child_of(process.pid), signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, (out, err)
    assert "FAILED with code 137" in out
    assert "train again" in out
    assert f"Finished at step {saved + 400}" in (workdir / "logs" / "train.log").read_text()
