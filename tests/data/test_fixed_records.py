"""Files of records of equal size return what was written, and detect damage."""

import numpy as np
import pytest

from timbre_jax.data.fixed_records import CHECKSUM_BYTES, FixedReader, FixedWriter, count_fixed

SIZE = 7


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "records"
    writer = FixedWriter(path)
    for number in range(5):
        writer.write(bytes([number] * SIZE))
    assert not path.exists()
    writer.close()
    return path


def test_records_are_read_in_any_order(file):
    assert count_fixed(file, SIZE) == 5
    reader, rows = FixedReader(file, SIZE), np.empty((3, SIZE + CHECKSUM_BYTES), np.uint8)
    for row, position in zip(rows, (4, 0, 4), strict=True):
        reader.read(position, row)
    assert rows[:, :SIZE].tolist() == [[4] * SIZE, [0] * SIZE, [4] * SIZE]


def test_damaged_records_are_reported(file):
    row = np.empty(SIZE + CHECKSUM_BYTES, np.uint8)
    with pytest.raises(ValueError, match="record 5 is beyond the end"):
        FixedReader(file, SIZE).read(5, row)
    data = bytearray(file.read_bytes())
    data[2 * (SIZE + CHECKSUM_BYTES) + 3] ^= 16
    file.write_bytes(data)
    with pytest.raises(ValueError, match="record 2 has a wrong checksum"):
        FixedReader(file, SIZE).read(2, row)
    file.write_bytes(data[:-1])
    assert count_fixed(file, SIZE) == -1
    with pytest.raises(ValueError, match="record 4 is beyond"):
        FixedReader(file, SIZE).read(4, row)
    file.unlink()
    assert count_fixed(file, SIZE) == -1
    with pytest.raises(FileNotFoundError):
        FixedReader(file, SIZE)
