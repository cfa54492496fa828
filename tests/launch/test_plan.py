"""Plans of launches: their tasks, due tasks and invalid launches."""

from __future__ import annotations

import dataclasses

import pytest

from launch.plan import FINISHED_RUNS, LaunchOptions, make_plan, read_plan, write_plan, write_state

RUNS = {"seed=0": {"seed": 0}, "seed=1": {"seed": 1}}


def plan_of(workdir, *, stages=("train", "analyze", "evaluate"), runs=RUNS, arguments=(), **options):
    return make_plan(
        name="notes", workdir=workdir, stages=stages, arguments=arguments, config="experiments/configs/notes_best.py",
        runs=runs, options=LaunchOptions(**options),
    )  # fmt: skip


def test_sweep_has_tasks_for_each_run_and_one_evaluation(tmp_path):
    plan = plan_of(tmp_path, arguments=[["--config.train.steps=3"], ["--number=9"]])
    names = ["train.seed=0", "train.seed=1", "analyze.seed=0", "analyze.seed=1", "evaluate"]
    assert [task.name for task in plan.tasks] == names
    train, _, analyze, _, evaluate = plan.tasks
    assert train.command[0].endswith("experiments/train.py")
    assert train.command[1:] == (
        f"--workdir={tmp_path}/seed=0",
        "--config=experiments/configs/notes_best.py",
        "--config.train.steps=3",
        "--config.seed=0",
    )
    assert analyze.command[1:] == (f"--workdir={tmp_path}/seed=0", f"--out={tmp_path}/seed=0/analysis", "--number=9")
    assert evaluate.command[1:] == (f"--workdir={FINISHED_RUNS}", f"--out={tmp_path}/scores")
    assert "--workdir=A,B" in evaluate.command_line(finished="A,B", progress=True)
    assert train.command_line(finished="", progress=False)[2] == "--noprogress"
    assert [plan.prerequisites(task) for task in (train, analyze, evaluate)] == [[], [train], list(plan.tasks[2:4])]


def test_other_experiments_are_single_tasks(tmp_path):
    plan = plan_of(tmp_path, stages=("prepare", "train", "evaluate"), arguments=[["--source=kits"]])
    assert [task.name for task in plan.tasks] == ["prepare", "train.seed=0", "train.seed=1", "evaluate"]
    assert plan.tasks[0].command[1:] == ("--source=kits",)
    assert plan.prerequisites(plan.tasks[1]) == [plan.tasks[0]]
    assert plan.finished_runs() == []
    write_state(plan, plan.tasks[2], code=0, job="1", failures=0, time=0)
    assert plan.finished_runs() == [tmp_path / "seed=1"]
    # A single evaluation uses all existing runs.
    assert plan_of(tmp_path, stages=("evaluate",)).finished_runs() == [tmp_path / "seed=0", tmp_path / "seed=1"]


def test_folder_of_single_run_is_workdir(tmp_path):
    plan = plan_of(tmp_path, runs=None)
    assert [task.name for task in plan.tasks] == ["train", "analyze", "evaluate"]
    assert plan.tasks[0].command[1] == f"--workdir={tmp_path}"
    assert plan.prerequisites(plan.tasks[2]) == [plan.tasks[1]]


def test_due_tasks_are_unfinished_ones_and_their_dependents(tmp_path):
    plan = plan_of(tmp_path)
    train, other, analyze, _, evaluate = plan.tasks
    assert plan.due_tasks() == list(plan.tasks)
    for task in plan.tasks:
        write_state(plan, task, code=0, job="1", failures=0, time=0)
    assert plan.due_tasks() == []
    write_state(plan, other, code=143, job="1", failures=0, time=0)
    assert plan.due_tasks() == [other, plan.tasks[3], evaluate]
    assert plan.finished_runs() == [tmp_path / "seed=0"]
    write_state(plan, other, code=None, job="1", failures=0, time=0)
    assert not plan.done(other)
    write_state(plan, other, code=0, job="1", failures=0, time=0)
    plan.state_path(analyze).unlink()
    assert plan.due_tasks() == [analyze, evaluate]
    assert plan.done(train)


def test_plan_is_read_unchanged_after_its_folder_moved(tmp_path):
    plan = plan_of(tmp_path / "here", at_once=2)
    assert read_plan(tmp_path / "here") is None
    write_plan(plan)
    assert read_plan(tmp_path / "here") == plan
    (tmp_path / "here").rename(tmp_path / "there")
    assert read_plan(tmp_path / "there") == dataclasses.replace(plan, workdir=tmp_path / "there")
    (tmp_path / "there" / "launch" / "plan.json").write_text("{}")
    with pytest.raises(ValueError, match="json: damaged"):
        read_plan(tmp_path / "there")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ("trian",)}, "--experiment=trian: must be one of analyze"),
        ({"stages": ("train", "train")}, "'train' is repeated"),
        ({"arguments": [[], [], [], []]}, "got 4 groups for 3 experiments"),
        ({"workdir": "a,b"}, "must not contain ','"),
        ({"workdir": "100%"}, "must not contain '%'"),
    ],
)
def test_invalid_launches_are_refused(changes, message, tmp_path):
    workdir = tmp_path / changes.pop("workdir", "w")
    with pytest.raises(ValueError, match=message):
        plan_of(workdir, **changes)


def test_simultaneous_tasks_use_separate_devices(tmp_path, monkeypatch):
    from launch.local import LocalLaunch

    for name in ("CUDA_VISIBLE_DEVICES", "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")

    def environment(stage, slot=0, **options):
        plan = plan_of(tmp_path, **options)
        return LocalLaunch(plan, plan.tasks)._environment(plan.stage_tasks(stage)[0], slot)

    assert environment("train", nodes=2)["JAX_PLATFORMS"] == "cpu"
    assert environment("evaluate", nodes=2)["JAX_PLATFORMS"] == "cuda"
    assert float(environment("train", at_once=3)["XLA_PYTHON_CLIENT_MEM_FRACTION"]) == pytest.approx(0.25)
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in environment("train")
    assert environment("train", slot=1, at_once=2, gpus_per_node=2)["CUDA_VISIBLE_DEVICES"] == "2,3"


def test_too_many_gpus_are_refused_if_their_number_is_known(monkeypatch):
    from launch import check

    options = LaunchOptions(gpus_per_node=2, at_once=2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    with pytest.raises(ValueError, match="--at_once=2 with --gpus_per_node=2: CUDA_VISIBLE_DEVICES=0,1,2 has only 3 GPUs"):
        check._check_machine(options)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(check.glob, "glob", lambda _: ["/dev/nvidia0"])
    with pytest.raises(ValueError, match="this machine has only 1 GPUs"):
        check._check_machine(options)
    monkeypatch.setattr(check.glob, "glob", lambda _: [])
    check._check_machine(options)
