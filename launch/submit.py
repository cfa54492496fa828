r"""Starts experiments on this machine or a Slurm cluster, for single runs and sweeps.

  python launch/submit.py --config=natsiou2023 --workdir=runs/natsiou -- --config.data.store=notes
  python launch/submit.py --experiment=train,analyze,evaluate --config=natsiou2023 --grid=grid.json --workdir=runs/sweep \
      --cluster=slurm --gpus_per_node=4 --time=12:00:00 -- --config.data.store=notes -- --number=200 -- --sounds=32
  python launch/submit.py --action=status --workdir=runs/sweep

The arguments after each -- are passed to one experiment, in the order of --experiment. The same command, or --action=resume,
resumes a launch. It may then have more runs in its grid, more time or other nodes.

Guide: docs/cluster.md
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line
from launch import slurm
from launch.check import check
from launch.local import run_locally
from launch.plan import ROOT, LaunchOptions, Plan, make_plan, read_plan, write_plan
from launch.progress import results_table, status_table
from timbre_jax.settings import Settings, setting
from timbre_jax.training.sweeps.grid_file import read_grid, run_names


@dataclasses.dataclass(frozen=True)
class SubmitSettings(Settings):
    """Settings of a launch to start, or of an action on an existing launch."""

    action: str = setting("submit", "What to do.", choices=("submit", "status", "resume", "table", "cancel"))
    experiment: tuple[str, ...] = setting(("train",), "Programs of experiments/ to run in sequence, comma-separated.")
    config: str = setting("", "Configuration: a name in experiments/configs or a file.")
    grid: str = setting("", "JSON file with the changes of each run of a sweep.")
    workdir: str = setting("", "Folder of the run or sweep. Default: runs/NAME.")
    name: str = setting("", "Name of the jobs. Default: the name of the configuration.")
    cluster: str = setting("local", "Where the experiments run.", choices=("local", "slurm"))
    dry_run: bool = setting(False, "Print the commands and batch scripts without running them.")


def main(arguments: Sequence[str]) -> int:
    """Runs the action and returns the exit code."""
    settings = command_line.settings(SubmitSettings)
    if settings.action != "submit":
        if not settings.workdir:
            raise ValueError(f"--action={settings.action}: give --workdir=DIR, the folder of the launch")
        plan = read_plan(settings.workdir)
        if plan is None:
            raise ValueError(f"--workdir={settings.workdir}: contains no launch (launch/plan.json)")
        actions = {
            "status": _status,
            "resume": _print_launch if settings.dry_run else _start,
            "table": _table,
            "cancel": _cancel,
        }
        return actions[settings.action](plan)
    name = settings.name or _default_name(settings.config or settings.experiment[0])
    workdir = Path(settings.workdir or Path("runs") / name)
    before = read_plan(workdir)
    plan = make_plan(
        name=name,
        workdir=workdir,
        stages=settings.experiment,
        arguments=_argument_groups(arguments),
        config=_config_path(settings.config),
        runs=_runs(settings.grid, workdir, before),
        cluster=settings.cluster,
        options=command_line.settings(LaunchOptions),
    )
    check(plan)
    if settings.dry_run:
        return _print_launch(plan)
    changed = set(before.tasks if before else ()) - set(plan.tasks)
    for task in {task.name for task in changed} & {task.name for task in plan.tasks}:
        (plan.folder / "state" / f"{task}.json").unlink(missing_ok=True)
    write_plan(plan)
    return _start(plan)


def _argument_groups(arguments: Sequence[str]) -> list[list[str]]:
    """Returns the list of arguments after each --."""
    rest = list(arguments[1:])
    count = len(sys.argv) - sys.argv.index("--") - 1 if "--" in sys.argv else 0
    if len(rest) != count:
        raise ValueError(f"unexpected argument {rest[0]!r}: options start with --, and arguments of experiments follow a --")
    groups: list[list[str]] = [[]] if rest else []
    for argument in rest:
        if argument == "--":
            groups.append([])
        else:
            groups[-1].append(argument)
    return groups


def _default_name(config: str) -> str:
    """Returns the default name of a launch: "rebnord2022-8_dim" for "rebnord2022:8_dim"."""
    file, _, variant = config.partition(":")
    return "-".join(part for part in (Path(file).stem, variant) if part)


def _config_path(config: str) -> str:
    """Returns a configuration file, relative to the working directory or else to the project."""
    file, colon, variant = config.partition(":")
    if file and not os.path.isfile(file) and (ROOT / file).is_file():
        file = str(ROOT / file)
    return file + colon + variant


def _runs(grid: str, workdir: Path, before: Plan | None) -> dict[str, Mapping[str, Any]]:
    """Returns the existing runs of the folder and those of the grid."""
    existing = dict(before.runs) if before else {}
    if not grid:
        return existing
    if "" in existing:
        raise ValueError(f"--workdir={workdir}: contains a single run; use another folder for a sweep")
    changes = read_grid(grid)
    return {**existing, **dict(zip(run_names(changes), changes, strict=True))}


def _print_launch(plan: Plan) -> int:
    """Prints the commands and batch scripts of a launch."""
    due = plan.due_tasks()
    if plan.cluster == "slurm":
        for stage in plan.stages:
            print(f"# {plan.folder / stage}.sh\n{slurm.batch_script(plan, stage)}")
        for _, _, arguments in slurm.planned_jobs(plan, due, {}):
            print(shlex.join(["sbatch", *arguments]))
    else:
        for task in due:
            print(f"# {task.name}\n{shlex.join(task.command_line(finished='RUNS', progress=True))}")
    return 0


def _start(plan: Plan) -> int:
    """Starts the tasks that are due."""
    due = plan.due_tasks()
    if not due:
        print(f"All tasks of {plan.workdir} are done.")
        return 0
    if plan.cluster == "slurm":
        for stage, job, count in slurm.submit(plan, due):
            print(f"{stage}: job {job}" + (f", {count} runs" if count > 1 else ""))
        print(f"Next: python launch/submit.py --action=status --workdir={shlex.quote(str(plan.workdir))}")
        return 0
    codes, signal = run_locally(plan, due)
    if signal:
        print(f"Stopped and saved in {plan.workdir}. The same command, or --action=resume, resumes it.")
        return 128 + signal
    failed = [task.name for task in due if codes.get(task.name) != 0]
    if failed:
        print(f"{len(due) - len(failed)} of {len(due)} tasks done; not done: {', '.join(failed)}. Resume with --action=resume.")
    else:
        print(f"Done: {plan.workdir}")
    return int(bool(failed))


def _status(plan: Plan) -> int:
    """Prints the states of all tasks."""
    table = status_table(plan)
    print(f"{table.caption}\n{table.markdown()}", end="")
    states = table.column("state")
    print(", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)))
    return 0


def _table(plan: Plan) -> int:
    """Writes and prints the table of a sweep."""
    from timbre_jax.training.sweeps.sweep import write_sweep_table

    table = results_table(plan)
    write_sweep_table(table, plan.workdir)
    print(f"{table.markdown()}{table.caption}\nThe table is in {plan.workdir}/sweep.csv.")
    return 0


def _cancel(plan: Plan) -> int:
    """Cancels the jobs of a launch on Slurm."""
    if plan.cluster == "local":
        raise ValueError("--action=cancel: stop a local launch with Ctrl-C or SIGTERM")
    print(f"Canceled {slurm.cancel(plan)} tasks; --action=resume resumes them.")
    return 0


if __name__ == "__main__":
    command_line.define_flags(launch=SubmitSettings, resources=LaunchOptions)
    command_line.run(main, __doc__, allow_arguments=True)
