"""Traces of training steps, peak memory and compilation time."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax

FIRST_STEP, LAST_STEP = 10, 15

_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024  # unit of `ru_maxrss`


class Profile:
    """Profiler that traces some training steps of this process.

    DIRECTORY/plugins/profile/TIME/ then contains `perfetto_trace.json.gz` for https://ui.perfetto.dev and `.xplane.pb` for
    TensorBoard's profile plugin and xprof. With several processes, each has its own DIRECTORY/process_N.

    Args:
      directory: folder of the trace.
      first: first traced step, from 2; earlier steps include compilation.
      last: last traced step.

    Attributes:
      steps_taken: number of steps so far.
      written: whether a trace has been written.
    """

    def __init__(self, directory: str | os.PathLike, *, first: int = FIRST_STEP, last: int = LAST_STEP):
        if not 2 <= first <= last:
            raise ValueError(f"traced steps: the first must be at least 2 and not after the last (got {first} to {last})")
        self.first, self.last = first, last
        self.steps_taken, self.written = 0, False
        self.directory, self._tracing = os.fspath(directory), False

    def record_step(self, outputs: Any) -> None:
        """Records a step; must be called after every step.

        Args:
          outputs: outputs of the step. The first and last traced steps wait for them, so that the trace has complete steps.
        """
        self.steps_taken += 1
        if self.steps_taken == self.first - 1:
            self._start(outputs)
        elif self.steps_taken == self.last:
            self.stop(outputs)

    def _start(self, outputs: Any) -> None:
        jax.block_until_ready(outputs)
        directory = self.directory
        if jax.process_count() > 1:
            directory = os.path.join(directory, f"process_{jax.process_index()}")
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # traces of all Python calls would slow down the steps
        jax.profiler.start_trace(directory, create_perfetto_trace=True, profiler_options=options)
        self._tracing = True

    def stop(self, outputs: Any = None) -> None:
        """Ends and writes the trace if one has been started."""
        if self._tracing:
            self._tracing = False
            jax.block_until_ready(outputs)
            jax.profiler.stop_trace()
            self.written = self.steps_taken >= self.first


class Memory(NamedTuple):
    """Peak memory in bytes since the process started.

    Attributes:
      process: peak memory of the process.
      devices: peak memory of each local device by name; CPUs do not report it.
    """

    process: int
    devices: dict[str, int]


def peak_memory() -> Memory:
    """Returns the peak memory of this process and its devices."""
    devices = {}
    for device in jax.local_devices():
        peak = (device.memory_stats() or {}).get("peak_bytes_in_use")
        if peak is not None:
            devices[f"{device.device_kind} {device.id}"] = int(peak)
    return Memory(_peak_process_memory(), devices)


_largest_reading = 0


def _peak_process_memory() -> int:
    """Returns the largest resident set of this process in bytes, which never decreases.

    The kernel counts pages per thread and late: after memory is freed, its peak can be some 100 kB less than it said before.
    """
    global _largest_reading
    _largest_reading = max(_largest_reading, _read_peak_process_memory())
    return _largest_reading


def _read_peak_process_memory() -> int:
    """Returns the kernel's count of the largest resident set of this process in bytes.

    On Linux, `ru_maxrss` of a program that another process has started includes the peak of that process, so VmHWM is read.
    """
    import resource

    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_BYTES


class CompileClock:
    """Context manager that measures the compilations of JAX.

    Attributes:
      programs: number of programs that were compiled or read from the compilation cache.
      cached: number of programs that were read from the cache.
    """

    def __init__(self) -> None:
        self.programs = self.cached = 0
        self._spans: list[tuple[float, float]] = []
        self._active = False

    @property
    def seconds(self) -> float:
        """Time spent on tracing, compiling and reading the cache."""
        return sum(end - start for start, end in self._spans)

    def __enter__(self) -> CompileClock:
        self._active = True
        jax.monitoring.register_event_duration_secs_listener(self._duration)
        jax.monitoring.register_event_listener(self._event)
        return self

    def __exit__(self, *_) -> None:
        self._active = False  # listeners cannot be removed

    def _duration(self, event: str, duration_secs: float, **_) -> None:
        if not self._active or event not in _PHASES:
            return
        end = time.monotonic()
        # The time of a function includes that of functions traced within it, which are reported before it.
        while self._spans and self._spans[-1][0] >= end - duration_secs:
            self._spans.pop()
        self._spans.append((end - duration_secs, end))
        self.programs += event == _PHASES[-1]

    def _event(self, event: str, **_) -> None:
        if self._active and event == "/jax/compilation_cache/cache_hits":
            self.cached += 1


_PHASES = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


def resources_line(memory: Memory, clock: CompileClock) -> str:
    """Returns peak memory and compilation time as a line to print."""
    parts = [f"{_format_gigabytes(memory.process)} peak memory"]
    parts += [f"{name} {_format_gigabytes(size)}" for name, size in memory.devices.items()]
    cached = f", {clock.cached} of them cached" if clock.cached else ""
    return f"{', '.join(parts)}; {clock.seconds:.1f} s of compilation ({clock.programs} programs{cached})"


def _format_gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
