"""Launches on this machine: runs the stages in order, and several tasks simultaneously."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from launch.plan import ROOT, Plan, Task, stage_kind, write_state
from launch.slurm import parse_time_limit

STOPPED_CODE = 128 + signal.SIGTERM
CRASH_CODES = (75, *(128 + number for number in (signal.SIGABRT, signal.SIGBUS, signal.SIGKILL, signal.SIGSEGV)))
"""Exit codes of processes that were killed or crashed, or lost another process of their run (75)."""


class LocalLaunch:
    """Launch on this machine that runs `plan.options.at_once` tasks simultaneously.

    Args:
      plan: plan of the launch.
      due: tasks to run.
      log: function that prints a line when a task starts or ends.
      echo: whether the output of the commands is printed as well as written to their log files.

    Attributes:
      signal: number of the signal that stopped the launch, or 0.
    """

    def __init__(self, plan: Plan, due: Sequence[Task], *, log: Callable[[str], None] = print, echo: bool = False):
        self.plan, self.due, self.log, self.echo = plan, list(due), log, echo
        self._stopping = threading.Event()
        self.signal = 0
        self._processes: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self._count = 0

    def run(self, *, seconds: float = 0.0) -> dict[str, int]:
        """Runs all tasks until they end or are stopped by SIGTERM, Ctrl-C or the time limit.

        Args:
          seconds: time limit; 0 is no limit.

        Returns:
          The exit code of each task by its name, without tasks whose prerequisites failed. Stopped tasks have saved.
        """
        codes: dict[str, int] = {}
        limit = threading.Timer(seconds, self._stop, (signal.SIGTERM,)) if seconds else None
        before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                before[number] = signal.signal(number, lambda number, _: self._stop(number))
        try:
            if limit:
                limit.daemon = True
                limit.start()
            for stage in self.plan.stages:
                self._run_stage([task for task in self.due if task.stage == stage], codes)
        finally:
            if limit:
                limit.cancel()
            for number, handler in before.items():
                signal.signal(number, handler)
        return codes

    def _run_stage(self, tasks: Sequence[Task], codes: dict[str, int]) -> None:
        """Runs the tasks of a stage and adds their exit codes to `codes`."""
        waiting, slots = list(tasks), self.plan.options.at_once or 1

        def work(slot: int) -> None:
            while not self._stopping.is_set():
                with self._lock:
                    if not waiting:
                        return
                    task = waiting.pop(0)
                    self._count += 1
                    count = self._count
                code = self._run_task(task, slot, f"[{count}/{len(self.due)}]")
                if code is not None:
                    codes[task.name] = code

        if not tasks:
            return
        with concurrent.futures.ThreadPoolExecutor(min(slots, len(tasks))) as pool:
            working = [pool.submit(work, slot) for slot in range(min(slots, len(tasks)))]
            while concurrent.futures.wait(working, timeout=0.2).not_done:
                pass  # returns regularly, so that signals are handled
        for one in working:
            one.result()

    def _run_task(self, task: Task, slot: int, count: str) -> int | None:
        """Runs a task, with restarts; returns its exit code, or None if a prerequisite failed."""
        needs = self.plan.prerequisites(task)
        ready = [other for other in needs if self.plan.done(other)]
        all_runs = stage_kind(task.stage).all_runs
        if needs and (not ready or (not all_runs and len(ready) < len(needs))):
            failed = next(other for other in needs if other not in ready)
            self.log(f"{count} {task.name} is skipped: {failed.name} failed, see {self.plan.log(failed)}")
            return None
        failures = 0
        while True:
            began = time.monotonic()
            self.log(f"{count} {task.name}{' again' if failures else ''}: {self.plan.log(task)}")
            write_state(self.plan, task, code=None, job=str(os.getpid()), failures=failures, time=int(time.time()))
            code = self._run_once(task, slot)
            retry = not self._stopping.is_set() and code in CRASH_CODES
            failures += retry
            write_state(self.plan, task, code=code, job=str(os.getpid()), failures=failures, time=int(time.time()))
            outcome = {0: "done", STOPPED_CODE: "stopped and saved"}.get(
                code, f"FAILED with exit code {code}: {last_line(self.plan, task)}"
            )
            self.log(f"{count} {task.name} {outcome} ({time.monotonic() - began:.0f} s)")
            if not retry or failures > self.plan.options.retries:
                return code

    def _run_once(self, task: Task, slot: int) -> int:
        """Runs the processes of a task and returns the largest of their exit codes."""
        processes = []
        log = self.plan.log(task)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as file:
            with self._lock:
                if self._stopping.is_set():
                    return STOPPED_CODE
                for command in self._commands(task):
                    process = subprocess.Popen(
                        command, cwd=self.plan.directory, env=self._environment(task, slot), stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
                    )  # fmt: skip
                    processes.append(process)
                    self._processes.add(process)
                    if self._stopping.is_set():  # since the check above
                        process.terminate()
            readers = [threading.Thread(target=self._copy, args=(process.stdout, file)) for process in processes]
            for reader in readers:
                reader.start()
            for reader in readers:
                reader.join()
            codes = [process.wait() for process in processes]
        with self._lock:
            self._processes.difference_update(processes)
        return max(128 - code if code < 0 else code for code in codes)

    def _copy(self, output: IO[bytes], file: IO[bytes]) -> None:
        """Copies output of a process to its log file and, with `echo`, to the terminal."""
        while part := os.read(output.fileno(), 65536):
            file.write(part)
            file.flush()
            if self.echo:
                with contextlib.suppress(OSError):
                    sys.stderr.buffer.write(part)
                    sys.stderr.flush()
        output.close()

    def _commands(self, task: Task) -> list[list[str]]:
        """Returns the command of each process of a task."""
        finished = ",".join(map(str, self.plan.finished_runs()))
        command = task.command_line(finished=finished, progress=self.echo)
        nodes = self._process_count(task)
        if nodes == 1:
            return [command]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        others = [f"--coordinator_address={address}", f"--num_processes={nodes}"]
        return [[*command, *others, f"--process_id={number}"] for number in range(nodes)]

    def _process_count(self, task: Task) -> int:
        """Returns the number of processes of a task."""
        return self.plan.options.nodes if stage_kind(task.stage).parallel else 1

    def _environment(self, task: Task, slot: int) -> dict[str, str]:
        """Returns the environment of a task, with its GPUs or its share of a GPU's memory."""
        path = os.environ.get("PYTHONPATH")
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{path}" if path else str(ROOT)}
        if gpus := self.plan.options.gpus_per_node:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            first = slot * gpus
            numbers = visible.split(",")[first : first + gpus] if visible else map(str, range(first, first + gpus))
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(numbers)
        elif self._process_count(task) > 1:
            environment["JAX_PLATFORMS"] = "cpu"  # each process would use all GPUs
        elif (at_once := self.plan.options.at_once or 1) > 1:
            # By default each process allocates three quarters of a GPU's memory, also of a shared one.
            environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.75 / at_once:.3f}")
        return environment

    def _stop(self, number: int) -> None:
        """Stops all processes, which save first; a second signal kills them."""
        second, self.signal = self._stopping.is_set(), self.signal or number
        self._stopping.set()
        for process in list(self._processes):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL if second else signal.SIGTERM)


def run_locally(plan: Plan, due: Sequence[Task]) -> tuple[dict[str, int], int]:
    """Runs tasks on this machine and prints their progress.

    If only one task runs at a time, its output is printed as well as written to its log file.

    Returns:
      The exit code of each task by its name, and the signal that stopped the launch, or 0.
    """
    launch = LocalLaunch(plan, due, echo=plan.options.at_once <= 1)
    codes = launch.run(seconds=parse_time_limit(plan.options.time))
    return codes, launch.signal


def tail(path: Path, size: int) -> str:
    """Returns the last `size` bytes of a text file, "" if it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - size))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def last_line(plan: Plan, task: Task) -> str:
    """Returns the last error in the log of a task, or its last line."""
    lines = tail(plan.log(task), 4000).replace("\r", "\n").splitlines()
    lines = [line.strip() for line in lines if line.strip() and not line.startswith("== ") and "srun: " not in line]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1][:300]
