"""Progress of a run: what it records besides its arrays, what it can roll back to, and how it ended."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any

from timbre_jax import checkpoint
from timbre_jax.documents import CheckpointError, DamagedError
from timbre_jax.training.rollback import DivergenceDetector
from timbre_jax.training.state import TrainState


class TrainingError(ValueError):
    """Error that ends a training; the message is one line and says why."""


@dataclasses.dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
      status: "finished" (all steps), "converged" (early stopping), "stopped" (by a signal; the same call resumes it), or, of
        one run among several, "failed".
      step: steps taken.
      best_step: step of the best evaluation so far.
      best_value: monitored value of that evaluation.
      signal: signal that stopped the run, or 0.
      error: why it failed, one line.
    """

    status: str
    step: int
    best_step: int
    best_value: float
    signal: int = 0
    error: str = ""


@dataclasses.dataclass
class RunProgress:
    """Everything a run records besides its arrays; it is saved with them, as JSON.

    Attributes:
      step: steps taken.
      position: batches drawn from the pipeline.
      iterator: state of the pipeline after them.
      detector: state of the `DivergenceDetector`.
      metric_sums: sums of the metrics since the last line of the log, and the number of their "steps".
      best_step: step of the best evaluation.
      best_value: monitored value of that evaluation.
      evaluations_since_best: evaluations since then.
      rate_drops: how often the learning rate was reduced on a plateau.
      evaluations_since_drop: evaluations without improvement since the last reduction (`Plateau`).
      skipped: positions of batches to leave out.
      rollbacks: bad steps and what was done about them.
      log_bytes: size of metrics.jsonl.
      seconds: training time so far.
      status: "running", or how the run ended.
    """

    step: int = 0
    position: int = 0
    iterator: Any = None
    detector: dict = dataclasses.field(default_factory=lambda: DivergenceDetector().state())
    metric_sums: dict = dataclasses.field(default_factory=dict)
    best_step: int = -1
    best_value: float | None = None
    evaluations_since_best: int = 0
    rate_drops: int = 0
    evaluations_since_drop: int = 0
    skipped: list = dataclasses.field(default_factory=list)
    rollbacks: list = dataclasses.field(default_factory=list)
    log_bytes: int = 0
    seconds: float = 0.0
    status: str = "running"


@dataclasses.dataclass
class Anchor:
    """State to roll back to: arrays, and the place in the data that belongs to them."""

    state: TrainState
    step: int
    position: int
    iterator: Any
    detector: dict

    def place(self) -> dict:
        """Returns everything but the arrays, as JSON data."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "state"}


@dataclasses.dataclass
class RunCheckpoint:
    """Content of a run's checkpoint.

    Attributes:
      progress: of the run.
      state: training state after the last step.
      anchor: last state known to be good.
      candidate: newer state, which becomes the anchor once the steps after it have proved good.
    """

    progress: RunProgress
    state: TrainState
    anchor: Anchor
    candidate: Anchor

    def document(self) -> dict:
        """Returns everything but the arrays, as JSON data."""
        return {
            "progress": dataclasses.asdict(self.progress),
            "anchor": self.anchor.place(),
            "candidate": self.candidate.place(),
        }

    def arrays(self) -> dict:
        """Returns the arrays on the host. They stay as they are while training continues."""
        # Steps only read copies of the anchors' arrays, so on a CPU these need no copy.
        anchors = {"anchor": self.anchor.state, "candidate": self.candidate.state}
        return checkpoint.to_host({"state": self.state}) | checkpoint.to_host(anchors, kept=True)


def read_progress(path: str | os.PathLike) -> RunProgress:
    """Reads how far a run was at a checkpoint.

    Raises:
      CheckpointError: the checkpoint is damaged, or was written by a version with other fields.
    """
    fields = {field.name for field in dataclasses.fields(RunProgress)}
    found = checkpoint.read_document(path).get("progress")
    if not isinstance(found, dict) or set(found) != fields:
        raise CheckpointError(
            f"checkpoint {path} was written by a version of timbre_jax whose runs this version cannot resume: train again in "
            "another --workdir"
        )
    return RunProgress(**found)


def check_resumable(directory: str | os.PathLike) -> None:
    """Raises a `CheckpointError` if the newest readable checkpoint of a run was written by a version with other fields."""
    for step in reversed(checkpoint.steps(directory)):
        with contextlib.suppress(DamagedError):
            read_progress(checkpoint.step_path(directory, step))
            return


def read_run(path: str | os.PathLike, template: TrainState) -> RunCheckpoint:
    """Reads a run's checkpoint.

    Args:
      path: folder of the checkpoint.
      template: shapes and shardings of the training state (`Programs.abstract`).

    Raises:
      CheckpointError: the checkpoint is damaged, of another run, or of a version with other fields.
    """
    progress = read_progress(path)
    arrays, document = checkpoint.read(path, {"state": template, "anchor": template, "candidate": template})
    anchor, candidate = (Anchor(state=arrays[name], **document[name]) for name in ("anchor", "candidate"))
    return RunCheckpoint(progress, arrays["state"], anchor, candidate)
