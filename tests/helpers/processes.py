"""Programs of the tests run as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def hear_interrupts() -> None:
    """A `preexec_fn`: a test run in the background ignores Ctrl-C, which its children would inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*arguments, devices: int = 1, **environment) -> subprocess.Popen:
    """Starts Python with these arguments in the project's folder, on the CPU with that many devices."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "PYTHONPATH": str(ROOT),
        **environment,
    }
    command = [sys.executable, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, preexec_fn=hear_interrupts, **pipes)


def run(*arguments, devices: int = 1, **environment) -> subprocess.CompletedProcess:
    """The same, and waits for the end."""
    process = start(*arguments, devices=devices, **environment)
    out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)
