"""Batch scripts and what is handed to sbatch, as text; tests/slurm runs them."""

from __future__ import annotations

import dataclasses
import subprocess

import pytest

from launch.plan import LaunchOptions, make_plan, write_state
from launch.slurm import batch_script, notice_seconds, seconds_of, submission

OPTIONS = LaunchOptions(
    nodes=2, gpus_per_node=4, cpus_per_task=8, time="12:00:00", at_once=2, sbatch=["--partition=gpu"]
)  # fmt: skip


def plan(workdir, *, runs=3, stages=("train", "analyze", "evaluate"), **options):
    return make_plan(
        name="notes", workdir=workdir, stages=stages, arguments=[], config="experiments/configs/notes_best.py",
        runs={f"seed={i}": {"seed": i} for i in range(runs)} if runs else None, cluster="slurm",
        options=dataclasses.replace(OPTIONS, **options),
    )  # fmt: skip


def directives(script: str) -> set[str]:
    return {line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")}


def arguments(jobs) -> list[list[str]]:
    return [[word for word in words[:-1] if word != "--parsable"] for _, _, words in jobs]


def test_a_process_for_each_gpu_and_every_process_sees_all_of_its_node(tmp_path):
    script = batch_script(plan(tmp_path), "train")
    assert {"--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4", "--cpus-per-task=8", "--time=12:00:00"} <= directives(
        script
    )
    assert {"--signal=B:USR1@120", "--requeue", "--partition=gpu", '--job-name="notes.train"'} <= directives(script)
    assert "gpus-per-task" not in script
    assert "srun --kill-on-bad-exit=0 --wait=0 --cpus-per-task=8" in script
    # What follows runs on one process.
    assert {"--nodes=1", "--ntasks-per-node=1", "--gpus-per-node=1"} <= directives(batch_script(plan(tmp_path), "analyze"))
    # Without GPUs a process for each node.
    bare = directives(batch_script(plan(tmp_path, gpus_per_node=0, cpus_per_task=0, time=""), "train"))
    assert {"--nodes=2", "--ntasks-per-node=1"} <= bare
    assert not any(line.startswith(("--gpus", "--cpus", "--time")) for line in bare)


@pytest.mark.parametrize("folder", ["plain", "it's $HOME & more"])
@pytest.mark.parametrize("stage", ["train", "analyze", "evaluate"])
def test_scripts_are_shell_whatever_the_folder_is_called(stage, folder, tmp_path):
    script = batch_script(plan(tmp_path / folder, setup="modules.sh"), stage)
    assert "{{" not in script
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_runs_that_ended_well_are_found_when_the_evaluation_begins(tmp_path):
    made = plan(tmp_path / "it's $HOME")
    script = batch_script(made, "evaluate")
    write_state(made, made.tasks[0], code=0, job="1", failures=0, time=0)
    write_state(made, made.tasks[1], code=1, job="1", failures=0, time=0)
    write_state(made, made.tasks[2], code=0, job="1", failures=0, time=0)
    head = script[: script.index("state=$launch")] + 'printf "%s\\n" "${command[@]}"'
    done = subprocess.run(["bash"], input=head, text=True, capture_output=True, check=True, env={"SLURM_JOB_ID": "1"})
    runs = f"{made.workdir}/seed=0,{made.workdir}/seed=2"
    assert done.stdout.splitlines()[1:] == [
        made.tasks[-1].command[0], "--noprogress", f"--workdir={runs}", f"--out={made.workdir}/scores",
    ]  # fmt: skip


def test_a_sweep_is_an_array_that_others_wait_for_run_by_run(tmp_path):
    made = plan(tmp_path)
    jobs = submission(made, made.due(), {})
    assert [(stage, len(part)) for stage, part, _ in jobs] == [("train", 3), ("analyze", 3), ("evaluate", 1)]
    assert arguments(jobs) == [
        ["--array=0-2%2"],
        ["--array=0-2%2", "--dependency=aftercorr:{train}", "--kill-on-invalid-dep=yes"],
        ["--dependency=afterany:{analyze}", "--kill-on-invalid-dep=yes"],
    ]


def test_runs_wait_for_what_is_done_once_before_them(tmp_path):
    made = plan(tmp_path, stages=("prepare", "train"), at_once=0)
    assert arguments(submission(made, made.due(), {})) == [
        [],
        ["--array=0-2", "--dependency=afterok:{prepare}", "--kill-on-invalid-dep=yes"],
    ]


def test_a_single_run_has_no_array(tmp_path):
    made = plan(tmp_path, runs=0)
    assert arguments(submission(made, made.due(), {})) == [
        [],
        ["--dependency=afterok:{train}", "--kill-on-invalid-dep=yes"],
        ["--dependency=afterok:{analyze}", "--kill-on-invalid-dep=yes"],
    ]


def test_only_what_is_due_is_submitted_and_waits_for_what_is_queued(tmp_path):
    made = plan(tmp_path, runs=6, at_once=0)
    done = [*made.tasks[:2], made.tasks[4], *made.tasks[6:7]]  # train 0, 1, 4; analyze 0
    for task in done:
        write_state(made, task, code=0, job="1", failures=0, time=0)
    jobs = submission(made, made.due(), {"train.seed=5": "17_5"})
    assert arguments(jobs) == [
        ["--array=2-3"],
        ["--array=2-3", "--dependency=aftercorr:{train}", "--kill-on-invalid-dep=yes"],
        ["--array=1,4-5", "--dependency=afterany:17_5", "--kill-on-invalid-dep=yes"],
        ["--dependency=afterany:{analyze}", "--kill-on-invalid-dep=yes"],
    ]


@pytest.mark.parametrize(
    ("limit", "seconds", "notice"),
    [("", 0, 120), ("90", 5400, 120), ("10:30", 630, 120), ("1:30:00", 5400, 120), ("2-12", 216000, 120), ("1", 60, 15),
     ("2-12:30:15", 217815, 120)],
)  # fmt: skip
def test_time_limits(limit, seconds, notice):
    assert seconds_of(limit) == seconds
    assert notice_seconds(limit) == notice


@pytest.mark.parametrize("limit", ["soon", "1h", "-5", "1:2:3:4"])
def test_what_is_no_time_limit(limit):
    with pytest.raises(ValueError, match="must be minutes, H:MM:SS or D-HH:MM:SS"):
        seconds_of(limit)
