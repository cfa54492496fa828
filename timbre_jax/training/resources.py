"""What a training took beside its steps: memory at its most, and the time of compiling."""

from __future__ import annotations

import sys
import time
from typing import NamedTuple

_BYTES_A_UNIT = 1 if sys.platform == "darwin" else 1024  # of `ru_maxrss`


class Memory(NamedTuple):
    """Bytes at most since the process began: of the process, and of each local device (none where it does not say: a CPU)."""

    process: int
    devices: dict[str, int]


def peak_memory() -> Memory:
    """The memory that this process and its devices have held at most."""
    import resource

    import jax

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

    def __init__(self):
        self.programs = self.cached = 0
        self._spans: list[tuple[float, float]] = []
        self._inside = False

    @property
    def seconds(self) -> float:
        """Spent tracing, compiling and reading the cache."""
        return sum(end - start for start, end in self._spans)

    def __enter__(self) -> CompileClock:
        import jax

        self._inside = True
        jax.monitoring.register_event_duration_secs_listener(self._duration)
        jax.monitoring.register_event_listener(self._event)
        return self

    def __exit__(self, *_) -> None:
        self._inside = False  # JAX keeps its listeners

    def _duration(self, event: str, seconds: float, **_) -> None:
        if not self._inside or event not in _PHASES:
            return
        end = time.monotonic()
        # Functions within a function are traced while it is, and told before it: they are a part of its time.
        while self._spans and self._spans[-1][0] >= end - seconds:
            self._spans.pop()
        self._spans.append((end - seconds, end))
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
