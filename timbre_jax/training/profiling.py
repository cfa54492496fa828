"""Traces of training steps, and the memory and compilation time that a training took."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, NamedTuple

import jax

FIRST, LAST = 10, 15

_BYTES_A_UNIT = 1 if sys.platform == "darwin" else 1024  # of `ru_maxrss`


class Profile:
    """Traces steps `first` to `last` of this process (from 1; those before compile and fill buffers) into a folder.

    DIRECTORY/plugins/profile/TIME/ then holds `perfetto_trace.json.gz`, which https://ui.perfetto.dev opens, and an
    `.xplane.pb` for TensorBoard's profile plugin and xprof. Of several processes each has a folder of its own, process_0 ...

    Attributes:
      taken: steps so far. written: whether there is a trace.
    """

    def __init__(self, directory: str | os.PathLike, *, first: int = FIRST, last: int = LAST):
        if not 2 <= first <= last:
            raise ValueError(f"steps {first} to {last} cannot be traced: from the second on, the first before the last")
        self.first, self.last = first, last
        self.taken, self.written = 0, False
        self.directory, self._tracing = os.fspath(directory), False

    def record_step(self, outputs: Any) -> None:
        """After each step, with what it gives: waited for where the trace begins and ends, so that it holds whole steps."""
        self.taken += 1
        if self.taken == self.first - 1:
            self._start(outputs)
        elif self.taken == self.last:
            self.stop(outputs)

    def _start(self, outputs: Any) -> None:
        jax.block_until_ready(outputs)
        directory = self.directory
        if jax.process_count() > 1:
            directory = os.path.join(directory, f"process_{jax.process_index()}")
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # every call of every Python function would slow the steps and fill the trace
        jax.profiler.start_trace(directory, create_perfetto_trace=True, profiler_options=options)
        self._tracing = True

    def stop(self, outputs: Any = None) -> None:
        """Ends the trace, if one is being made, and writes it."""
        if self._tracing:
            self._tracing = False
            jax.block_until_ready(outputs)
            jax.profiler.stop_trace()
            self.written = self.taken >= self.first


class Memory(NamedTuple):
    """Bytes at most since the process began: of the process, and of each local device (none where it does not say: a CPU)."""

    process: int
    devices: dict[str, int]


def peak_memory() -> Memory:
    """The memory that this process and its devices have held at most."""
    import resource

    devices = {}
    for device in jax.local_devices():
        peak = (device.memory_stats() or {}).get("peak_bytes_in_use")
        if peak is not None:
            devices[f"{device.device_kind} {device.id}"] = int(peak)
    return Memory(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_A_UNIT, devices)


class CompileClock:
    """While entered, adds up what JAX compiles.

    Attributes:
      programs: how many were compiled or taken from the compilation cache.
      cached: how many of these came from the cache.
    """

    def __init__(self) -> None:
        self.programs = self.cached = 0
        self._spans: list[tuple[float, float]] = []
        self._inside = False

    @property
    def seconds(self) -> float:
        """Spent tracing, compiling and reading the cache."""
        return sum(end - start for start, end in self._spans)

    def __enter__(self) -> CompileClock:
        self._inside = True
        jax.monitoring.register_event_duration_secs_listener(self._duration)
        jax.monitoring.register_event_listener(self._event)
        return self

    def __exit__(self, *_) -> None:
        self._inside = False  # JAX keeps its listeners

    def _duration(self, event: str, duration_secs: float, **_) -> None:
        if not self._inside or event not in _PHASES:
            return
        end = time.monotonic()
        # Functions within a function are traced while it is, and reported before it; their time is part of its time.
        while self._spans and self._spans[-1][0] >= end - duration_secs:
            self._spans.pop()
        self._spans.append((end - duration_secs, end))
        self.programs += event == _PHASES[-1]

    def _event(self, event: str, **_) -> None:
        if self._inside and event == "/jax/compilation_cache/cache_hits":
            self.cached += 1


_PHASES = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


def resources_line(memory: Memory, clock: CompileClock) -> str:
    """Both as a line to print."""
    parts = [f"{_gigabytes(memory.process)} of memory at most"]
    parts += [f"{name} {_gigabytes(size)}" for name, size in memory.devices.items()]
    cached = f", {clock.cached} of them kept from before" if clock.cached else ""
    return f"{', '.join(parts)}; {clock.seconds:.1f} s of compiling ({clock.programs} programs{cached})"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
