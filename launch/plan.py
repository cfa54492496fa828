"""What a launch consists of: its runs, the experiments done with each, their commands, and what has come of them.

WORKDIR/                       a single run's folder, or that of a sweep, with a folder for each run in it
  launch/plan.json             all of this, as `Plan` has it
  launch/state/STAGE.RUN.json  how a command ended: {"code": 0, "job": "17", "failures": 0, "time": 1700000000};
                               code null while it runs
  launch/jobs.jsonl, *.sh      what was handed to Slurm
  logs/STAGE.RUN.log           what the commands said
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
FINISHED = "{finished runs}"
"""Stands in a command for the folders, with commas, of those runs whose first task ended well."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """How an experiment is launched.

    Attributes:
      arguments: that say where it works; {run} is the run's folder, {workdir} the launch's.
      config: whether it takes --config and the changes of a grid.
      together: once for all runs, and not for each.
      parallel: whether it trains on several processes, and so gets all nodes and GPUs; others get one process.
      bar: whether it shows a bar with the time left, which a log does not need.
    """

    arguments: tuple[str, ...] = ()
    config: bool = False
    together: bool = False
    parallel: bool = False
    bar: bool = True


KINDS = {
    "train": Kind(("--workdir={run}",), config=True, parallel=True),
    "sweep": Kind(("--workdir={run}",), config=True),
    "analyze": Kind(("--workdir={run}", "--out={run}/analysis")),
    "generate": Kind(("--workdir={run}", "--out={run}/sounds"), bar=False),
    "evaluate": Kind((f"--workdir={FINISHED}", "--out={workdir}/scores"), together=True),
}
"""Experiments whose folders are known."""


def kind_of(stage: str) -> Kind:
    """How an experiment is launched; those that are not in KINDS once, with the arguments that are given and nothing else."""
    return KINDS.get(stage, Kind(together=True, bar=False))


@dataclasses.dataclass(frozen=True)
class Task:
    """One command: an experiment on a run, or on all of them.

    Attributes:
      stage: the experiment. run: the run's name; "" of a single one, or of all.
      command: arguments of Python, the program first.
    """

    stage: str
    run: str
    command: tuple[str, ...]

    def words(self, *, finished: str, progress: bool) -> list[str]:
        """The command to start: with the finished runs in their place, and with or without a bar with the time left."""
        program, *arguments = (argument.replace(FINISHED, finished) for argument in self.command)
        quiet = ["--noprogress"] if kind_of(self.stage).bar and not progress else []
        return [sys.executable, program, *quiet, *arguments]

    @property
    def name(self) -> str:
        """ "train.kl_weight=4+seed=1", which names its log and its state."""
        return f"{self.stage}.{self.run}" if self.run else self.stage


@dataclasses.dataclass(frozen=True)
class LaunchOptions(Settings):
    """Resources of a launch."""

    nodes: int = setting(1, "Machines that train one run together; locally, processes on the CPU.", low=1)
    gpus_per_node: int = setting(0, "GPUs of each machine, one process each; 0 asks for none.", low=0)
    cpus_per_task: int = setting(0, "Cores of each process; 0 is Slurm's default.", low=0)
    time: str = setting(
        "", "Time limit: minutes, H:MM:SS or D-HH:MM:SS. At the limit a run is saved; Slurm then resumes it, a local one ends."
    )
    at_once: int = setting(0, "Runs of a sweep at the same time; 0 is one locally, and no limit on Slurm.", low=0)
    retries: int = setting(3, "Number of restarts of a run whose process was killed or crashed.", low=0)
    sbatch: list[str] | None = setting(None, "Further option of sbatch, such as --sbatch=--partition=gpu.")  # noqa: RUF009
    setup: str = setting("", "Shell file that Slurm jobs source first, for modules and environment variables.")


@dataclasses.dataclass(frozen=True)
class Plan:
    """A launch.

    Attributes:
      name: of its jobs. workdir: absolute. directory: where it was launched, and commands run.
      cluster: "local" or "slurm". options: its resources.
      stages: experiments, each after the one before. runs: what each run changes, by its name ({"": {}} of a single one).
      tasks: of all stages, in order. commit: of this library, with "+" where files were changed.
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
        """Of what belongs to the launch."""
        return self.workdir / "launch"

    def run_folder(self, run: str) -> Path:
        """Where a run lies."""
        return self.workdir / run if run else self.workdir

    def log(self, task: Task) -> Path:
        """Where what it says is appended."""
        return self.workdir / "logs" / f"{task.name}.log"

    def state_path(self, task: Task) -> Path:
        """Where its state lies."""
        return self.folder / "state" / f"{task.name}.json"

    def of_stage(self, stage: str) -> list[Task]:
        """The stage's tasks."""
        return [task for task in self.tasks if task.stage == stage]

    def needs(self, task: Task) -> list[Task]:
        """Those of the stage before that come before it: of the same run, or all where either is for all runs."""
        place = self.stages.index(task.stage)
        before = self.of_stage(self.stages[place - 1]) if place else []
        return [other for other in before if other.run == task.run] or before

    def state(self, task: Task) -> dict[str, Any] | None:
        """How it ended last; None where it has not begun."""
        try:
            return json.loads(self.state_path(task).read_text())
        except (FileNotFoundError, ValueError):
            return None

    def done(self, task: Task) -> bool:
        """Whether it ended well."""
        return (self.state(task) or {}).get("code", 1) == 0

    def due(self) -> list[Task]:
        """What has not ended well, or comes after such a one."""
        due: list[Task] = []
        for task in self.tasks:
            if not self.done(task) or any(other in due for other in self.needs(task)):
                due.append(task)
        return due

    def first_of_runs(self) -> list[Task]:
        """Of each run the first task: that which says whether there is a run to evaluate. None where all are there already."""
        stage = next((stage for stage in self.stages if not kind_of(stage).together), None)
        return self.of_stage(stage) if stage else []

    def finished_runs(self) -> list[Path]:
        """Folders of the runs whose first task ended well."""
        first = self.first_of_runs()
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
    """A launch of `stages` with each one's `arguments`, for each of `runs`.

    Raises:
      ValueError: an experiment that does not exist or occurs twice, or names that cannot be used.
    """
    runs = dict(runs or {"": {}})
    workdir = Path(workdir).absolute()
    if bad := sorted(set(str(workdir)) & set('%"\\\n,')):
        raise ValueError(f"--workdir={workdir} must not have {bad[0]!r} in it: Slurm or --workdir=A,B would read it otherwise")
    there = sorted(path.stem for path in (ROOT / "experiments").glob("*.py") if "command_line.run(" in path.read_text())
    for stage in stages:
        if stage not in there:
            raise ValueError(f"there is no experiment {stage!r}; there are {', '.join(there)}")
        if list(stages).count(stage) > 1:
            raise ValueError(f"--experiment names {stage!r} twice")
    if len(arguments) > len(stages):
        raise ValueError(f"there are {len(arguments)} groups of arguments (each after a --) for {len(stages)} experiments")
    tasks = []
    for stage, more in zip(stages, [*arguments, *[()] * (len(stages) - len(arguments))], strict=True):
        kind = kind_of(stage)
        if kind.config and not config:
            raise ValueError(f"{stage} needs --config=NAME, for instance --config=natsiou2023")
        for run, changes in {"": {}}.items() if kind.together else runs.items():
            folder = workdir / run if run else workdir
            where = [text.replace("{run}", str(folder)).replace("{workdir}", str(workdir)) for text in kind.arguments]
            changed = [f"--config.{field}={argument_text(value)}" for field, value in changes.items()]
            settings = [f"--config={config}", *more, *changed] if kind.config else list(more)
            tasks.append(Task(stage, run, (str(ROOT / "experiments" / f"{stage}.py"), *where, *settings)))
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
    """A value as a configuration flag reads it: tuples in brackets."""
    if isinstance(value, list | tuple):
        return repr(tuple(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def write_plan(plan: Plan) -> None:
    """Writes WORKDIR/launch/plan.json, and makes the folder of the logs."""
    document = {**dataclasses.asdict(plan), "workdir": str(plan.workdir), "directory": str(plan.directory)}
    document["python"] = sys.executable
    write_text(plan.folder / "plan.json", json.dumps(document, indent=1) + "\n")
    (plan.workdir / "logs").mkdir(exist_ok=True)


def read_plan(workdir: str | os.PathLike) -> Plan | None:
    """The launch of a folder, or None where nothing was launched.

    Raises:
      ValueError: its file is damaged.
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
        raise ValueError(f"{path} is damaged ({error}): remove it and give the command of the launch again") from None


def _commit() -> str:
    """Which version of this library's files is launched, where git knows."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=ROOT, capture_output=True, text=True, check=True)
        return head + ("+" if changed.stdout.strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return ""
