"""Writes and reads array_record files: records of any size, read in any order."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timbre_jax.files import atomic_path

_WRITER_OPTIONS = "group_size:1,uncompressed"  # compressed sounds are hardly smaller, and reading one would decode its group


class RecordWriter:
    """Writer of an array_record file, which appears under its name only when it is complete.

    All errors are raised as OSError. By default every record is readable without its neighbors. `count` is the number of
    records written so far.
    """

    def __init__(self, path: Path, options: str = _WRITER_OPTIONS):
        from array_record.python.array_record_module import ArrayRecordWriter

        self.count = 0
        self._stack = contextlib.ExitStack()
        self._temporary = self._stack.enter_context(atomic_path(path, sync=True))
        self._writer = ArrayRecordWriter(str(self._temporary), options)

    def write(self, record: bytes) -> None:
        """Appends a record."""
        self._call(lambda: self._writer.write(record))
        self.count += 1

    def close(self) -> None:
        """Completes the file and renames it to its final name."""
        self._call(self._writer.close)
        if (written := count_records(self._temporary)) != self.count:
            raise OSError(f"{self._temporary}: wrong number of records after writing (got {written}, expected {self.count})")
        self._stack.close()

    def _call(self, action) -> None:
        """Calls a function of array_record and raises its errors as OSError."""
        try:
            action()
        except RuntimeError as error:  # array_record raises system errors as text
            text = str(error)
            raise OSError("No space left on device" if "No space left" in text else " ".join(text.split())) from None


def open_records(path: str | os.PathLike) -> Any:
    """Returns a reader of a file, which has `read([k])[0]`, `num_records()` and `close()`."""
    from array_record.python.array_record_module import ArrayRecordReader

    return ArrayRecordReader(os.fspath(path), "readahead_buffer_size:0")


def count_records(path: Path) -> int:
    """Returns the number of records in an array_record file, or -1 if the file is incomplete."""
    try:
        reader = open_records(path)
        count = reader.num_records()
        reader.close()
        return count
    except (RuntimeError, ValueError, IndexError):
        return -1


def read_records(path: Path) -> Iterator[bytes]:
    """Yields the records of a file in order."""
    reader = open_records(path)
    for number in range(reader.num_records()):
        yield reader.read([number])[0]
    reader.close()
