"""Launches on a Slurm cluster: batch scripts, submission, and what the queue says."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from launch.plan import FINISHED, ROOT, Plan, Task, kind_of
from timbre_jax.files import write_text

TEMPLATE = Path(__file__).parent / "templates" / "slurm.sh"


def batch_script(plan: Plan, stage: str) -> str:
    """The batch script of a stage: all its tasks, one of which an array's element takes."""
    options, tasks = plan.options, plan.of_stage(stage)
    parallel = kind_of(stage).parallel
    nodes, gpus = (options.nodes, options.gpus_per_node) if parallel else (1, min(1, options.gpus_per_node))
    notice = notice_seconds(options.time)
    directives = [
        f'--job-name="{plan.name}.{stage}"',
        f"--nodes={nodes}",
        # JAX takes one process for each GPU, and every process has to see all GPUs of its node: not --gpus-per-task.
        f"--ntasks-per-node={max(1, gpus)}",
        f"--gpus-per-node={gpus}" if gpus else "",
        f"--cpus-per-task={options.cpus_per_task}" if options.cpus_per_task else "",
        f"--time={options.time}" if options.time else "",
        f"--signal=B:USR1@{notice}",
        "--requeue",
        "--open-mode=append",
        # What the commands say is in logs/; here is what Slurm itself says.
        f'--output="{plan.folder}/slurm-%j.out"',
        *(options.sbatch or ()),
    ]
    # srun does not take it from the job (since Slurm 22.05).
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
        "cases": "\n".join(_case(plan, number, task) for number, task in enumerate(tasks)),
    }
    return re.sub(r"{{(\w+)}}", lambda match: fields[match[1]], TEMPLATE.read_text())


def _case(plan: Plan, number: int, task: Task) -> str:
    before, words = "", shlex.join(task.words(finished=FINISHED, progress=False))
    if any(FINISHED in argument for argument in task.command):
        before = _finished(plan)
        words = words.replace(shlex.quote(f"--workdir={FINISHED}"), '--workdir="$finished"')
    return f"{number})\n    task={shlex.quote(task.name)}\n{before}    command=({words})\n    ;;"


def _finished(plan: Plan) -> str:
    """Lines that put the folders of the finished runs into $finished, with commas."""
    tasks = plan.first_of_runs()
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


def submission(plan: Plan, due: Sequence[Task], queued: Mapping[str, str]) -> list[tuple[str, list[Task], list[str]]]:
    """What is to be handed to sbatch, in order: stage, tasks, and its arguments.

    In dependencies {STAGE} stands for the jobs of that stage in this same submission, with colons.

    Args:
      due: tasks to submit.
      queued: jobs, by the names of the tasks that wait or run already.
    """
    jobs: list[tuple[str, list[Task], list[str]]] = []
    for stage in plan.stages:
        tasks = [task for task in due if task.stage == stage and task.name not in queued]
        waits = {task: any(other in part for other in plan.needs(task) for _, part, _ in jobs) for task in tasks}
        # Those that wait for one of this submission, and those that do not, are two jobs.
        for part in ([task for task in tasks if waits[task]], [task for task in tasks if not waits[task]]):
            if part:
                arguments = ["--parsable", *_array(plan, stage, part), *_dependency(plan, part, jobs, queued)]
                jobs.append((stage, part, [*arguments, str(plan.folder / f"{stage}.sh")]))
    return jobs


def _array(plan: Plan, stage: str, part: Sequence[Task]) -> list[str]:
    tasks = plan.of_stage(stage)
    if len(tasks) == 1:
        return []
    at_once = f"%{plan.options.at_once}" if plan.options.at_once else ""
    return [f"--array={_ranges([tasks.index(task) for task in part])}{at_once}"]


def _dependency(plan: Plan, part: Sequence[Task], jobs: Sequence, queued: Mapping[str, str]) -> list[str]:
    """A run's task waits for that run's; one for all runs, for the end of all, well or not: one that failed stops no others."""
    needs = [other for task in part for other in plan.needs(task)]
    words = []
    if before := [tasks for _, tasks, _ in jobs if any(other in tasks for other in needs)]:
        stage = needs[0].stage
        if len(before) == 1 and [task.run for task in before[0]] == [task.run for task in part]:
            words.append(f"{'aftercorr' if len(plan.of_stage(stage)) > 1 else 'afterok'}:{{{stage}}}")
        else:
            words.append(f"{'afterany' if kind_of(part[0].stage).together else 'afterok'}:{{{stage}}}")
    words += [f"afterany:{job}" for job in sorted({queued[other.name] for other in needs if other.name in queued})]
    return [f"--dependency={','.join(words)}", "--kill-on-invalid-dep=yes"] if words else []


def _ranges(numbers: Sequence[int]) -> str:
    """[0, 1, 2, 5] -> "0-2,5"."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def submit(plan: Plan, due: Sequence[Task]) -> list[tuple[str, str, int]]:
    """Hands tasks to Slurm, but for those that it has already: stage, job and number of tasks, of each job.

    Raises:
      ValueError: sbatch refused, in its words. What was submitted before stays.
    """
    for stage in plan.stages:
        write_text(plan.folder / f"{stage}.sh", batch_script(plan, stage))
    (plan.folder / "state").mkdir(parents=True, exist_ok=True)
    ids: dict[str, list[str]] = {}
    submitted = []
    queued = {name: job for name, (job, _, _) in queue(plan).items()}
    for stage, part, arguments in submission(plan, due, queued):
        arguments = [
            re.sub(r"{(\w+)}", lambda match: ":".join(ids[match[1]]), argument) if argument.startswith("--dep") else argument
            for argument in arguments
        ]
        for task in part:
            plan.state_path(task).unlink(missing_ok=True)
        job = ask("sbatch", *arguments).partition(";")[0].strip()
        tasks = plan.of_stage(stage)
        elements = {f"{job}_{tasks.index(task)}" if len(tasks) > 1 else job: task.name for task in part}
        with open(plan.folder / "jobs.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": stage, "job": job, "time": int(time.time()), "elements": elements}) + "\n")
        ids.setdefault(stage, []).append(job)
        submitted.append((stage, job, len(part)))
    return submitted


def queue(plan: Plan) -> dict[str, tuple[str, str, str]]:
    """What Slurm has of this launch: job, state ("PENDING", "RUNNING" ...) and its reason, by the tasks' names.

    Raises:
      ValueError: Slurm does not answer.
    """
    try:
        lines = (plan.folder / "jobs.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return {}
    names = {element: name for line in lines for element, name in json.loads(line)["elements"].items()}
    found = {}
    # Of all the user's jobs: squeue refuses to be asked for one that it has forgotten.
    for line in ask("squeue", "--me", "--noheader", "--array", "--format=%i|%T|%r").splitlines():
        element, state, reason = line.strip().split("|", 2)
        if element in names:
            found[names[element]] = (element, state, reason)
    return found


def cancel(plan: Plan) -> int:
    """Cancels what waits or runs: how many tasks. Their runs save before they end."""
    jobs = [job for job, _, _ in queue(plan).values()]
    if jobs:
        ask("scancel", *jobs)
    return len(jobs)


def ask(program: str, *arguments: str) -> str:
    """What a program of Slurm says.

    Raises:
      ValueError: it is not there, or refuses.
    """
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ValueError(f"there is no {program} here: launch from a machine of the cluster, or with --cluster=local") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"code {done.returncode}"]
        raise ValueError(f"{program} refused: {lines[-1]}")
    return done.stdout


def seconds_of(limit: str) -> int:
    """A time limit as Slurm writes it: "90" minutes, "1:30:00", "2-12", "2-12:30:00"; 0 where there is none.

    Raises:
      ValueError: another text.
    """
    if limit in ("", "0", "UNLIMITED", "infinite"):
        return 0
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", limit)
    if not match:
        raise ValueError(f"--time={limit} must be minutes, H:MM:SS or D-HH:MM:SS, such as 90, 1:30:00 or 2-12:00:00")
    days, *parts = match.groups()
    if days is None and parts[2] is None:  # minutes and seconds
        parts = [None, *parts[:2]]
    hours, minutes, seconds = (int(part or 0) for part in parts)
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def notice_seconds(limit: str) -> int:
    """How long before the time limit a run is asked to save: 2 minutes, and less of a short one."""
    seconds = seconds_of(limit)
    return min(120, max(10, seconds // 4)) if seconds else 120
