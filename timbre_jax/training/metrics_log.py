"""metrics.jsonl and TensorBoard files of a run."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path


class MetricsLog:
    """Appends one JSON object a line to WORKDIR/metrics.jsonl, and the same numbers to WORKDIR/tensorboard.

    A resumed run goes back to where its checkpoint was: lines after `offset` are cut off, so no step is told twice.

    Args:
      workdir: of the run.
      step: the step that the run goes on from.
      offset: bytes of metrics.jsonl to keep.
      tensorboard: whether to write TensorBoard files.
      silent: write nothing, as all but one process of a run do.
    """

    def __init__(self, workdir: Path, *, step: int = 0, offset: int = 0, tensorboard: bool = True, silent: bool = False):
        self._path = Path(os.devnull) if silent else workdir / "metrics.jsonl"
        self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115
        if self._file.tell() > offset:
            self._file.truncate(offset)
            self._file.seek(0, os.SEEK_END)
        self._board = None
        if tensorboard and not silent:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=step or None, flush_secs=30)

    @property
    def offset(self) -> int:
        """Bytes written so far; lines up to here are on disk."""
        return self._file.tell()

    def write(self, event: str, step: int, **values) -> None:
        """One line: {"event": ..., "step": ..., ...}. Numbers that are not finite become null, which JSON has."""
        record = {"event": event, "step": step, **{name: _plain(value) for name, value in values.items()}}
        try:
            self._file.write(json.dumps(record).encode() + b"\n")
        except OSError as error:
            raise ValueError(
                f"could not write {self._path}: {error.strerror}; free some space and run the same command again"
            ) from None
        if self._board is not None:
            for name, value in record.items():
                if name not in ("event", "step") and isinstance(value, (int, float)) and not isinstance(value, bool):
                    self._board.add_scalar(f"{event}/{name}", value, step)

    def close(self) -> None:
        """Flushes and closes both."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def _plain(value):
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
