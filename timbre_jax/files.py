"""Atomic writes, locks and full disks: one piece of code for every file that the library writes."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Libraries report the system's words without its number.
_FULL_WORDS = ("No space left on device", "File too large", "Disk quota exceeded")


def why_full(error: BaseException) -> str:
    """Returns the system's words if an error says that the disk is full, "" for every other error."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return os.strerror(error.errno)
    return next((words for words in _FULL_WORDS if words in str(error)), "")


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, *, sync: bool = False) -> Iterator[Path]:
    """Yields a temporary path beside `path` that replaces it when the block ends without an error.

    The file is complete or unchanged: whatever interrupts the block, `path` keeps its old content. The folder is created.

    Args:
      path: the file to write. The temporary path ends with the same suffix, for libraries that look at it.
      sync: whether the content reaches the disk before the file is replaced.

    Raises:
      OSError: the file could not be written; `filename` names `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Short, so that a long name stays within the file system's limit.
    temporary = path.with_name(f".{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        yield temporary
        if sync:
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        os.replace(temporary, path)
    except OSError as error:  # the error of a full disk names no file, others name the temporary one
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str, *, sync: bool = False) -> Path:
    """Writes a UTF-8 text file atomically and returns its path.

    Bytes of a file's name that are not text are written as \\udc.., which JSON reads back unchanged.

    Args:
      path: the file to write; its folder is created.
      text: the content.
      sync: whether the content reaches the disk before the file is replaced.

    Raises:
      OSError: the file could not be written; `filename` names it.
    """
    with atomic_path(path, sync=sync) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return Path(path)


@contextlib.contextmanager
def locked(path: str | os.PathLike, *, wait: bool = False, message: str = "") -> Iterator[None]:
    """Holds a lock file while the block runs; the system releases it when the process ends, however it ends.

    Where the file system has no locks, filelock falls back to a marker file; where it refuses them, the block runs unlocked.

    Args:
      path: the lock file; created if it does not exist, and left in place.
      wait: whether to wait for another holder.
      message: the error's text if another process holds the lock and `wait` is off.

    Raises:
      ValueError: another process holds the lock.
    """
    import filelock

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(os.fspath(path))
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except filelock.Timeout:
        raise ValueError(message or f"{path}: another process holds this lock; wait for it to end") from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
            raise
    try:
        yield
    finally:
        lock.release()
