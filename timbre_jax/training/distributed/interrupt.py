"""Stop signals for the training loop, and the lock of a run's folder."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timbre_jax import files
from timbre_jax.training.distributed import processes


class StopSignals:
    """Context manager that records a first SIGTERM or SIGINT; a second one acts as usual.

    Outside the main thread, where Python cannot set handlers, it has no effect.

    Attributes:
      number: number of the received signal, or 0.
    """

    def __init__(self) -> None:
        self.number: int = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_) -> None:
        self._restore()

    def _handle(self, number, _frame) -> None:
        self.number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Holds the lock of a run's folder, on the main process for all processes.

    Raises:
      ValueError: another run is in progress in this folder.
    """
    message = f"{workdir}: another process is training in this folder; wait until it ends or use another folder"
    with files.locked(workdir / ".lock", message=message) if processes.is_main() else contextlib.nullcontext():
        yield
