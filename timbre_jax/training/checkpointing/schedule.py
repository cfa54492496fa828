"""Schedules checkpoints so that little work is lost and little time is spent."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import jax


class CheckpointSchedule:
    """Schedule that bounds the time spent on checkpoints.

    A checkpoint is due early enough to be complete `seconds` after the last one was started, so that a killed run loses no more
    work than that. But checkpoints take at most the fraction `share` of the time: if they cost more, the intervals are longer.
    (Best spaces are written in addition, as often as one is found.)

    The cost is the time that training waits. On a CPU the writing thread takes one of the cores that training computes on: its
    seconds, divided by their number, count too.

    Args:
      seconds: largest interval between checkpoints.
      share: largest fraction of the time spent on them; 1 or more is no limit.
      clock: monotonic clock, in seconds.
    """

    def __init__(self, *, seconds: float, share: float, clock: Callable[[], float] = time.monotonic):
        self._seconds, self._limit, self._clock = seconds, share, clock
        self._cost = self._last_cost = self._writing = 0.0
        self._part = 1.0 / cores() if jax.default_backend() == "cpu" else 0.0
        self.begin()

    def begin(self) -> None:
        """Records that training starts now."""
        self._begun = self._saved = self._asked = self._clock()

    def share_among(self, runs: int) -> None:
        """Divides the allowed time among runs that are trained at once."""
        if self._limit < 1.0:
            self._limit /= runs

    def affordable(self) -> bool:
        """Returns whether the cost of the last checkpoint is by now a small enough fraction of the time since."""
        return self._limit >= 1.0 or self._last_cost <= self._limit * (self._clock() - self._saved)

    def due(self) -> bool:
        """Returns whether to save now. Called after every step, to know how long the next will take."""
        now = self._clock()
        step, self._asked = now - self._asked, now
        return now - self._saved + step + self._writing >= self._seconds and self.affordable()

    def blocked(self, seconds: float, *, of_checkpoint: bool = True) -> None:
        """Records that training waited; time not spent on a checkpoint (a best space) does not delay the next one."""
        self._last_cost += seconds if of_checkpoint else 0.0
        self._cost += seconds

    def saving(self) -> None:
        """Records that a checkpoint is started now."""
        self._saved = self._clock()
        self._last_cost = 0.0

    def written(self, seconds: float) -> None:
        """Records that the checkpoint is complete and how long writing took."""
        self._writing = seconds
        self._last_cost += self._part * seconds
        self._cost += self._part * seconds

    def share(self) -> float:
        """Returns the fraction of the time since the start that was spent on saving."""
        return self._cost / max(self._clock() - self._begun, 1e-9)


def cores() -> int:
    """Returns the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
