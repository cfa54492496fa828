"""Reads a serialised `tf.train.Example` (protocol buffers' wire format) without TensorFlow.

    Example  { Features features = 1; }
    Features { map<string, Feature> feature = 1; }
    Feature  { oneof { BytesList bytes_list = 1; FloatList float_list = 2; Int64List int64_list = 3; } }
Each list's values are field 1; numbers may be packed or not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

_BYTES, _FLOATS, _INTEGERS = 1, 2, 3


def read_example(data: memoryview, wanted: Collection[str]) -> dict[str, np.ndarray | list[bytes]]:
    """The wanted features of an example: float32 or int64 arrays, or lists of bytes. Others are skipped unread.

    Raises:
      ValueError: not such a message.
    """
    result: dict[str, np.ndarray | list[bytes]] = {}
    for number, features in _fields(data):
        if number != 1:
            continue
        for inner, entry in _fields(features):
            if inner != 1:
                continue
            parts = dict(_fields(entry))
            name = bytes(parts.get(1, b"")).decode("utf-8", "replace")
            if name in wanted:
                for kind, values in _fields(parts.get(2, memoryview(b""))):
                    result[name] = _values(kind, values)
    return result


def _values(kind: int, data: memoryview) -> np.ndarray | list[bytes]:
    if kind == _BYTES:
        return [bytes(value) for _, value in _fields(data)]
    if kind == _FLOATS:
        packed = b"".join(bytes(value) for _, value in _fields(data))
        return np.frombuffer(packed, "<f4").astype(np.float32)
    if kind != _INTEGERS:
        raise ValueError(f"a feature of unknown kind {kind}")
    numbers: list[int] = []
    for _, value in _fields(data):
        place = 0
        while place < len(value):
            number, place = _varint(value, place)
            numbers.append(number - (1 << 64) if number >> 63 else number)
    return np.array(numbers, np.int64)


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(field number, bytes of its value) of a message; of a varint its own bytes."""
    place, end = 0, len(data)
    while place < end:
        key, place = _varint(data, place)
        kind, start = key & 7, place
        if kind == 0:
            _, place = _varint(data, place)
        elif kind == 1:
            place += 8
        elif kind == 2:
            size, start = _varint(data, place)
            place = start + size
        elif kind == 5:
            place += 4
        else:
            raise ValueError(f"not a protocol buffer message (wire type {kind})")
        if place > end:
            raise ValueError("a protocol buffer message that ends too early")
        yield key >> 3, data[start:place]


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise ValueError("a protocol buffer message that ends too early")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
