"""A run's checkpoints and best spaces, written while training goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from timbre_jax import checkpoint
from timbre_jax.checkpoint import CheckpointError
from timbre_jax.space import TimbreSpace
from timbre_jax.training.checkpointing.schedule import Pace

FAILURES = 3
"""So many checkpoints in a row that could not be written end a run."""


class Saver:
    """Writes in a thread, one thing after another, what it is given as NumPy arrays.

    WORKDIR/checkpoints keeps the last two, WORKDIR/best the spaces that they know as the best. Nothing is removed before what
    takes its place is whole, so that a write that fails costs nothing but itself.

    Args:
      workdir: of the run.
      pace: is told what writing takes.
    """

    def __init__(self, workdir: Path, pace: Pace):
        self._checkpoints, self._best = workdir / "checkpoints", workdir / "best"
        self._pace = pace
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._writing: Future | None = None
        self._checkpoint: Future | None = None
        self._unsaved: Callable[[], None] | None = None
        self._known: dict[int, int] = {}
        self._failures = 0

    def resume(self, step: int | None, best_step: int | None) -> None:
        """What is gone on from, None for nothing; removes all that belongs to later steps or was left half written."""
        steps = [] if step is None else [known for known in checkpoint.steps(self._checkpoints) if known <= step]
        checkpoint.remove_all_but(self._checkpoints, set(steps[-2:]))
        checkpoint.remove_all_but(self._best, {best_step})
        self._known = {} if step is None else {step: best_step}

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written. A best space would be waited for: many of them keep none from its turn."""
        return self._checkpoint is not None and not self._checkpoint.done()

    def save_best(self, step: int, space: TimbreSpace, information: dict) -> None:
        """Begins to write a space as the best, that of a step. Those that checkpoints know stay."""
        self.wait(of_checkpoint=self.busy)

        def write():
            checkpoint.save_space(checkpoint.step_path(self._best, step), space, information)
            self._unsaved = None

        self._unsaved = write
        self._writing = self._thread.submit(write)

    def save(self, step: int, arrays: Any, document: dict, *, best_step: int) -> None:
        """Begins to write a checkpoint, which knows the space of `best_step` as the best; older ones go when it is whole."""
        self.wait()
        self._writing = self._checkpoint = self._thread.submit(self._save, step, arrays, document, best_step)

    def wait(self, *, of_checkpoint: bool = True) -> None:
        """Until nothing is being written; `of_checkpoint`: what the time counts as (`Pace.blocked`)."""
        begun = time.monotonic()
        if self._writing is not None:
            self._writing.exception()
        self._pace.blocked(time.monotonic() - begun, of_checkpoint=of_checkpoint)

    def problem(self) -> str | None:
        """What went wrong with the last write, told once.

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
        """The same.

        Raises:
          CheckpointError: it could not be written.
        """
        if self._writing is not None:
            self._writing.result()

    def tidy(self, best_step: int) -> None:
        """After the end: only the best space of all."""
        checkpoint.remove_all_but(self._best, {best_step})

    def close(self) -> None:
        """Waits, and ends the thread."""
        self._thread.shutdown()

    def _save(self, step: int, arrays: Any, document: dict, best_step: int) -> None:
        begun = time.monotonic()
        try:
            if self._unsaved is not None:  # it could not be written when it was made
                self._unsaved()
            checkpoint.write(checkpoint.step_path(self._checkpoints, step), arrays, document)
        except CheckpointError:
            self._failures += 1
            raise
        self._failures = 0
        # After going back, those of later steps are of what is given up.
        kept = [known for known in checkpoint.steps(self._checkpoints) if known <= step][-2:]
        checkpoint.remove_all_but(self._checkpoints, set(kept))
        # A run that has gone back can have a best step before that of an older checkpoint.
        known = {k: best for k, best in self._known.items() if k in kept and best <= best_step}
        self._known = known | {step: best_step}
        checkpoint.remove_all_but(self._best, set(self._known.values()))
        self._pace.written(time.monotonic() - begun)
