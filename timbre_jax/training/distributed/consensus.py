"""Synchronizes stop and save decisions across processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax

from timbre_jax.training.distributed import processes

SECONDS = 0.5
"""Approximate time between two exchanges."""


class StepConsensus:
    """Consensus of all processes, after the same step, on a signal that one received or a checkpoint that is due.

    A single process decides by itself at every step. Several exchange what they know, which makes them wait for the step to be
    computed, so they do it about every half second: after a number of steps that follows from their last exchange and is
    therefore the same for all.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._last = self._next = 0
        self._since = clock()

    def agree(self, signal: int, wants_saving: Callable[[], bool], step: int, metrics: Any = None) -> tuple[int, bool]:
        """Returns the signal that asks to stop, or 0, and whether to save: the same on all processes at the same step.

        Args:
          signal: signal that this process received, or 0; that of any process counts.
          wants_saving: returns whether this process would save; the main process decides.
          step: steps taken so far.
          metrics: of that step, which are waited for.
        """
        if jax.process_count() == 1:
            return signal, wants_saving()
        if self._last <= step < self._next:
            return 0, False
        jax.block_until_ready(metrics)
        now = self._clock()
        steps = max(1, step - self._last)
        due = processes.is_main() and wants_saving()
        signal, save, microseconds = processes.largest(signal, int(due), int(min(1e9, 1e6 * (now - self._since) / steps)))
        self._last, self._since = step, self._clock()
        self._next = step + max(1, min(1000, int(1e6 * SECONDS / max(microseconds, 1))))
        return signal, bool(save)
