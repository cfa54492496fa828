"""Log of a run's metrics in metrics.jsonl and TensorBoard files."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

from timbre_jax.documents import reason


class MetricsLog:
    """Log of metrics, as JSON lines in metrics.jsonl and events in tensorboard/.

    When a run is resumed, lines written after its checkpoint are removed, so no step is logged twice.

    Args:
      workdir: folder of the run.
      step: step from which the run is resumed.
      offset: number of bytes of metrics.jsonl to keep.
      silent: whether to write nothing; True on all processes but the main one.
    """

    def __init__(self, workdir: Path, *, step: int = 0, offset: int = 0, silent: bool = False):
        self._path = Path(os.devnull) if silent else workdir / "metrics.jsonl"
        self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115
        if self._file.tell() > offset:
            self._file.truncate(offset)
            self._file.seek(0, os.SEEK_END)
        self._board = None
        if not silent:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=step or None, flush_secs=30)

    @property
    def offset(self) -> int:
        """Size of metrics.jsonl in bytes."""
        return self._file.tell()

    def write(self, event: str, step: int, **values) -> None:
        """Writes a line {"event": ..., "step": ..., ...}, with null for non-finite numbers.

        Raises:
          ValueError: the line could not be written.
        """
        record = {"event": event, "step": step, **{name: _json_value(value) for name, value in values.items()}}
        try:
            self._file.write(json.dumps(record).encode() + b"\n")
        except OSError as error:
            raise ValueError(f"{self._path}: could not be written ({reason(error)})") from None
        if self._board is not None:
            for name, value in record.items():
                if name not in ("event", "step") and isinstance(value, (int, float)) and not isinstance(value, bool):
                    self._board.add_scalar(f"{event}/{name}", value, step)

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def _json_value(value):
    """Returns a value for JSON: None instead of a number that is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
