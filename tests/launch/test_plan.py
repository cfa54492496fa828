"""What a launch consists of, what is due of it, and what is wrong with others."""

from __future__ import annotations

import dataclasses

import pytest

from launch.plan import FINISHED, LaunchOptions, make_plan, read_plan, write_plan, write_state

RUNS = {"seed=0": {"seed": 0}, "seed=1": {"seed": 1}}


def plan(workdir, *, stages=("train", "analyze", "evaluate"), runs=RUNS, arguments=(), **options):
    return make_plan(
        name="notes", workdir=workdir, stages=stages, arguments=arguments, config="experiments/configs/notes_best.py",
        runs=runs, options=LaunchOptions(**options),
    )  # fmt: skip


def test_a_sweep_is_a_task_for_each_run_and_one_for_all(tmp_path):
    made = plan(tmp_path, arguments=[["--config.train.steps=3"], ["--number=9"]])
    names = ["train.seed=0", "train.seed=1", "analyze.seed=0", "analyze.seed=1", "evaluate"]
    assert [task.name for task in made.tasks] == names
    train, _, analyze, _, evaluate = made.tasks
    assert train.command[0].endswith("experiments/train.py")
    assert train.command[1:] == (
        f"--workdir={tmp_path}/seed=0",
        "--config=experiments/configs/notes_best.py",
        "--config.train.steps=3",
        "--config.seed=0",
    )
    assert analyze.command[1:] == (f"--workdir={tmp_path}/seed=0", f"--out={tmp_path}/seed=0/analysis", "--number=9")
    assert evaluate.command[1:] == (f"--workdir={FINISHED}", f"--out={tmp_path}/scores")
    assert "--workdir=A,B" in evaluate.words(finished="A,B", progress=True)
    assert train.words(finished="", progress=False)[2] == "--noprogress"
    assert [made.needs(task) for task in (train, analyze, evaluate)] == [[], [train], list(made.tasks[2:4])]


def test_other_experiments_are_done_once_with_what_they_are_given(tmp_path):
    made = plan(tmp_path, stages=("prepare", "train", "evaluate"), arguments=[["--source=kits"]])
    assert [task.name for task in made.tasks] == ["prepare", "train.seed=0", "train.seed=1", "evaluate"]
    assert made.tasks[0].command[1:] == ("--source=kits",)
    assert made.needs(made.tasks[1]) == [made.tasks[0]]
    assert made.finished_runs() == []
    write_state(made, made.tasks[2], code=0, job="1", failures=0, time=0)
    assert made.finished_runs() == [tmp_path / "seed=1"]
    # An evaluation alone is of all runs that there are.
    assert plan(tmp_path, stages=("evaluate",)).finished_runs() == [tmp_path / "seed=0", tmp_path / "seed=1"]


def test_a_single_run_is_the_folder_itself(tmp_path):
    made = plan(tmp_path, runs=None)
    assert [task.name for task in made.tasks] == ["train", "analyze", "evaluate"]
    assert made.tasks[0].command[1] == f"--workdir={tmp_path}"
    assert made.needs(made.tasks[2]) == [made.tasks[1]]


def test_what_is_due_is_what_has_not_ended_well_and_what_follows(tmp_path):
    made = plan(tmp_path)
    train, other, analyze, _, evaluate = made.tasks
    assert made.due() == list(made.tasks)
    for task in made.tasks:
        write_state(made, task, code=0, job="1", failures=0, time=0)
    assert made.due() == []
    write_state(made, other, code=143, job="1", failures=0, time=0)
    assert made.due() == [other, made.tasks[3], evaluate]
    assert made.finished_runs() == [tmp_path / "seed=0"]
    write_state(made, other, code=None, job="1", failures=0, time=0)
    assert not made.done(other)
    write_state(made, other, code=0, job="1", failures=0, time=0)
    made.state_path(analyze).unlink()
    assert made.due() == [analyze, evaluate]
    assert made.done(train)


def test_plans_are_read_as_they_were_written_where_their_folder_is_now(tmp_path):
    made = plan(tmp_path / "here", at_once=2)
    assert read_plan(tmp_path / "here") is None
    write_plan(made)
    assert read_plan(tmp_path / "here") == made
    (tmp_path / "here").rename(tmp_path / "there")
    assert read_plan(tmp_path / "there") == dataclasses.replace(made, workdir=tmp_path / "there")
    (tmp_path / "there" / "launch" / "plan.json").write_text("{}")
    with pytest.raises(ValueError, match="is damaged"):
        read_plan(tmp_path / "there")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ("trian",)}, "no experiment 'trian'; there are analyze"),
        ({"stages": ("train", "train")}, "names 'train' twice"),
        ({"arguments": [[], [], [], []]}, "4 groups of arguments .* for 3 experiments"),
        ({"workdir": "a,b"}, "must not have ',' in it"),
        ({"workdir": "100%"}, "must not have '%' in it"),
    ],
)
def test_wrong_launches(changes, message, tmp_path):
    workdir = tmp_path / changes.pop("workdir", "w")
    with pytest.raises(ValueError, match=message):
        plan(workdir, **changes)


def test_processes_and_runs_side_by_side_do_not_take_each_other_s_devices(tmp_path, monkeypatch):
    from launch.local import LocalLaunch

    for name in ("CUDA_VISIBLE_DEVICES", "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")

    def environment(stage, slot=0, **options):
        made = plan(tmp_path, **options)
        return LocalLaunch(made, made.tasks)._environment(made.of_stage(stage)[0], slot)

    assert environment("train", nodes=2)["JAX_PLATFORMS"] == "cpu"
    assert environment("evaluate", nodes=2)["JAX_PLATFORMS"] == "cuda"
    assert float(environment("train", at_once=3)["XLA_PYTHON_CLIENT_MEM_FRACTION"]) == pytest.approx(0.25)
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in environment("train")
    assert environment("train", slot=1, at_once=2, gpus_per_node=2)["CUDA_VISIBLE_DEVICES"] == "2,3"


def test_more_gpus_than_there_are_are_refused_where_their_number_is_known(monkeypatch):
    from launch import check

    options = LaunchOptions(gpus_per_node=2, at_once=2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    with pytest.raises(ValueError, match="2 runs at once with 2 GPUs each are more than CUDA_VISIBLE_DEVICES=0,1,2 has"):
        check._check_machine(options)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(check.glob, "glob", lambda _: ["/dev/nvidia0"])
    with pytest.raises(ValueError, match="than this machine has"):
        check._check_machine(options)
    monkeypatch.setattr(check.glob, "glob", lambda _: [])
    check._check_machine(options)
