"""When is it time to save? Often enough that little is lost, and seldom enough that saving takes little time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import jax


class Pace:
    """Counts what saving costs, and says when the next checkpoint is due.

    A checkpoint is due in time to be whole `seconds` after the last one was begun; a killed run then loses no more work than
    that. But checkpoints take at most the part `share` of the time: where they cost more, the intervals are longer. (Best
    spaces are written besides, as often as one is found.)

    What it costs is how long training has stood still for it. On a CPU the writing thread takes one of the cores that training
    computes on: its seconds, divided by their number, count too.

    Args:
      seconds: between checkpoints. share: of the time, at most; 1 or more does not limit.
      clock: seconds that only rise.
    """

    def __init__(self, *, seconds: float, share: float, clock: Callable[[], float] = time.monotonic):
        self._seconds, self._limit, self._clock = seconds, share, clock
        self._cost = self._last_cost = self._writing = 0.0
        self._part = 1.0 / cores() if jax.default_backend() == "cpu" else 0.0
        self.begin()

    def begin(self) -> None:
        """Training begins now."""
        self._begun = self._saved = self._asked = self._clock()

    def share_among(self, runs: int) -> None:
        """Of so many runs that are trained at once, each takes its part of what saving may take."""
        if self._limit < 1.0:
            self._limit /= runs

    def affordable(self) -> bool:
        """Whether the last checkpoint's cost is by now a small enough part of the time since."""
        return self._limit >= 1.0 or self._last_cost <= self._limit * (self._clock() - self._saved)

    def due(self) -> bool:
        """Whether to save now: asked after every step, which tells how long the next will take."""
        now = self._clock()
        step, self._asked = now - self._asked, now
        return now - self._saved + step + self._writing >= self._seconds and self.affordable()

    def blocked(self, seconds: float, *, of_checkpoint: bool = True) -> None:
        """Training has stood still for so long; what is not for a checkpoint (a best space) does not put off the next."""
        self._last_cost += seconds if of_checkpoint else 0.0
        self._cost += seconds

    def saving(self) -> None:
        """A checkpoint is begun now."""
        self._saved = self._clock()
        self._last_cost = 0.0

    def written(self, seconds: float) -> None:
        """It has been written, which took so long."""
        self._writing = seconds
        self._last_cost += self._part * seconds
        self._cost += self._part * seconds

    def share(self) -> float:
        """The part of the time since the beginning that saving has taken."""
        return self._cost / max(self._clock() - self._begun, 1e-9)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
