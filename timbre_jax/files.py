"""Atomic writes, lock files and detection of full disks."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

_DISK_FULL_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Some libraries report the message of the system without its error number.
_DISK_FULL_MESSAGES = ("No space left on device", "File too large", "Disk quota exceeded")


def disk_full_message(error: BaseException) -> str:
    """Returns the system's message if an error is due to a full disk, or ""."""
    if isinstance(error, OSError) and error.errno in _DISK_FULL_CODES:
        return os.strerror(error.errno)
    return next((message for message in _DISK_FULL_MESSAGES if message in str(error)), "")


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, *, sync: bool = False) -> Iterator[Path]:
    """Yields a temporary path whose file replaces `path` when the block ends without an error.

    If the block is interrupted, `path` keeps its old content.

    Args:
      path: file to write; its folder is created. The temporary path has the same suffix, which some libraries check.
      sync: whether the content is flushed to the disk before the file is replaced.

    Raises:
      OSError: the file could not be written; `filename` is `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the name of the file, which may be as long as the file system allows.
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
    except OSError as error:  # its filename is missing (full disk) or temporary
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str, *, sync: bool = False) -> Path:
    r"""Writes a UTF-8 text file atomically and returns its path.

    Args:
      path: file to write; its folder is created.
      text: content. Undecodable bytes of file names are written as \udc.., which JSON reads unchanged.
      sync: whether the content is flushed to the disk before the file is replaced.

    Raises:
      OSError: the file could not be written; `filename` is `path`.
    """
    with atomic_path(path, sync=sync) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return Path(path)


@contextlib.contextmanager
def locked(path: str | os.PathLike, *, wait: bool = False, message: str = "") -> Iterator[None]:
    """Holds a lock file while the block runs; the system releases it when the process ends.

    If the file system refuses locks, the block runs without one.

    Args:
      path: lock file; created if it does not exist, and not removed.
      wait: whether to wait until another process releases the lock.
      message: error message if another process holds the lock and `wait` is False.

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
