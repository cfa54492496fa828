"""Files of records of any size (array_record), read one by one in any order."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timbre_jax.files import atomic_path

_WRITER = "group_size:1,uncompressed"  # sounds hardly shrink, and reading one should not decompress others


class RecordWriter:
    """Writer of an array_record file that appears whole when it is closed. Errors are OSErrors.

    Attributes:
      count: records so far.
    """

    def __init__(self, path: Path, options: str = _WRITER):
        from array_record.python.array_record_module import ArrayRecordWriter

        self.count = 0
        self._stack = contextlib.ExitStack()
        self._temporary = self._stack.enter_context(atomic_path(path, sync=True))
        self._writer = ArrayRecordWriter(str(self._temporary), options)

    def write(self, record: bytes) -> None:
        self._checked(lambda: self._writer.write(record))
        self.count += 1

    def close(self) -> None:
        self._checked(self._writer.close)
        if count_records(self._temporary) != self.count:
            raise OSError(f"{self._temporary} did not arrive whole on the disk")
        self._stack.close()

    def _checked(self, action) -> None:
        try:
            action()
        except RuntimeError as error:  # array_record wraps the system's error into a text
            text = str(error)
            raise OSError("No space left on device" if "No space left" in text else " ".join(text.split())) from None


def open_records(path: str | os.PathLike) -> Any:
    """Returns an array_record reader that reads single records at random: `read([k])[0]`, `num_records()`, `close()`."""
    from array_record.python.array_record_module import ArrayRecordReader

    return ArrayRecordReader(os.fspath(path), "readahead_buffer_size:0")


def count_records(path: Path) -> int:
    """Records in an array_record file; -1 where it is not whole."""
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
