"""Programs that tests run in separate processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(*arguments, devices: int = 1, **environment) -> subprocess.Popen:
    """Starts Python with some arguments in the project's folder, on a number of CPU devices."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "PYTHONPATH": str(ROOT),
        **environment,
    }
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def start_together(count: int, *arguments, devices: int = 1, **environment) -> list[subprocess.Popen]:
    """Starts the processes of one run, whose program calls `join_run`."""
    with socket.create_server(("localhost", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
    environment |= {"TEST_PROCESSES": str(count), "TEST_ADDRESS": address}
    return [start(*arguments, devices=devices, TEST_PROCESS=str(number), **environment) for number in range(count)]


def join_run() -> None:
    """Joins the processes of `start_together`; does nothing in a process of `start`."""
    from timbre_jax.training.distributed import processes

    if "TEST_PROCESS" in os.environ:
        count, number = int(os.environ["TEST_PROCESSES"]), int(os.environ["TEST_PROCESS"])
        processes.initialize(coordinator_address=os.environ["TEST_ADDRESS"], num_processes=count, process_id=number)


def wait_for(condition: Callable[[], bool], *processes: subprocess.Popen, seconds: float = 300.0) -> None:
    """Waits until a condition holds; fails if a process ends or the time runs out before."""
    end = time.monotonic() + seconds
    while not condition():
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"the condition did not hold within {seconds} s"
        time.sleep(0.01)


def run(*arguments, devices: int = 1, **environment) -> subprocess.CompletedProcess:
    """Runs Python like `start` and waits for its end."""
    process = start(*arguments, devices=devices, **environment)
    out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)
