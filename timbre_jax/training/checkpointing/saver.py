"""Background writer of a run's checkpoints and best spaces."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from timbre_jax import checkpoint
from timbre_jax.documents import CheckpointError
from timbre_jax.space import TimbreSpace
from timbre_jax.training.checkpointing.schedule import CheckpointSchedule

MAX_FAILURES = 3
"""Number of consecutive failed checkpoints after which a run ends."""


class Saver:
    """Writer of checkpoints and best spaces in a thread, one after another.

    WORKDIR/checkpoints keeps the last two checkpoints, and WORKDIR/best the best space of each. Nothing is removed before its
    replacement is complete, so a failed write loses nothing else. Orbax's `Checkpointer` (0.12) cannot replace this class: it
    reads changed bytes without an error, takes an abandoned step for the latest one after a rollback, and raises the error of a
    failed write again at the next checkpoint.

    Args:
      workdir: folder of the run.
      schedule: schedule that records the time spent on writing.
    """

    def __init__(self, workdir: Path, schedule: CheckpointSchedule):
        self._checkpoints, self._best = workdir / "checkpoints", workdir / "best"
        self._schedule = schedule
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._writing: Future | None = None
        self._checkpoint: Future | None = None
        self._write_missing_best: Callable[[], None] | None = None
        self._best_steps: dict[int, int] = {}
        self._failures = 0

    def resume(self, best_steps: dict[int, int]) -> None:
        """Removes incomplete files and everything of later steps than the resumed one.

        Args:
          best_steps: {resumed step: step of its best space}; {} for a new run.
        """
        steps = [step for step in checkpoint.steps(self._checkpoints) if step <= max(best_steps, default=-1)]
        checkpoint.remove_all_but(self._checkpoints, set(steps[-2:]))
        checkpoint.remove_all_but(self._best, set(best_steps.values()))
        self._best_steps = best_steps

    @property
    def busy(self) -> bool:
        """True while a checkpoint is being written.

        Best spaces do not count, so that frequent ones cannot delay a checkpoint.
        """
        return self._checkpoint is not None and not self._checkpoint.done()

    def save_best(self, step: int, space: TimbreSpace, information: dict) -> None:
        """Starts writing the best space of a step; those of the kept checkpoints remain."""
        self.wait(of_checkpoint=self.busy)

        def write():
            checkpoint.save_space(checkpoint.step_path(self._best, step), space, information)
            self._write_missing_best = None

        self._write_missing_best = write
        self._writing = self._thread.submit(write)

    def save(self, step: int, arrays: Any, document: dict, *, best_step: int) -> None:
        """Starts writing a checkpoint; older checkpoints are removed when it is complete.

        Args:
          step: step of the checkpoint.
          arrays: pytree of NumPy arrays that do not change.
          document: JSON data.
          best_step: step of the best space so far.
        """
        self.wait()
        self._writing = self._checkpoint = self._thread.submit(self._save, step, arrays, document, best_step)

    def wait(self, *, of_checkpoint: bool = True) -> None:
        """Waits until nothing is being written.

        Args:
          of_checkpoint: see `CheckpointSchedule.record_wait`.
        """
        begun = time.monotonic()
        if self._writing is not None:
            self._writing.exception()
        self._schedule.record_wait(time.monotonic() - begun, of_checkpoint=of_checkpoint)

    def problem(self) -> str | None:
        """Returns the error message of the last write once, or None if it succeeded.

        Raises:
          CheckpointError: `MAX_FAILURES` consecutive checkpoints have failed.
        """
        if self._writing is None or not self._writing.done():
            return None
        error, self._writing = self._writing.exception(), None
        if error is None:
            return None
        if not isinstance(error, CheckpointError) or self._failures >= MAX_FAILURES:
            raise error
        return str(error)

    def finish(self) -> None:
        """Waits until nothing is being written, and raises the error of the last write.

        Raises:
          CheckpointError: the last checkpoint or space could not be written.
        """
        if self._writing is not None:
            self._writing.result()

    def remove_other_spaces(self, best_step: int) -> None:
        """Removes every best space except that of `best_step`."""
        checkpoint.remove_all_but(self._best, {best_step})

    def close(self) -> None:
        """Waits until nothing is being written, then ends the thread."""
        self._thread.shutdown()

    def _save(self, step: int, arrays: Any, document: dict, best_step: int) -> None:
        begun = time.monotonic()
        try:
            if self._write_missing_best is not None:  # writing the best space has failed before
                self._write_missing_best()
            checkpoint.write(checkpoint.step_path(self._checkpoints, step), arrays, document)
        except CheckpointError:
            self._failures += 1
            raise
        self._failures = 0
        # Checkpoints of later steps belong to training that a rollback discarded.
        kept = [saved for saved in checkpoint.steps(self._checkpoints) if saved <= step][-2:]
        checkpoint.remove_all_but(self._checkpoints, set(kept))
        # After a rollback the best step can precede the best step of an older checkpoint.
        earlier = {saved: best for saved, best in self._best_steps.items() if saved in kept and best <= best_step}
        self._best_steps = earlier | {step: best_step}
        checkpoint.remove_all_but(self._best, set(self._best_steps.values()))
        self._schedule.record_write(time.monotonic() - begun)
