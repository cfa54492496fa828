"""Launches on a Slurm cluster: batch scripts, submission and the queue."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from launch.plan import FINISHED_RUNS, ROOT, Plan, Task, stage_kind
from timbre_jax.files import write_text

TEMPLATE = Path(__file__).parent / "templates" / "slurm.sh"


def batch_script(plan: Plan, stage: str) -> str:
    """Returns the batch script of a stage; each element of a job array runs one of its tasks."""
    options, tasks = plan.options, plan.stage_tasks(stage)
    parallel = stage_kind(stage).parallel
    nodes, gpus = (options.nodes, options.gpus_per_node) if parallel else (1, min(1, options.gpus_per_node))
    notice = notice_seconds(options.time)
    directives = [
        f'--job-name="{plan.name}.{stage}"',
        f"--nodes={nodes}",
        # JAX uses one GPU per process but must see all GPUs of the node, so --gpus-per-task cannot be used.
        f"--ntasks-per-node={max(1, gpus)}",
        f"--gpus-per-node={gpus}" if gpus else "",
        f"--cpus-per-task={options.cpus_per_task}" if options.cpus_per_task else "",
        f"--time={options.time}" if options.time else "",
        f"--signal=B:USR1@{notice}",
        "--requeue",
        "--open-mode=append",
        # For messages of Slurm; the output of the commands is in logs/.
        f'--output="{plan.folder}/slurm-%j.out"',
        *(options.sbatch or ()),
    ]
    # srun does not inherit this option from the job since Slurm 22.05.
    step = f"--cpus-per-task={options.cpus_per_task}" if options.cpus_per_task else ""
    fields = {
        "directives": "\n".join(f"#SBATCH {directive}" for directive in directives if directive),
        "launch": shlex.quote(str(plan.folder)),
        "logs": shlex.quote(str(plan.workdir / "logs")),
        "directory": shlex.quote(str(plan.directory)),
        "root": shlex.quote(str(ROOT)),
        "retries": str(options.retries),
        "patience": str(notice * 2 // 3),
        "setup": f"source {shlex.quote(str(Path(options.setup).absolute()))}" if options.setup else "",
        "srun": step,
        "cases": "\n".join(_task_case(plan, number, task) for number, task in enumerate(tasks)),
    }
    return re.sub(r"{{(\w+)}}", lambda match: fields[match[1]], TEMPLATE.read_text())


def _task_case(plan: Plan, number: int, task: Task) -> str:
    """Returns the branch of a batch script that sets the name and command of a task."""
    before, command = "", shlex.join(task.command_line(finished=FINISHED_RUNS, progress=False))
    if any(FINISHED_RUNS in argument for argument in task.command):
        before = _finished_runs_lines(plan)
        command = command.replace(shlex.quote(f"--workdir={FINISHED_RUNS}"), '--workdir="$finished"')
    return f"{number})\n    task={shlex.quote(task.name)}\n{before}    command=({command})\n    ;;"


def _finished_runs_lines(plan: Plan) -> str:
    """Returns shell code that sets $finished to the comma-separated finished runs."""
    tasks = plan.first_tasks()
    if not tasks:
        return f"    finished={shlex.quote(','.join(map(str, plan.finished_runs())))}\n"
    pairs = [f"{shlex.quote(task.name)} {shlex.quote(str(plan.run_folder(task.run)))}" for task in tasks]
    lines = " \\\n        ".join(pairs)
    return (
        f"    finished=\n    set -- {lines}\n"
        "    while [ $# -gt 0 ]; do\n"
        '        if grep -q \'"code": 0,\' "$launch/state/$1.json" 2>/dev/null; then finished+=${finished:+,}$2; fi\n'
        "        shift 2\n"
        "    done\n"
    )


def planned_jobs(plan: Plan, due: Sequence[Task], queued: Mapping[str, str]) -> list[tuple[str, list[Task], list[str]]]:
    """Returns the jobs to submit, in order: stage, tasks and arguments of sbatch.

    In a dependency, {STAGE} is a placeholder for the ids of the jobs of that stage that are submitted before.

    Args:
      plan: plan of the launch.
      due: tasks to submit.
      queued: jobs that are already in the queue, by the names of their tasks.
    """
    jobs: list[tuple[str, list[Task], list[str]]] = []
    for stage in plan.stages:
        tasks = [task for task in due if task.stage == stage and task.name not in queued]
        waits = {task: any(other in part for other in plan.prerequisites(task) for _, part, _ in jobs) for task in tasks}
        # Tasks with and without a dependency on another of these jobs are separate jobs.
        for part in ([task for task in tasks if waits[task]], [task for task in tasks if not waits[task]]):
            if part:
                arguments = ["--parsable", *_array_option(plan, stage, part), *_dependency_options(plan, part, jobs, queued)]
                jobs.append((stage, part, [*arguments, str(plan.folder / f"{stage}.sh")]))
    return jobs


def _array_option(plan: Plan, stage: str, part: Sequence[Task]) -> list[str]:
    """Returns the option of sbatch for a job array; [] for a stage of one task."""
    tasks = plan.stage_tasks(stage)
    if len(tasks) == 1:
        return []
    at_once = f"%{plan.options.at_once}" if plan.options.at_once else ""
    return [f"--array={_ranges([tasks.index(task) for task in part])}{at_once}"]


def _dependency_options(plan: Plan, part: Sequence[Task], jobs: Sequence, queued: Mapping[str, str]) -> list[str]:
    """Returns the options of sbatch for the dependencies of some tasks.

    The task of a run depends on the previous task of that run. A task for all runs waits until the tasks of all runs have
    ended, successfully or not.
    """
    needs = [other for task in part for other in plan.prerequisites(task)]
    conditions = []
    if before := [tasks for _, tasks, _ in jobs if any(other in tasks for other in needs)]:
        stage = needs[0].stage
        if len(before) == 1 and [task.run for task in before[0]] == [task.run for task in part]:
            conditions.append(f"{'aftercorr' if len(plan.stage_tasks(stage)) > 1 else 'afterok'}:{{{stage}}}")
        else:
            conditions.append(f"{'afterany' if stage_kind(part[0].stage).all_runs else 'afterok'}:{{{stage}}}")
    conditions += [f"afterany:{job}" for job in sorted({queued[other.name] for other in needs if other.name in queued})]
    return [f"--dependency={','.join(conditions)}", "--kill-on-invalid-dep=yes"] if conditions else []


def _ranges(numbers: Sequence[int]) -> str:
    """Returns "0-2,5" for [0, 1, 2, 5]."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def submit(plan: Plan, due: Sequence[Task]) -> list[tuple[str, str, int]]:
    """Submits tasks that are not in the queue yet.

    Returns:
      Stage, id and number of tasks of each submitted job.

    Raises:
      ValueError: sbatch refused a job; jobs that were submitted before remain in the queue.
    """
    for stage in plan.stages:
        write_text(plan.folder / f"{stage}.sh", batch_script(plan, stage))
    (plan.folder / "state").mkdir(parents=True, exist_ok=True)
    ids: dict[str, list[str]] = {}
    submitted = []
    queued = {name: job for name, (job, _, _) in queue(plan).items()}
    for stage, part, arguments in planned_jobs(plan, due, queued):
        arguments = [
            re.sub(r"{(\w+)}", lambda match: ":".join(ids[match[1]]), argument) if argument.startswith("--dep") else argument
            for argument in arguments
        ]
        for task in part:
            plan.state_path(task).unlink(missing_ok=True)
        job = run_slurm("sbatch", *arguments).partition(";")[0].strip()
        tasks = plan.stage_tasks(stage)
        elements = {f"{job}_{tasks.index(task)}" if len(tasks) > 1 else job: task.name for task in part}
        with open(plan.folder / "jobs.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": stage, "job": job, "time": int(time.time()), "elements": elements}) + "\n")
        ids.setdefault(stage, []).append(job)
        submitted.append((stage, job, len(part)))
    return submitted


def queue(plan: Plan) -> dict[str, tuple[str, str, str]]:
    """Returns the queued tasks of a launch: {task: (job, state, reason)}.

    Raises:
      ValueError: squeue is missing or has failed.
    """
    try:
        lines = (plan.folder / "jobs.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return {}
    names = {element: name for line in lines for element, name in json.loads(line)["elements"].items()}
    queued = {}
    # All jobs of the user, because squeue fails for the id of a job that it has forgotten.
    for line in run_slurm("squeue", "--me", "--noheader", "--array", "--format=%i|%T|%r").splitlines():
        element, state, reason = line.strip().split("|", 2)
        if element in names:
            queued[names[element]] = (element, state, reason)
    return queued


def cancel(plan: Plan) -> int:
    """Cancels all queued tasks of a launch and returns their number; active runs are saved."""
    jobs = [job for job, _, _ in queue(plan).values()]
    if jobs:
        run_slurm("scancel", *jobs)
    return len(jobs)


def run_slurm(program: str, *arguments: str) -> str:
    """Runs a program of Slurm and returns its output.

    Raises:
      ValueError: the program is missing or has failed.
    """
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ValueError(f"{program}: not found; launch from a machine of the cluster, or with --cluster=local") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"code {done.returncode}"]
        raise ValueError(f"{program}: {lines[-1]}")
    return done.stdout


def parse_time_limit(limit: str) -> int:
    """Returns a time limit of Slurm in seconds; 0 for no limit.

    Args:
      limit: minutes, M:SS, H:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS, such as "90", "1:30:00" or "2-12".

    Raises:
      ValueError: the text has another format.
    """
    if limit in ("", "0", "UNLIMITED", "infinite"):
        return 0
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", limit)
    if not match:
        raise ValueError(f"--time={limit}: must be minutes, H:MM:SS or D-HH:MM:SS, such as 90, 1:30:00 or 2-12:00:00")
    days, *parts = match.groups()
    if days is None and parts[2] is None:  # minutes and seconds
        parts = [None, *parts[:2]]
    hours, minutes, seconds = (int(part or 0) for part in parts)
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def notice_seconds(limit: str) -> int:
    """Returns the number of seconds that a run has to save before its time limit, at most 120."""
    seconds = parse_time_limit(limit)
    return min(120, max(10, seconds // 4)) if seconds else 120
