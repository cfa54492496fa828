"""Writer of a run's checkpoints and best spaces while training continues."""

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

FAILURES = 3
"""Number of checkpoints in a row that cannot be written after which a run ends."""


class Saver:
    """Writer of NumPy arrays in a thread, one checkpoint or space after another.

    WORKDIR/checkpoints keeps the last two checkpoints, WORKDIR/best the spaces that were the best at either. Nothing is removed
    before its replacement is complete, so a write that fails loses nothing else. Orbax's `Checkpointer` (0.12) does not do
    this: it reads changed bytes without an error, takes an abandoned step for the latest after a rollback, and raises the error
    of a failed write again when the next checkpoint is due.

    Args:
      workdir: folder of the run.
      schedule: counts the time that writing takes.
    """

    def __init__(self, workdir: Path, schedule: CheckpointSchedule):
        self._checkpoints, self._best = workdir / "checkpoints", workdir / "best"
        self._schedule = schedule
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._writing: Future | None = None
        self._checkpoint: Future | None = None
        self._unsaved: Callable[[], None] | None = None
        self._known: dict[int, int] = {}
        self._failures = 0

    def resume(self, best_steps: dict[int, int]) -> None:
        """Removes everything that is incomplete or belongs to steps after the resumed one.

        Args:
          best_steps: {resumed step: its best step}; {} for a new run.
        """
        steps = [step for step in checkpoint.steps(self._checkpoints) if step <= max(best_steps, default=-1)]
        checkpoint.remove_all_but(self._checkpoints, set(steps[-2:]))
        checkpoint.remove_all_but(self._best, set(best_steps.values()))
        self._known = best_steps

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written. A best space is waited for, so that many of them do not delay one."""
        return self._checkpoint is not None and not self._checkpoint.done()

    def save_best(self, step: int, space: TimbreSpace, information: dict) -> None:
        """Starts to write the best space, of a step. The best spaces of checkpoints stay."""
        self.wait(of_checkpoint=self.busy)

        def write():
            checkpoint.save_space(checkpoint.step_path(self._best, step), space, information)
            self._unsaved = None

        self._unsaved = write
        self._writing = self._thread.submit(write)

    def save(self, step: int, arrays: Any, document: dict, *, best_step: int) -> None:
        """Starts to write a checkpoint whose best space is of `best_step`; older ones are removed once it is complete."""
        self.wait()
        self._writing = self._checkpoint = self._thread.submit(self._save, step, arrays, document, best_step)

    def wait(self, *, of_checkpoint: bool = True) -> None:
        """Waits until nothing is being written.

        Args:
          of_checkpoint: whether the time counts for a checkpoint (`CheckpointSchedule.blocked`).
        """
        begun = time.monotonic()
        if self._writing is not None:
            self._writing.exception()
        self._schedule.blocked(time.monotonic() - begun, of_checkpoint=of_checkpoint)

    def problem(self) -> str | None:
        """Returns, once, what went wrong with the last write.

        Raises:
          CheckpointError: it was the third checkpoint in a row.
        """
        if self._writing is None or not self._writing.done():
            return None
        error, self._writing = self._writing.exception(), None
        if error is None:
            return None
        if not isinstance(error, CheckpointError) or self._failures >= FAILURES:
            raise error
        return str(error)

    def finish(self) -> None:
        """Waits until nothing is being written.

        Raises:
          CheckpointError: the last checkpoint or space could not be written.
        """
        if self._writing is not None:
            self._writing.result()

    def remove_other_spaces(self, best_step: int) -> None:
        """Removes all best spaces but that of a step, at the end of a run."""
        checkpoint.remove_all_but(self._best, {best_step})

    def close(self) -> None:
        """Waits until nothing is being written and ends the thread."""
        self._thread.shutdown()

    def _save(self, step: int, arrays: Any, document: dict, best_step: int) -> None:
        begun = time.monotonic()
        try:
            if self._unsaved is not None:  # the best space could not be written when it was made
                self._unsaved()
            checkpoint.write(checkpoint.step_path(self._checkpoints, step), arrays, document)
        except CheckpointError:
            self._failures += 1
            raise
        self._failures = 0
        # After a rollback, checkpoints of later steps belong to discarded training.
        kept = [known for known in checkpoint.steps(self._checkpoints) if known <= step][-2:]
        checkpoint.remove_all_but(self._checkpoints, set(kept))
        # After a rollback, the best step can lie before that of an older checkpoint.
        known = {k: best for k, best in self._known.items() if k in kept and best <= best_step}
        self._known = known | {step: best_step}
        checkpoint.remove_all_but(self._best, set(self._known.values()))
        self._schedule.written(time.monotonic() - begun)
