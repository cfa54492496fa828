"""What is wrong with a launch, told before anything waits in a queue."""

from __future__ import annotations

import glob
import os
import subprocess
import sys

from experiments.config_flags import read_config
from launch.plan import FINISHED, ROOT, LaunchOptions, Plan, kind_of
from launch.slurm import seconds_of
from timbre_jax.training.sweeps.grid_file import field_value


def check(plan: Plan) -> None:
    """Reads every command's flags and every run's configuration as the experiments will.

    Raises:
      ValueError: what they would say, in one line; or options of the launch that make no sense.
    """
    seconds_of(plan.options.time)
    if (setup := plan.options.setup) and not os.path.isfile(setup):
        raise ValueError(f"--setup={setup}: there is no such file")
    if plan.cluster == "local":
        _check_machine(plan.options)
    for stage in plan.stages:
        if kind_of(stage).config:
            _check_configurations(plan, stage)
        _check_flags(plan.of_stage(stage)[0].command, stage)


def _check_machine(options: LaunchOptions) -> None:
    gpus, nodes, at_once = options.gpus_per_node, options.nodes, options.at_once or 1
    if gpus and nodes > 1:
        raise ValueError("--nodes on this machine are processes on its CPU; its GPUs are used by one: leave out --nodes")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        there, where = len(glob.glob("/dev/nvidia[0-9]*")), "this machine"
    else:
        there, where = len([number for number in visible.split(",") if number]), f"CUDA_VISIBLE_DEVICES={visible}"
    # Where none is found by name (WSL, AMD), nothing is known.
    if (there or visible is not None) and there < gpus * at_once:
        raise ValueError(f"{at_once} runs at once with {gpus} GPUs each are more than {where} has")


def _check_configurations(plan: Plan, stage: str) -> None:
    from timbre_jax.training.config import check_same, resolve
    from timbre_jax.training.setup import saved_config

    for task in plan.of_stage(stage):
        changed = len(plan.runs[task.run])
        base = read_config(task.command[1 : len(task.command) - changed])
        for field, value in plan.runs[task.run].items():
            field_value(base, field, value)
        config = resolve(read_config(task.command[1:]))
        if stage == "train" and (before := saved_config(plan.run_folder(task.run))):
            check_same(before["config"], config, plan.run_folder(task.run))


def _check_flags(command: tuple[str, ...], stage: str) -> None:
    arguments = [argument.replace(FINISHED, "") for argument in command]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    done = subprocess.run(
        [sys.executable, *arguments, "--only_check_args"], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"code {done.returncode}"]
        raise ValueError(f"{stage}: {lines[-1].removeprefix('error: ')}")
