"""SIGTERM and Ctrl-C as a flag that the training loop looks at, and a lock so that a run has one trainer."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from timbre_jax.training.distributed import processes


class StopSignals:
    """While entered, the first SIGTERM or SIGINT only sets `number`; a second one acts as it did before.

    Does nothing outside the main thread, where Python cannot set handlers.
    """

    def __init__(self):
        self.number: int = 0
        self._before: dict[int, object] = {}

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
    """Holds the run folder's lock; the system releases it when the process ends, however it ends.

    Of several processes of one run, the main one holds it for all.

    Raises:
      ValueError: another process trains in this folder.
    """
    import fcntl

    if not processes.is_main():
        yield
        return
    workdir.mkdir(parents=True, exist_ok=True)
    file = os.open(workdir / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # Some network file systems have no locks: there we do without.
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise ValueError(f"another process is training in {workdir}; wait for it or use another folder") from None
        yield
    finally:
        os.close(file)
