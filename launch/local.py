"""Launches on this machine: a few tasks at a time, stages in order, each with its log."""

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

from launch.plan import ROOT, Plan, Task, kind_of, write_state
from launch.slurm import seconds_of

STOPPED = 128 + signal.SIGTERM
CRASHED = (75, *(128 + number for number in (signal.SIGABRT, signal.SIGBUS, signal.SIGKILL, signal.SIGSEGV)))
"""Codes of processes that were killed or crashed, and of those that lost another one of their run (75)."""


class LocalLaunch:
    """Runs a plan's tasks, `at_once` of them at a time.

    Args:
      say: told a line when a task begins or ends.
      echo: whether what the commands say is shown too, and not only in their logs (for one at a time).
    """

    def __init__(self, plan: Plan, due: Sequence[Task], *, say: Callable[[str], None] = print, echo: bool = False):
        self.plan, self.due, self.say, self.echo = plan, list(due), say, echo
        self.stop = threading.Event()
        self.asked = 0
        self._processes: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self._count = 0

    def run(self, *, seconds: float = 0.0) -> dict[str, int]:
        """All of them, to the end or until a signal (SIGTERM, Ctrl-C) or the time stops them: exit codes by the tasks' names.

        Those that were stopped have saved; those that could not begin, as what they need failed, are left out.
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
                self._stage([task for task in self.due if task.stage == stage], codes)
        finally:
            if limit:
                limit.cancel()
            for number, handler in before.items():
                signal.signal(number, handler)
        return codes

    def _stage(self, tasks: Sequence[Task], codes: dict[str, int]) -> None:
        waiting, slots = list(tasks), self.plan.options.at_once or 1

        def work(slot: int) -> None:
            while not self.stop.is_set():
                with self._lock:
                    if not waiting:
                        return
                    task = waiting.pop(0)
                    self._count += 1
                    count = self._count
                code = self._task(task, slot, f"[{count}/{len(self.due)}]")
                if code is not None:
                    codes[task.name] = code

        if not tasks:
            return
        with concurrent.futures.ThreadPoolExecutor(min(slots, len(tasks))) as pool:
            working = [pool.submit(work, slot) for slot in range(min(slots, len(tasks)))]
            while concurrent.futures.wait(working, timeout=0.2).not_done:
                pass  # signals are handled in between
        for one in working:
            one.result()

    def _task(self, task: Task, slot: int, count: str) -> int | None:
        """One task with as many beginnings as it needs; its code, or None where it could not begin."""
        needs = self.plan.needs(task)
        ready = [other for other in needs if self.plan.done(other)]
        together = kind_of(task.stage).together
        if needs and (not ready or (not together and len(ready) < len(needs))):
            failed = next(other for other in needs if other not in ready)
            self.say(f"{count} {task.name} is left out: {failed.name} did not end well, see {self.plan.log(failed)}")
            return None
        failures = 0
        while True:
            began = time.monotonic()
            self.say(f"{count} {task.name}{' again' if failures else ''}: {self.plan.log(task)}")
            write_state(self.plan, task, code=None, job=str(os.getpid()), failures=failures, time=int(time.time()))
            code = self._once(task, slot)
            retry = not self.stop.is_set() and code in CRASHED
            failures += retry
            write_state(self.plan, task, code=code, job=str(os.getpid()), failures=failures, time=int(time.time()))
            how = {0: "done", STOPPED: "stopped and saved"}.get(code, f"FAILED with code {code}: {last_line(self.plan, task)}")
            self.say(f"{count} {task.name} {how} ({time.monotonic() - began:.0f} s)")
            if not retry or failures > self.plan.options.retries:
                return code

    def _once(self, task: Task, slot: int) -> int:
        """Starts its processes and waits for them: the largest of their codes."""
        processes = []
        log = self.plan.log(task)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as file:
            with self._lock:
                if self.stop.is_set():
                    return STOPPED
                for command in self._commands(task):
                    process = subprocess.Popen(
                        command, cwd=self.plan.directory, env=self._environment(task, slot), stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
                    )  # fmt: skip
                    processes.append(process)
                    self._processes.add(process)
                    if self.stop.is_set():  # in between
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
        """What it says, to the log and, where wished, to the terminal."""
        while part := os.read(output.fileno(), 65536):
            file.write(part)
            file.flush()
            if self.echo:
                with contextlib.suppress(OSError):
                    sys.stderr.buffer.write(part)
                    sys.stderr.flush()
        output.close()

    def _commands(self, task: Task) -> list[list[str]]:
        finished = ",".join(map(str, self.plan.finished_runs()))
        command = task.words(finished=finished, progress=self.echo)
        nodes = self._processes_of(task)
        if nodes == 1:
            return [command]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        others = [f"--coordinator_address={address}", f"--num_processes={nodes}"]
        return [[*command, *others, f"--process_id={number}"] for number in range(nodes)]

    def _processes_of(self, task: Task) -> int:
        return self.plan.options.nodes if kind_of(task.stage).parallel else 1

    def _environment(self, task: Task, slot: int) -> dict[str, str]:
        path = os.environ.get("PYTHONPATH")
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{path}" if path else str(ROOT)}
        if gpus := self.plan.options.gpus_per_node:
            there = os.environ.get("CUDA_VISIBLE_DEVICES")
            first = slot * gpus
            numbers = there.split(",")[first : first + gpus] if there else map(str, range(first, first + gpus))
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(numbers)
        elif self._processes_of(task) > 1:
            environment["JAX_PLATFORMS"] = "cpu"  # each would take all GPUs
        elif (at_once := self.plan.options.at_once or 1) > 1:
            # On a GPU that they share, none may take the three quarters of its memory that JAX takes of one for itself.
            environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.75 / at_once:.3f}")
        return environment

    def _stop(self, number: int) -> None:
        """Asks all that runs to save and end. A second signal ends them at once."""
        again, self.asked = self.stop.is_set(), self.asked or number
        self.stop.set()
        for process in list(self._processes):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL if again else signal.SIGTERM)


def run_here(plan: Plan, due: Sequence[Task]) -> tuple[dict[str, int], int]:
    """Runs tasks here, and says how they go: exit codes by the tasks' names, and the signal that stopped it, or 0.

    One at a time, what they say is shown; several, it is only in their logs.
    """
    launch = LocalLaunch(plan, due, echo=plan.options.at_once <= 1)
    codes = launch.run(seconds=seconds_of(plan.options.time))
    return codes, launch.asked


def tail(path: Path, size: int) -> str:
    """Returns the last `size` bytes of a text file, "" if it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - size))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def last_line(plan: Plan, task: Task) -> str:
    """What a task said last, or its error."""
    lines = tail(plan.log(task), 4000).replace("\r", "\n").splitlines()
    lines = [line.strip() for line in lines if line.strip() and not line.startswith("== ") and "srun: " not in line]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1][:300]
