"""What a run keeps track of besides its arrays, and how it ended."""

from __future__ import annotations

import dataclasses
from typing import Any

from timbre_jax.training.rollback import Guard
from timbre_jax.training.state import TrainState


class TrainingError(ValueError):
    """Training cannot go on; the message is one line and says why."""


@dataclasses.dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
      status: "finished" (all steps), "converged" (early stopping), "stopped" (by a signal; the same call goes on), or, of one
        run among several, "failed".
      step: steps taken. best_step, best_value: of the best evaluation so far.
      signal: that stopped it, or 0. error: why it failed, one line.
    """

    status: str
    step: int
    best_step: int
    best_value: float
    signal: int = 0
    error: str = ""


@dataclasses.dataclass
class Book:
    """What a run knows besides its arrays; all of it is saved with them, as JSON.

    Attributes:
      step: steps taken. position: batches drawn from the pipeline. iterator: the pipeline's state after them.
      guard: what the guard remembers.
      window: sums of the metrics since the last line of the log, and their number.
      best_step, best_value: of the best evaluation; waiting: evaluations since.
      falls: of the learning rate on plateaus; idle: evaluations that brought nothing since the last fall (`Plateau`).
      skipped: positions of batches to leave out. recoveries: what was done about bad steps.
      offset: bytes of metrics.jsonl. seconds: of training so far. status: "running" or how it ended.
    """

    step: int = 0
    position: int = 0
    iterator: Any = None
    guard: dict = dataclasses.field(default_factory=lambda: Guard().memory())
    window: dict = dataclasses.field(default_factory=dict)
    best_step: int = -1
    best_value: float | None = None
    waiting: int = 0
    falls: int = 0
    idle: int = 0
    skipped: list = dataclasses.field(default_factory=list)
    recoveries: list = dataclasses.field(default_factory=list)
    offset: int = 0
    seconds: float = 0.0
    status: str = "running"


@dataclasses.dataclass
class Anchor:
    """A state that can be gone back to: arrays, and the place in the data that belongs to it."""

    state: TrainState
    step: int
    position: int
    iterator: Any
    guard: dict

    def place(self) -> dict:
        """Everything but the arrays."""
        return {"step": self.step, "position": self.position, "iterator": self.iterator, "guard": self.guard}
