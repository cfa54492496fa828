"""What becomes of the processes of a run when one of them is killed, crashes or fails: the others end too, soon, and say why.

A process whose peer is gone cannot take another step. It hears of it from the sum over devices that fails, at once, or from
JAX's coordination service, within `distributed.HEARTBEAT_SECONDS`, which then aborts the process. The main process still
finishes the checkpoint that it is writing, where there is time. The same command goes on from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator

import jax

from timbre_jax.training.checkpointing.progress import TrainingError

LOST = 75
"""Exit code of a process that ends because another of its run did: EX_TEMPFAIL of sysexits.h. The same command goes on."""

MESSAGE = "another process of this run has ended; the same command, on all of them, goes on from the last checkpoint"

ABORTED = f"this process was aborted (see above), as it is when {MESSAGE}"

_SIGNS = ("Gloo", "NCCL", "oordination service", "UNAVAILABLE", "Connection reset", "Connection closed", "heartbeat", "Barrier")
"""Of an error of the runtime that is about another process."""

_SECONDS = 10
"""For the last words of a process that is being aborted."""


class LostProcess(TrainingError):
    """Another process of the run is gone."""


@contextlib.contextmanager
def convert_runtime_errors() -> Iterator[None]:
    """Turns what the runtime says when another process is gone into a `LostProcess`."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or not any(sign in str(error) for sign in _SIGNS):
            raise
        # With what the runtime says: where it is not another process, but the network between them, that is the only trace.
        raise LostProcess(f"{MESSAGE} ({' '.join(str(error).split())[:200]})") from error


def report_abort(message: str = ABORTED) -> None:
    """Ends a process that the runtime aborts, as it does when another is gone, with one clear line and the exit code `LOST`.

    The runtime's own lines come before. For processes of a run of several, each of which calls it; the last message counts.
    """
    global _last_words

    def last_words(_number: int) -> None:
        signal.alarm(_SECONDS)  # should this hang, the process ends all the same
        os.write(2, f"error: {message}\n".encode())
        os._exit(LOST)

    # Python's own handlers wait for the main thread, which is not to come.
    _last_words = ctypes.CFUNCTYPE(None, ctypes.c_int)(last_words)
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    libc.signal(signal.SIGABRT, ctypes.cast(_last_words, ctypes.c_void_p))


_last_words = None


@contextlib.contextmanager
def exit_together() -> Iterator[None]:
    """What goes wrong in here ends this process of a run of several at once, with one line, so that the others notice.

    The orderly end of a process would wait for the others, which wait for this one's next step. A single process goes on as
    without this.
    """
    try:
        yield
    except BaseException as error:
        if jax.process_count() == 1:
            raise
        code = LOST if isinstance(error, LostProcess) else 130 if isinstance(error, KeyboardInterrupt) else 1
        if isinstance(error, ValueError | OSError):
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        elif code != 130:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        if jax.process_index() == 0 and code == 1:
            time.sleep(2.0)  # what is wrong for all, all may say: without the main process they end at once
        os._exit(code)
