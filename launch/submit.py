"""Starts experiments, on this machine or on a Slurm cluster; sweeps, and experiments that follow one another.

One run; the same on two nodes with four GPUs each; what would be done, without doing it:
  python launch/submit.py --config=natsiou2023 --workdir=runs/natsiou -- --config.data.store=notes
  python launch/submit.py --config=natsiou2023 --workdir=runs/natsiou --cluster=slurm --nodes=2 \\
      --gpus_per_node=4 --time=12:00:00 -- --config.data.store=notes --config.train.steps=20000
  ... the same with --dry_run

What stands after -- is handed on to the experiment. Of several experiments each waits for the one before; each has its own --:
  python launch/submit.py --experiment=train,analyze,evaluate --config=NAME --workdir=runs/natsiou --cluster=slurm \\
      -- --config.data.store=notes -- --number=200 -- --sounds=32

A sweep: a run for each combination of the grid file, in WORKDIR/kl_weight=4+seed=1 and so on; on Slurm a job array. Analyzes
follow run by run, the evaluation is one for all:
  echo '{"train.kl_weight": [0.5, 1, 2, 4], "seed": [0, 1, 2, 3]}' > grid.json
  python launch/submit.py --config=NAME --grid=grid.json --workdir=runs/sweep --at_once=4 -- --config.data.store=notes
The file may be a list too, of single runs and of grids: [{"model.latent_size": 8}, {"model.latent_size": 16, "seed": [0, 1]}]

How it stands; go on with what was stopped, failed or is missing; one table of the results (WORKDIR/sweep.csv); end it:
  python launch/submit.py --action=status --workdir=runs/sweep
  python launch/submit.py --action=resume --workdir=runs/sweep
  python launch/submit.py --action=table --workdir=runs/sweep
  python launch/submit.py --action=cancel --workdir=runs/sweep
The command of a launch, given again, resumes too; it may then have more runs in its grid, more time or other nodes.

A run that is preempted, or near its time limit, saves and is put back into the queue, as often as it takes; one whose process
was killed or crashed, --retries times. Logs are WORKDIR/logs/EXPERIMENT.RUN.log; the scripts handed to Slurm, and how each
command ended, lie in WORKDIR/launch.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from absl import flags

from experiments import command_line
from launch import slurm
from launch.check import check
from launch.local import run_here
from launch.plan import ROOT, LaunchOptions, Plan, make_plan, read_plan, write_plan
from launch.progress import results_table, status_table
from timbre_jax.training.sweeps.grid_file import read_grid, run_names


def _define_flags() -> None:
    flags.DEFINE_enum("action", "submit", ["submit", "status", "resume", "table", "cancel"], "What to do.")
    flags.DEFINE_list("experiment", ["train"], "Of experiments/; several, each after the one before: train,analyze,evaluate.")
    flags.DEFINE_string("config", "", "Name in experiments/configs or a file, as experiments/train.py takes it.")
    flags.DEFINE_string("grid", "", "JSON file of what the runs of a sweep change.")
    flags.DEFINE_string("workdir", "", "Folder of the run, or of the sweep's runs. By default runs/NAME.")
    flags.DEFINE_string("name", "", "Of the jobs. By default the configuration file's.")
    flags.DEFINE_enum("cluster", "local", ["local", "slurm"], "Where.")
    command_line.define_flags(launch=LaunchOptions)
    flags.DEFINE_bool("dry_run", False, "Show what would be done.")


def main(arguments: Sequence[str]) -> int:
    values = flags.FLAGS
    if values.action != "submit":
        if not values.workdir:
            raise ValueError(f"--action={values.action} needs --workdir=DIR, the folder of the launch")
        plan = read_plan(values.workdir)
        if plan is None:
            raise ValueError(f"nothing was launched in {values.workdir}: there is no launch/plan.json in it")
        do = {"status": _status, "resume": _resume, "table": _table, "cancel": _cancel}
        return do[values.action](plan)
    name = values.name or _name(values.config or values.experiment[0])
    workdir = Path(values.workdir or Path("runs") / name)
    before = read_plan(workdir)
    plan = make_plan(
        name=name,
        workdir=workdir,
        stages=values.experiment,
        arguments=_groups(arguments),
        config=_config_path(values.config),
        runs=_runs(values.grid, workdir, before),
        cluster=values.cluster,
        options=command_line.settings(LaunchOptions),
    )
    check(plan)
    if values.dry_run:
        return _show(plan)
    changed = set(before.tasks if before else ()) - set(plan.tasks)
    for task in {task.name for task in changed} & {task.name for task in plan.tasks}:
        (plan.folder / "state" / f"{task}.json").unlink(missing_ok=True)
    write_plan(plan)
    return _go(plan)


def _groups(arguments: Sequence[str]) -> list[list[str]]:
    """What stands after each --."""
    rest = list(arguments[1:])
    given = len(sys.argv) - sys.argv.index("--") - 1 if "--" in sys.argv else 0
    if len(rest) != given:
        raise ValueError(f"there is no argument {rest[0]!r}; options begin with --, and what is handed on stands after --")
    groups: list[list[str]] = [[]] if rest else []
    for argument in rest:
        if argument == "--":
            groups.append([])
        else:
            groups[-1].append(argument)
    return groups


def _name(config: str) -> str:
    file, _, variant = config.partition(":")
    return "-".join(part for part in (Path(file).stem, variant) if part)


def _config_path(config: str) -> str:
    """A configuration file as it is here, or else of the library."""
    file, colon, variant = config.partition(":")
    if file and not os.path.isfile(file) and (ROOT / file).is_file():
        file = str(ROOT / file)
    return file + colon + variant


def _runs(grid: str, workdir: Path, before: Plan | None) -> dict[str, Mapping[str, Any]]:
    """The runs: those of the grid, after those that the folder has already."""
    there = dict(before.runs) if before else {}
    if not grid:
        return there
    if "" in there:
        raise ValueError(f"{workdir} holds a single run; a sweep needs another --workdir")
    changes = read_grid(grid)
    return {**there, **dict(zip(run_names(changes), changes, strict=True))}


def _show(plan: Plan) -> int:
    """What would be done."""
    due = plan.due()
    if plan.cluster == "slurm":
        for stage in plan.stages:
            print(f"# {plan.folder / stage}.sh\n{slurm.batch_script(plan, stage)}")
        for _, _, arguments in slurm.submission(plan, due, {}):
            print(shlex.join(["sbatch", *arguments]))
    else:
        for task in due:
            print(f"# {task.name}\n{shlex.join(task.words(finished='RUNS', progress=True))}")
    return 0


def _resume(plan: Plan) -> int:
    if flags.FLAGS.dry_run:
        return _show(plan)
    return _go(plan)


def _go(plan: Plan) -> int:
    """Starts what is due."""
    due = plan.due()
    if not due:
        print(f"All of {plan.workdir} is done.")
        return 0
    if plan.cluster == "slurm":
        for stage, job, count in slurm.submit(plan, due):
            print(f"{stage}: job {job}" + (f", {count} runs" if count > 1 else ""))
        print(f"Next: python launch/submit.py --action=status --workdir={shlex.quote(str(plan.workdir))}")
        return 0
    codes, asked = run_here(plan, due)
    if asked:
        print(f"Stopped and saved in {plan.workdir}. The same command, or --action=resume, goes on from there.")
        return 128 + asked
    left = [task.name for task in due if codes.get(task.name) != 0]
    if left:
        print(f"{len(due) - len(left)} of {len(due)} done; not: {', '.join(left)}. --action=resume tries again.")
    else:
        print(f"Done: {plan.workdir}")
    return int(bool(left))


def _status(plan: Plan) -> int:
    table = status_table(plan)
    print(f"{table.caption}\n{table.markdown()}", end="")
    states = table.column("state")
    print(", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)))
    return 0


def _table(plan: Plan) -> int:
    from timbre_jax.training.sweeps.sweep import write_sweep_table

    table = results_table(plan)
    write_sweep_table(table, plan.workdir)
    print(f"{table.markdown()}{table.caption}\nThe table is in {plan.workdir}/sweep.csv.")
    return 0


def _cancel(plan: Plan) -> int:
    if plan.cluster == "local":
        raise ValueError("a local launch ends by Ctrl-C or SIGTERM where it runs")
    print(f"{slurm.cancel(plan)} cancelled; --action=resume goes on.")
    return 0


if __name__ == "__main__":
    _define_flags()
    command_line.run(main, __doc__, rest=True)
