"""Progress, rollback anchors, checkpoints and result of a run."""

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
    """Error that ends a training run; its message is one line."""


@dataclasses.dataclass(frozen=True)
class Result:
    """Result of a run.

    Attributes:
      status: "finished" (all steps taken), "converged" (stopped early), "stopped" (by a signal; the same call resumes the
        run) or "failed" (only in a sweep, whose other runs continue).
      step: number of steps taken.
      best_step: step of the best evaluation.
      best_value: monitored value of that evaluation.
      signal: number of the signal that stopped the run, or 0.
      error: error of a failed run, one line.
    """

    status: str
    step: int
    best_step: int
    best_value: float
    signal: int = 0
    error: str = ""


@dataclasses.dataclass
class RunProgress:
    """Progress of a run, saved as JSON beside its arrays.

    Attributes:
      step: number of steps taken.
      position: number of batches drawn from the pipeline.
      iterator: state of the pipeline after them.
      detector: state of the `DivergenceDetector`.
      metric_sums: sums of the metrics since the last line of the log, and their number as "steps".
      best_step: step of the best evaluation.
      best_value: monitored value of that evaluation.
      evaluations_since_best: number of evaluations after it.
      rate_drops: number of drops of the learning rate (`PlateauSchedule`).
      evaluations_since_drop: number of evaluations without improvement since the last drop.
      skipped: positions of the batches to skip.
      rollbacks: records of all rollbacks.
      log_bytes: size of metrics.jsonl in bytes.
      seconds: training time so far.
      status: "running", or the status of the `Result`.
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
    """State to roll back to: the training state and its position in the data."""

    state: TrainState
    step: int
    position: int
    iterator: Any
    detector: dict

    def document(self) -> dict:
        """Returns all fields except the arrays, as JSON data."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "state"}


@dataclasses.dataclass
class RunCheckpoint:
    """Content of a run's checkpoint.

    Attributes:
      progress: progress of the run.
      state: training state after the last step.
      anchor: newest state that is known to be good.
      candidate: newer state that becomes the anchor if the steps after it are good.
    """

    progress: RunProgress
    state: TrainState
    anchor: Anchor
    candidate: Anchor

    def document(self) -> dict:
        """Returns everything except the arrays, as JSON data."""
        return {
            "progress": dataclasses.asdict(self.progress),
            "anchor": self.anchor.document(),
            "candidate": self.candidate.document(),
        }

    def arrays(self) -> dict:
        """Returns the arrays as NumPy arrays that do not change while training continues."""
        # Training works on copies of the anchors' arrays, so these can share memory.
        anchors = {"anchor": self.anchor.state, "candidate": self.candidate.state}
        return checkpoint.to_host({"state": self.state}) | checkpoint.to_host(anchors, copy=False)


def read_progress(path: str | os.PathLike) -> RunProgress:
    """Reads the progress of a run from a checkpoint.

    Raises:
      CheckpointError: the checkpoint is damaged or was written by a version with other fields.
    """
    fields = {field.name for field in dataclasses.fields(RunProgress)}
    values = checkpoint.read_document(path).get("progress")
    if not isinstance(values, dict) or set(values) != fields:
        raise CheckpointError(
            f"checkpoint {path}: written by a version of timbre_jax whose runs this version cannot resume; train again in "
            "another --workdir"
        )
    return RunProgress(**values)


def check_resumable(directory: str | os.PathLike) -> None:
    """Raises a `CheckpointError` if the newest intact checkpoint cannot be resumed."""
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
      CheckpointError: the checkpoint is damaged, belongs to another run or was written by a version with other fields.
    """
    progress = read_progress(path)
    arrays, document = checkpoint.read(path, {"state": template, "anchor": template, "candidate": template})
    anchor, candidate = (Anchor(state=arrays[name], **document[name]) for name in ("anchor", "candidate"))
    return RunCheckpoint(progress, arrays["state"], anchor, candidate)
