"""Plan of a launch: runs, experiments on each run, their commands and states.

WORKDIR/                       folder of a single run, or of a sweep with a folder for each run
  launch/plan.json             the `Plan`
  launch/state/STAGE.RUN.json  state of a task: {"code": 0, "job": "17", "failures": 0, "time": 1700000000}, where code is the
                               exit code, or null while the task runs
  launch/jobs.jsonl, *.sh      jobs and batch scripts that were submitted to Slurm
  logs/STAGE.RUN.log           output of the commands
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timbre_jax.files import write_text
from timbre_jax.settings import Settings, setting

ROOT = Path(__file__).resolve().parents[1]
FINISHED_RUNS = "{finished runs}"
"""Placeholder in a command for the comma-separated folders of all finished runs."""


@dataclasses.dataclass(frozen=True)
class StageKind:
    """Properties of an experiment as a stage of a launch.

    Attributes:
      arguments: arguments with its folders, where {run} is the run's folder and {workdir} that of the launch.
      config: whether it has the flag --config and uses the changes of a grid.
      all_runs: whether there is one task for all runs instead of one for each.
      parallel: whether it runs on several processes, with all nodes and GPUs; other experiments have one process.
      progress_bar: whether it shows a progress bar, which is turned off in log files.
    """

    arguments: tuple[str, ...] = ()
    config: bool = False
    all_runs: bool = False
    parallel: bool = False
    progress_bar: bool = True


STAGE_KINDS = {
    "train": StageKind(("--workdir={run}",), config=True, parallel=True),
    "sweep": StageKind(("--workdir={run}",), config=True),
    "analyze": StageKind(("--workdir={run}", "--out={run}/analysis")),
    "generate": StageKind(("--workdir={run}", "--out={run}/sounds"), progress_bar=False),
    "evaluate": StageKind((f"--workdir={FINISHED_RUNS}", "--out={workdir}/scores"), all_runs=True),
}
"""Experiments with known folders."""


def stage_kind(stage: str) -> StageKind:
    """Returns the properties of an experiment; by default it is one task without arguments."""
    return STAGE_KINDS.get(stage, StageKind(all_runs=True, progress_bar=False))


@dataclasses.dataclass(frozen=True)
class Task:
    """Task of a launch: an experiment on one run, or on all runs.

    Attributes:
      stage: name of the experiment.
      run: name of the run; "" for a single run or for all runs.
      command: program and its arguments.
    """

    stage: str
    run: str
    command: tuple[str, ...]

    def command_line(self, *, finished: str, progress: bool) -> list[str]:
        """Returns the complete command.

        Args:
          finished: folders of the finished runs, comma-separated.
          progress: whether to show a progress bar.
        """
        program, *arguments = (argument.replace(FINISHED_RUNS, finished) for argument in self.command)
        quiet = ["--noprogress"] if stage_kind(self.stage).progress_bar and not progress else []
        return [sys.executable, program, *quiet, *arguments]

    @property
    def name(self) -> str:
        """Name of the task's log and state, such as "train.kl_weight=4+seed=1"."""
        return f"{self.stage}.{self.run}" if self.run else self.stage


@dataclasses.dataclass(frozen=True)
class LaunchOptions(Settings):
    """Resources of a launch, which are flags of launch/submit.py."""

    nodes: int = setting(1, "Machines that train one run together; locally, processes on the CPU.", low=1)
    gpus_per_node: int = setting(0, "GPUs of each machine, one process each; 0 asks for none.", low=0)
    cpus_per_task: int = setting(0, "Cores of each process; 0 is Slurm's default.", low=0)
    time: str = setting(
        "", "Time limit: minutes, H:MM:SS or D-HH:MM:SS. At the limit a run is saved; Slurm then resumes it, a local one ends."
    )
    at_once: int = setting(0, "Runs of a sweep at the same time; 0 is one locally, and no limit on Slurm.", low=0)
    retries: int = setting(3, "Number of restarts of a run whose process was killed or crashed.", low=0)
    sbatch: list[str] | None = setting(None, "Further option of sbatch, such as --sbatch=--partition=gpu")  # noqa: RUF009
    setup: str = setting("", "Shell file that Slurm jobs source first, for modules and environment variables.")


@dataclasses.dataclass(frozen=True)
class Plan:
    """Plan of a launch.

    Attributes:
      name: name of its jobs.
      workdir: absolute folder of the launch.
      directory: working directory of the commands.
      cluster: "local" or "slurm".
      options: resources of the launch.
      stages: names of the experiments, in order.
      runs: changes of each run by its name; {"": {}} for a single run.
      tasks: tasks of all stages, in order.
      commit: git commit of this library, with "+" if files were changed.
    """

    name: str
    workdir: Path
    directory: Path
    cluster: str
    options: LaunchOptions
    stages: tuple[str, ...]
    runs: Mapping[str, Mapping[str, Any]]
    tasks: tuple[Task, ...]
    commit: str = ""

    @property
    def folder(self) -> Path:
        """Folder of the plan, the states and the batch scripts."""
        return self.workdir / "launch"

    def run_folder(self, run: str) -> Path:
        """Returns the folder of a run."""
        return self.workdir / run if run else self.workdir

    def log(self, task: Task) -> Path:
        """Returns the log file of a task."""
        return self.workdir / "logs" / f"{task.name}.log"

    def state_path(self, task: Task) -> Path:
        """Returns the state file of a task."""
        return self.folder / "state" / f"{task.name}.json"

    def stage_tasks(self, stage: str) -> list[Task]:
        """Returns the tasks of a stage."""
        return [task for task in self.tasks if task.stage == stage]

    def prerequisites(self, task: Task) -> list[Task]:
        """Returns the tasks of the previous stage that must end before a task."""
        place = self.stages.index(task.stage)
        before = self.stage_tasks(self.stages[place - 1]) if place else []
        return [other for other in before if other.run == task.run] or before

    def state(self, task: Task) -> dict[str, Any] | None:
        """Returns the state of a task; None if it has not started."""
        try:
            return json.loads(self.state_path(task).read_text())
        except (FileNotFoundError, ValueError):
            return None

    def done(self, task: Task) -> bool:
        """Returns whether a task succeeded."""
        return (self.state(task) or {}).get("code", 1) == 0

    def due_tasks(self) -> list[Task]:
        """Returns the tasks that have not succeeded, and those that depend on them."""
        due: list[Task] = []
        for task in self.tasks:
            if not self.done(task) or any(other in due for other in self.prerequisites(task)):
                due.append(task)
        return due

    def first_tasks(self) -> list[Task]:
        """Returns the first task of each run; [] if all tasks are for all runs."""
        stage = next((stage for stage in self.stages if not stage_kind(stage).all_runs), None)
        return self.stage_tasks(stage) if stage else []

    def finished_runs(self) -> list[Path]:
        """Returns the folders of the runs whose first task succeeded."""
        first = self.first_tasks()
        return (
            [self.run_folder(task.run) for task in first if self.done(task)] if first else list(map(self.run_folder, self.runs))
        )


def write_state(plan: Plan, task: Task, **state) -> None:
    """Writes the state of a task."""
    write_text(plan.state_path(task), json.dumps(state) + "\n")


def make_plan(
    *,
    name: str,
    workdir: str | os.PathLike,
    stages: Sequence[str],
    arguments: Sequence[Sequence[str]],
    config: str = "",
    runs: Mapping[str, Mapping[str, Any]] | None = None,
    cluster: str = "local",
    options: LaunchOptions | None = None,
) -> Plan:
    """Returns the plan of a launch.

    Args:
      name: name of the jobs.
      workdir: folder of the launch.
      stages: names of the experiments, in order.
      arguments: arguments of each experiment; missing ones are empty.
      config: configuration of the runs.
      runs: changes of each run by its name; by default a single run without changes.
      cluster: "local" or "slurm".
      options: resources of the launch.

    Raises:
      ValueError: an experiment does not exist or is repeated, or the name of the folder cannot be used.
    """
    runs = dict(runs or {"": {}})
    workdir = Path(workdir).absolute()
    if bad := sorted(set(str(workdir)) & set('%"\\\n,')):
        raise ValueError(f"--workdir={workdir}: must not contain {bad[0]!r}, which has a meaning for Slurm or in --workdir=A,B")
    programs = sorted(path.stem for path in (ROOT / "experiments").glob("*.py") if "command_line.run(" in path.read_text())
    for stage in stages:
        if stage not in programs:
            raise ValueError(f"--experiment={stage}: must be one of {', '.join(programs)}")
        if list(stages).count(stage) > 1:
            raise ValueError(f"--experiment: {stage!r} is repeated")
    if len(arguments) > len(stages):
        raise ValueError(
            f"arguments after --: got {len(arguments)} groups for {len(stages)} experiments; give at most one group each"
        )
    tasks = []
    for stage, more in zip(stages, [*arguments, *[()] * (len(stages) - len(arguments))], strict=True):
        kind = stage_kind(stage)
        if kind.config and not config:
            raise ValueError(f"{stage}: give --config=NAME, for instance --config=natsiou2023")
        for run, changes in {"": {}}.items() if kind.all_runs else runs.items():
            folder = workdir / run if run else workdir
            folders = [text.replace("{run}", str(folder)).replace("{workdir}", str(workdir)) for text in kind.arguments]
            changed = [f"--config.{field}={argument_text(value)}" for field, value in changes.items()]
            settings = [f"--config={config}", *more, *changed] if kind.config else list(more)
            tasks.append(Task(stage, run, (str(ROOT / "experiments" / f"{stage}.py"), *folders, *settings)))
    return Plan(
        name=name,
        workdir=workdir,
        directory=Path.cwd(),
        cluster=cluster,
        options=options or LaunchOptions(),
        stages=tuple(stages),
        runs=runs,
        tasks=tuple(tasks),
        commit=_commit(),
    )


def argument_text(value: Any) -> str:
    """Returns a value in the syntax of configuration flags, with tuples in parentheses."""
    if isinstance(value, list | tuple):
        return repr(tuple(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def write_plan(plan: Plan) -> None:
    """Writes WORKDIR/launch/plan.json and creates the folder of the logs."""
    document = {**dataclasses.asdict(plan), "workdir": str(plan.workdir), "directory": str(plan.directory)}
    document["python"] = sys.executable
    write_text(plan.folder / "plan.json", json.dumps(document, indent=1) + "\n")
    (plan.workdir / "logs").mkdir(exist_ok=True)


def read_plan(workdir: str | os.PathLike) -> Plan | None:
    """Reads the plan of the launch in a folder; returns None if there is none.

    Raises:
      ValueError: the file is damaged.
    """
    path = Path(workdir) / "launch" / "plan.json"
    try:
        document = json.loads(path.read_text())
        del document["python"]
        changes = {
            "workdir": Path(workdir).absolute(),
            "directory": Path(document["directory"]),
            "options": LaunchOptions(**document["options"]),
            "stages": tuple(document["stages"]),
            "tasks": tuple(Task(t["stage"], t["run"], tuple(t["command"])) for t in document["tasks"]),
        }
        return Plan(**{**document, **changes})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged ({error}); remove it and give the command of the launch again") from None


def _commit() -> str:
    """Returns the git commit of this library, with "+" if files were changed; "" without git."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=ROOT, capture_output=True, text=True, check=True)
        return head + ("+" if changed.stdout.strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return ""
