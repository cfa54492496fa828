"""Text of batch scripts and arguments of sbatch; tests/slurm runs them."""

from __future__ import annotations

import dataclasses
import subprocess

import pytest

from launch.plan import LaunchOptions, make_plan, write_state
from launch.slurm import batch_script, notice_seconds, parse_time_limit, planned_jobs

OPTIONS = LaunchOptions(
    nodes=2, gpus_per_node=4, cpus_per_task=8, time="12:00:00", at_once=2, sbatch=["--partition=gpu"]
)  # fmt: skip


def plan_of(workdir, *, runs=3, stages=("train", "analyze", "evaluate"), **options):
    return make_plan(
        name="notes", workdir=workdir, stages=stages, arguments=[], config="experiments/configs/notes_best.py",
        runs={f"seed={i}": {"seed": i} for i in range(runs)} if runs else None, cluster="slurm",
        options=dataclasses.replace(OPTIONS, **options),
    )  # fmt: skip


def directives(script: str) -> set[str]:
    return {line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")}


def arguments(jobs) -> list[list[str]]:
    return [[word for word in words[:-1] if word != "--parsable"] for _, _, words in jobs]


def test_each_gpu_has_a_process_that_sees_all_gpus_of_the_node(tmp_path):
    script = batch_script(plan_of(tmp_path), "train")
    assert {"--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4", "--cpus-per-task=8", "--time=12:00:00"} <= directives(
        script
    )
    assert {"--signal=B:USR1@120", "--requeue", "--partition=gpu", '--job-name="notes.train"'} <= directives(script)
    assert "gpus-per-task" not in script
    assert "srun --kill-on-bad-exit=0 --wait=0 --cpus-per-task=8" in script
    # Other experiments run in one process.
    assert {"--nodes=1", "--ntasks-per-node=1", "--gpus-per-node=1"} <= directives(batch_script(plan_of(tmp_path), "analyze"))
    # Without GPUs each node has one process.
    bare = directives(batch_script(plan_of(tmp_path, gpus_per_node=0, cpus_per_task=0, time=""), "train"))
    assert {"--nodes=2", "--ntasks-per-node=1"} <= bare
    assert not any(line.startswith(("--gpus", "--cpus", "--time")) for line in bare)


@pytest.mark.parametrize("folder", ["plain", "it's $HOME & more"])
@pytest.mark.parametrize("stage", ["train", "analyze", "evaluate"])
def test_batch_scripts_are_valid_shell_for_any_folder_name(stage, folder, tmp_path):
    script = batch_script(plan_of(tmp_path / folder, setup="modules.sh"), stage)
    assert "{{" not in script
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_evaluation_uses_finished_runs(tmp_path):
    plan = plan_of(tmp_path / "it's $HOME")
    script = batch_script(plan, "evaluate")
    write_state(plan, plan.tasks[0], code=0, job="1", failures=0, time=0)
    write_state(plan, plan.tasks[1], code=1, job="1", failures=0, time=0)
    write_state(plan, plan.tasks[2], code=0, job="1", failures=0, time=0)
    head = script[: script.index("state=$launch")] + 'printf "%s\\n" "${command[@]}"'
    done = subprocess.run(["bash"], input=head, text=True, capture_output=True, check=True, env={"SLURM_JOB_ID": "1"})
    runs = f"{plan.workdir}/seed=0,{plan.workdir}/seed=2"
    assert done.stdout.splitlines()[1:] == [
        plan.tasks[-1].command[0], "--noprogress", f"--workdir={runs}", f"--out={plan.workdir}/scores",
    ]  # fmt: skip


def test_sweep_is_a_job_array_with_dependencies_run_by_run(tmp_path):
    plan = plan_of(tmp_path)
    jobs = planned_jobs(plan, plan.due_tasks(), {})
    assert [(stage, len(part)) for stage, part, _ in jobs] == [("train", 3), ("analyze", 3), ("evaluate", 1)]
    assert arguments(jobs) == [
        ["--array=0-2%2"],
        ["--array=0-2%2", "--dependency=aftercorr:{train}", "--kill-on-invalid-dep=yes"],
        ["--dependency=afterany:{analyze}", "--kill-on-invalid-dep=yes"],
    ]


def test_runs_depend_on_a_single_task_before_them(tmp_path):
    plan = plan_of(tmp_path, stages=("prepare", "train"), at_once=0)
    assert arguments(planned_jobs(plan, plan.due_tasks(), {})) == [
        [],
        ["--array=0-2", "--dependency=afterok:{prepare}", "--kill-on-invalid-dep=yes"],
    ]


def test_single_run_is_not_a_job_array(tmp_path):
    plan = plan_of(tmp_path, runs=0)
    assert arguments(planned_jobs(plan, plan.due_tasks(), {})) == [
        [],
        ["--dependency=afterok:{train}", "--kill-on-invalid-dep=yes"],
        ["--dependency=afterok:{analyze}", "--kill-on-invalid-dep=yes"],
    ]


def test_only_due_tasks_are_submitted_and_depend_on_queued_jobs(tmp_path):
    plan = plan_of(tmp_path, runs=6, at_once=0)
    done = [*plan.tasks[:2], plan.tasks[4], *plan.tasks[6:7]]  # train 0, 1, 4; analyze 0
    for task in done:
        write_state(plan, task, code=0, job="1", failures=0, time=0)
    jobs = planned_jobs(plan, plan.due_tasks(), {"train.seed=5": "17_5"})
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
def test_time_limits_are_parsed(limit, seconds, notice):
    assert parse_time_limit(limit) == seconds
    assert notice_seconds(limit) == notice


@pytest.mark.parametrize("limit", ["soon", "1h", "-5", "1:2:3:4"])
def test_invalid_time_limits_are_refused(limit):
    with pytest.raises(ValueError, match="must be minutes, H:MM:SS or D-HH:MM:SS"):
        parse_time_limit(limit)
