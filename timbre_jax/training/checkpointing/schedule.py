"""Schedules checkpoints so that little work is lost and little time is spent."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import jax


class CheckpointSchedule:
    """Schedule that bounds both the interval between checkpoints and the time spent on them.

    A checkpoint is due early enough to be complete `seconds` after the previous one was started, so a killed run loses at most
    `seconds` of work. The interval is longer if checkpoints would otherwise take more than the fraction `share` of the time.

    The cost of a checkpoint is the time that training waits for it. On a CPU, the writing thread also uses one of the cores
    that training computes on, so its seconds are added, divided by the number of cores.

    Args:
      seconds: largest interval between checkpoints.
      share: largest fraction of the time spent on them; 1 or more is no limit.
      clock: monotonic clock, in seconds.
    """

    def __init__(self, *, seconds: float, share: float, clock: Callable[[], float] = time.monotonic):
        self._seconds, self._largest_share, self._clock = seconds, share, clock
        self._cost = self._last_cost = self._write_seconds = 0.0
        self._write_weight = 1.0 / available_cores() if jax.default_backend() == "cpu" else 0.0
        self.start()

    def start(self) -> None:
        """Records that training starts now."""
        self._started = self._last_start = self._last_call = self._clock()

    def share_among(self, runs: int) -> None:
        """Divides the allowed time among runs that are trained simultaneously."""
        if self._largest_share < 1.0:
            self._largest_share /= runs

    def is_affordable(self) -> bool:
        """Returns whether enough time has passed to pay for the previous checkpoint."""
        since = self._clock() - self._last_start
        return self._largest_share >= 1.0 or self._last_cost <= self._largest_share * since

    def is_due(self) -> bool:
        """Returns whether a checkpoint is due; call it after every step, whose time it measures."""
        now = self._clock()
        step, self._last_call = now - self._last_call, now
        return now - self._last_start + step + self._write_seconds >= self._seconds and self.is_affordable()

    def record_wait(self, seconds: float, *, of_checkpoint: bool = True) -> None:
        """Records that training waited.

        Args:
          seconds: duration of the wait.
          of_checkpoint: whether it waited for a checkpoint; other waits (for a best space) do not delay the next checkpoint.
        """
        self._last_cost += seconds if of_checkpoint else 0.0
        self._cost += seconds

    def record_start(self) -> None:
        """Records that a checkpoint is started now."""
        self._last_start = self._clock()
        self._last_cost = 0.0

    def record_write(self, seconds: float) -> None:
        """Records that the checkpoint is complete and that writing it took some seconds."""
        self._write_seconds = seconds
        self._last_cost += self._write_weight * seconds
        self._cost += self._write_weight * seconds

    def time_share(self) -> float:
        """Returns the fraction of the training time spent on checkpoints and best spaces so far."""
        return self._cost / max(self._clock() - self._started, 1e-9)


def available_cores() -> int:
    """Returns the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
