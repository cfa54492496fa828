"""Ends all processes of a run, with one line each, when one of them fails.

No process can take another step without the others. A process detects a missing one either when a sum over devices fails, or
within `processes.HEARTBEAT_SECONDS` when JAX's coordination service aborts it. If there is time, the main process completes the
checkpoint that it is writing. The same command on all processes resumes the run.
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

LOST_EXIT_CODE = 75
"""Exit code of a process that ends because another process of its run has ended (EX_TEMPFAIL in sysexits.h)."""

LOST_MESSAGE = "another process of this run has ended; the same command on all processes resumes from the last checkpoint"

ABORT_MESSAGE = f"this process was aborted (see above), probably because {LOST_MESSAGE}"

_NETWORK_ERRORS = (
    "Gloo", "NCCL", "oordination service", "UNAVAILABLE", "Connection reset", "Connection closed", "heartbeat", "Barrier",
)  # fmt: skip
"""Words in errors of JAX's runtime that another process has caused."""

_ABORT_SECONDS = 10
"""Time limit for the message of a process that is being aborted."""


class LostProcess(TrainingError):
    """Error of a run that has lost another of its processes."""


@contextlib.contextmanager
def convert_runtime_errors() -> Iterator[None]:
    """Converts errors of JAX's runtime about a missing process to `LostProcess`."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or not any(words in str(error) for words in _NETWORK_ERRORS):
            raise
        # The original message is the only hint if the network between the processes has failed.
        raise LostProcess(f"{LOST_MESSAGE} ({' '.join(str(error).split())[:200]})") from error


def report_abort(message: str = ABORT_MESSAGE) -> None:
    """Makes an abort by JAX's runtime print one line and exit with `LOST_EXIT_CODE`.

    Args:
      message: text of the line; the message of the last call counts.
    """
    global _abort_handler

    def on_abort(_number: int) -> None:
        signal.alarm(_ABORT_SECONDS)  # ends the process if the next line blocks
        os.write(2, f"error: {message}\n".encode())
        os._exit(LOST_EXIT_CODE)

    # A Python signal handler would wait for the main thread, which is blocked.
    _abort_handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(on_abort)
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    libc.signal(signal.SIGABRT, ctypes.cast(_abort_handler, ctypes.c_void_p))


_abort_handler = None


@contextlib.contextmanager
def exit_together() -> Iterator[None]:
    """Ends this process immediately if the block raises an error, so that others detect it.

    A normal exit would wait for the other processes, which wait for the next step of this one. In a run of one process the
    error is raised as usual.
    """
    try:
        yield
    except BaseException as error:
        if jax.process_count() == 1:
            raise
        code = LOST_EXIT_CODE if isinstance(error, LostProcess) else 130 if isinstance(error, KeyboardInterrupt) else 1
        if isinstance(error, ValueError | OSError):
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        elif code != 130:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        if jax.process_index() == 0 and code == 1:
            time.sleep(2.0)  # lets the others print their errors first, since they end with the main process
        os._exit(code)
