"""How the processes of a run agree, between steps, to stop or to save."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax

from timbre_jax.training.distributed import processes

SECONDS = 0.5
"""Between two meetings, about."""


class Meeting:
    """What one process alone knows, a signal or the time, becomes known to all after the same step.

    A single process knows all at every step. Several ask one another, which makes them wait for the step to be computed, so
    they do it only every half second or so: after a number of steps that follows from what they told one another last, and
    so is the same for all.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._last = self._next = 0
        self._since = clock()

    def agree(self, signal: int, wants_saving: Callable[[], bool], step: int, metrics: Any = None) -> tuple[int, bool]:
        """The signal that asks to stop, or 0, and whether to save: what any process wants, on all at the same step.

        Args:
          signal: that this process got, or 0.
          wants_saving: whether this process would save; what the main process says counts.
          step: taken so far. metrics: of that step, which are waited for.
        """
        if jax.process_count() == 1:
            return signal, wants_saving()
        if self._last <= step < self._next:
            return 0, False
        jax.block_until_ready(metrics)
        now = self._clock()
        steps = max(1, step - self._last)
        due = processes.is_main() and wants_saving()
        signal, due, microseconds = processes.largest(signal, int(due), int(min(1e9, 1e6 * (now - self._since) / steps)))
        self._last, self._since = step, self._clock()
        self._next = step + max(1, min(1000, int(1e6 * SECONDS / max(microseconds, 1))))
        return signal, bool(due)
