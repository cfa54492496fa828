"""Checks a launch before it starts."""

from __future__ import annotations

import glob
import os
import subprocess
import sys

from experiments.config_flags import read_config
from launch.plan import FINISHED_RUNS, ROOT, LaunchOptions, Plan, stage_kind
from launch.slurm import parse_time_limit
from timbre_jax.training.sweeps.grid_file import field_value


def check(plan: Plan) -> None:
    """Checks the options, flags and configurations of a launch before it starts.

    Raises:
      ValueError: an option is wrong, or an experiment would end with an error.
    """
    parse_time_limit(plan.options.time)
    if (setup := plan.options.setup) and not os.path.isfile(setup):
        raise ValueError(f"--setup={setup}: no such file")
    if plan.cluster == "local":
        _check_machine(plan.options)
    for stage in plan.stages:
        if stage_kind(stage).config:
            _check_configurations(plan, stage)
        _check_flags(plan.stage_tasks(stage)[0].command, stage)


def _check_machine(options: LaunchOptions) -> None:
    """Raises a ValueError if this machine does not have the GPUs of a local launch."""
    gpus, nodes, at_once = options.gpus_per_node, options.nodes, options.at_once or 1
    if gpus and nodes > 1:
        raise ValueError("--nodes: local nodes are processes on the CPU; omit --nodes to use the GPUs of this machine")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        available, where = len(glob.glob("/dev/nvidia[0-9]*")), "this machine"
    else:
        available, where = len([number for number in visible.split(",") if number]), f"CUDA_VISIBLE_DEVICES={visible}"
    # Without device files (WSL, AMD) the number of GPUs is unknown.
    if (available or visible is not None) and available < gpus * at_once:
        raise ValueError(f"--at_once={at_once} with --gpus_per_node={gpus}: {where} has only {available} GPUs")


def _check_configurations(plan: Plan, stage: str) -> None:
    """Raises a ValueError if a configuration is wrong or differs from an existing run."""
    from timbre_jax.training.config import check_unchanged, resolve
    from timbre_jax.training.setup import saved_config

    for task in plan.stage_tasks(stage):
        changed = len(plan.runs[task.run])
        base = read_config(task.command[1 : len(task.command) - changed])
        for field, value in plan.runs[task.run].items():
            field_value(base, field, value)
        config = resolve(read_config(task.command[1:]))
        if stage == "train" and (before := saved_config(plan.run_folder(task.run))):
            check_unchanged(before["config"], config, plan.run_folder(task.run))


def _check_flags(command: tuple[str, ...], stage: str) -> None:
    """Raises a ValueError with the message of an experiment that rejects its flags."""
    arguments = [argument.replace(FINISHED_RUNS, "") for argument in command]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    done = subprocess.run(
        [sys.executable, *arguments, "--only_check_args"], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"code {done.returncode}"]
        raise ValueError(f"{stage}: {lines[-1].removeprefix('error: ')}")
