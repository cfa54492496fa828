"""Synchronizes stop and save decisions across processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax

from timbre_jax.training.distributed import processes

EXCHANGE_SECONDS = 0.5
"""Approximate time between two exchanges of the processes."""


class StepConsensus:
    """Consensus of all processes on when to stop and when to save.

    A single process decides at every step. Several processes have to exchange their signals, and each exchange waits for the
    current step to be computed. They therefore exchange only about every `EXCHANGE_SECONDS`, after a number of steps that they
    agreed on in the previous exchange.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._last = self._next = 0
        self._exchanged_at = clock()

    def agree(self, signal: int, checkpoint_due: Callable[[], bool], step: int, metrics: Any = None) -> tuple[int, bool]:
        """Returns the stop signal or 0, and whether to save; equal on all processes.

        Args:
          signal: number of the signal that this process received, or 0. A signal to any process stops all of them.
          checkpoint_due: function that returns whether a checkpoint is due; the main process decides.
          step: number of steps taken so far.
          metrics: metrics of that step, for which an exchange waits.
        """
        if jax.process_count() == 1:
            return signal, checkpoint_due()
        if self._last <= step < self._next:
            return 0, False
        jax.block_until_ready(metrics)
        now = self._clock()
        steps = max(1, step - self._last)
        due = processes.is_main() and checkpoint_due()
        step_microseconds = int(min(1e9, 1e6 * (now - self._exchanged_at) / steps))
        signal, save, step_microseconds = processes.maximum(signal, int(due), step_microseconds)
        self._last, self._exchanged_at = step, self._clock()
        self._next = step + max(1, min(1000, int(1e6 * EXCHANGE_SECONDS / max(step_microseconds, 1))))
        return signal, bool(save)
