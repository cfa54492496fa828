"""A trace of some steps by JAX's profiler: what the devices and the host did when."""

from __future__ import annotations

import os
from typing import Any

FIRST, LAST = 10, 15


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
        self._directory, self._tracing = os.fspath(directory), False

    def took(self, outputs: Any) -> None:
        """After each step, with what it gives: waited for where the trace begins and ends, so that it holds whole steps."""
        self.taken += 1
        if self.taken == self.first - 1:
            self._start(outputs)
        elif self.taken == self.last:
            self.stop(outputs)

    def _start(self, outputs: Any) -> None:
        import jax

        jax.block_until_ready(outputs)
        directory = self._directory
        if jax.process_count() > 1:
            directory = os.path.join(directory, f"process_{jax.process_index()}")
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # every call of every Python function would slow the steps and fill the trace
        jax.profiler.start_trace(directory, create_perfetto_trace=True, profiler_options=options)
        self._tracing = True

    def stop(self, outputs: Any = None) -> None:
        """Ends the trace, if one is being made, and writes it."""
        import jax

        if self._tracing:
            self._tracing = False
            jax.block_until_ready(outputs)
            jax.profiler.stop_trace()
            self.written = self.taken >= self.first
