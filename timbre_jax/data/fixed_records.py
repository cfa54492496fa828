"""Files of records of equal size, each with a checksum, for fast random access.

Record k starts at byte k * (size + 4) and is followed by its CRC-32, little-endian. A record of 6 kB takes one system call and
4 microseconds of a core, a quarter of the time that array_record takes. A numpy memory map was slower (5.3 microseconds with
150 files and 64 records at a time), counts everything that was read as memory of the process, and kills the process if a file
has been cut short.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from pathlib import Path

import numpy as np

from timbre_jax.files import atomic_path

CHECKSUM_BYTES = 4  # bytes of the checksum after each record


class FixedWriter:
    """Writer of a file that appears under its name only when it is complete.

    All errors are raised as OSError.
    """

    def __init__(self, path: Path):
        self._stack = contextlib.ExitStack()
        self._file = self._stack.enter_context(open(self._stack.enter_context(atomic_path(path, sync=True)), "wb"))  # noqa: SIM115

    def write(self, record: bytes) -> None:
        """Appends a record and its checksum."""
        self._file.write(record)
        self._file.write(zlib.crc32(record).to_bytes(CHECKSUM_BYTES, "little"))

    def close(self) -> None:
        """Completes the file and renames it to its final name."""
        self._stack.close()


def count_fixed(path: Path, size: int) -> int:
    """Returns the number of records of a file, or -1 if the file is missing or incomplete."""
    if not path.is_file():
        return -1
    count, rest = divmod(path.stat().st_size, size + CHECKSUM_BYTES)
    return -1 if rest else count


class FixedReader:
    """Thread-safe reader of records of `size` bytes, not counting their checksums."""

    def __init__(self, path: Path, size: int):
        self._size, self._descriptor = size, os.open(path, os.O_RDONLY)

    def __del__(self):
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def read(self, position: int, row: np.ndarray) -> None:
        """Reads a record and its checksum into an array [size + CHECKSUM_BYTES] uint8.

        Raises:
          ValueError: the record is damaged or beyond the end of the file.
        """
        stride = self._size + CHECKSUM_BYTES
        if os.preadv(self._descriptor, [row], position * stride) != stride:
            raise ValueError(f"record {position} is beyond the end of the file")
        if zlib.crc32(row[: self._size]) != int.from_bytes(row[self._size :], "little"):
            raise ValueError(f"record {position} has a wrong checksum")
