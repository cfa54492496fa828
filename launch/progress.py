"""Progress of a launch, from its files and the queue of Slurm."""

from __future__ import annotations

import json
import os
from pathlib import Path

from launch import slurm
from launch.local import STOPPED_CODE, last_line, tail
from launch.plan import Plan, Task


def status_table(plan: Plan):
    """Returns the states of all tasks.

    States are "done", "running", "waiting" (in the queue), "stopped" (saved and can be resumed), "failed", "lost" (ended
    without an exit code) and "not started".

    Returns:
      A `Table` with the columns task, state, step, loss, job and note.
    """
    from timbre_jax.metrics.table import Table

    queue = slurm.queue(plan) if plan.cluster == "slurm" else {}
    records = []
    for task in plan.tasks:
        state, note = task_state(plan, task, queue)
        step, loss = _last_loss(plan.run_folder(task.run)) if task.stage in ("train", "sweep") else (None, None)
        job = queue.get(task.name, ((plan.state(task) or {}).get("job", ""),))[0]
        records.append({"task": task.name, "state": state, "step": step, "loss": loss, "job": job, "note": note})
    return Table.from_records("status", records, f"{plan.name} in {plan.workdir}, {plan.cluster}")


def task_state(plan: Plan, task: Task, queue: dict[str, tuple[str, str, str]]) -> tuple[str, str]:
    """Returns the state of a task, as in `status_table`, and a note."""
    state = plan.state(task)
    if task.name in queue:
        _, word, reason = queue[task.name]
        if word != "PENDING":
            return "running", "" if word == "RUNNING" else word.lower()
        again = "" if state is None else f"resumes after exit code {state['code']}; "
        return "waiting", again + reason
    if state is None:
        return "not started", ""
    code = state["code"]
    if code is None:
        if plan.cluster == "local" and _process_exists(state["job"]):
            return "running", ""
        return "lost", f"ended without an exit code; resume it with --action=resume; {plan.log(task)}"
    if code == 0:
        return "done", ""
    if code in (STOPPED_CODE, 130):
        return "stopped", "saved; resume it with --action=resume"
    return "failed", f"exit code {code}: {last_line(plan, task)}"


def results_table(plan: Plan):
    """Returns the table of a sweep's results, as experiments/sweep.py writes it."""
    from timbre_jax.training.sweeps.sweep import sweep_table

    runs = {
        run: {k: json.dumps(v) if isinstance(v, list) else v for k, v in changes.items()} for run, changes in plan.runs.items()
    }
    return sweep_table([(changes or {"run": run or plan.name}, plan.run_folder(run)) for run, changes in runs.items()])


def _process_exists(job: str) -> bool:
    """Returns whether a local process exists."""
    try:
        os.kill(int(job), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        pass
    return True


def _last_loss(run: Path) -> tuple[int | None, float | None]:
    """Returns step and loss of the last training line in a run's metrics.jsonl."""
    for line in reversed(tail(run / "metrics.jsonl", 20000).splitlines()):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if record.get("event") == "train":
            return record["step"], record.get("loss")
    return None, None
