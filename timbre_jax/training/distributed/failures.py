"""Ends all processes of a run, with one line each, when one of them is killed, crashes or fails.

A process cannot take another step without the others. It learns that one is gone from a sum over devices that fails, at once,
or from JAX's coordination service, within `processes.HEARTBEAT_SECONDS`, which then aborts the process. The main process still
completes the checkpoint that it is writing, if there is time. The same command resumes from the last checkpoint.
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
"""Exit code of a process that ends because another of its run did: EX_TEMPFAIL of sysexits.h."""

MESSAGE = "another process of this run has ended; the same command, on all of them, resumes from the last checkpoint"

ABORTED = f"this process was aborted (see above), as it is when {MESSAGE}"

_SIGNS = ("Gloo", "NCCL", "oordination service", "UNAVAILABLE", "Connection reset", "Connection closed", "heartbeat", "Barrier")
"""Words in the runtime's errors about another process."""

_SECONDS = 10
"""Time limit for the message of a process that is being aborted."""


class LostProcess(TrainingError):
    """Error of a run one of whose other processes is gone."""


@contextlib.contextmanager
def convert_runtime_errors() -> Iterator[None]:
    """Converts the runtime's errors about a process that is gone into a `LostProcess`."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or not any(sign in str(error) for sign in _SIGNS):
            raise
        # The runtime's own words are the only trace of a network that failed between the processes.
        raise LostProcess(f"{MESSAGE} ({' '.join(str(error).split())[:200]})") from error


def report_abort(message: str = ABORTED) -> None:
    """Makes a process that the runtime aborts, because another is gone, end with one line and the exit code `LOST`.

    The line follows the runtime's own. Every process of a run of several calls this; the last message counts.
    """
    global _last_words

    def last_words(_number: int) -> None:
        signal.alarm(_SECONDS)  # ends the process if the next line hangs
        os.write(2, f"error: {message}\n".encode())
        os._exit(LOST)

    # Python's own handlers would wait for the main thread, which does not return.
    _last_words = ctypes.CFUNCTYPE(None, ctypes.c_int)(last_words)
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    libc.signal(signal.SIGABRT, ctypes.cast(_last_words, ctypes.c_void_p))


_last_words = None


@contextlib.contextmanager
def exit_together() -> Iterator[None]:
    """Ends this process of a run of several at once, with one line, if the block raises, so that the others notice.

    An orderly end would wait for the others, which wait for this one's next step. A single process just raises the error.
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
            time.sleep(2.0)  # lets the others print an error of their own: without the main process they end at once
        os._exit(code)
