"""NSynth as tensorflow-datasets prepared it, read without TensorFlow and without tensorflow-datasets.

A prepared data set is a folder with `dataset_info.json`, `features.json`, label names and shards of serialised
`tf.train.Example`s, as TFRecord (the default) or array_record files; see `protobuf.py`. Every configuration of `nsynth` (full,
gansynth_subset, gansynth_subset.f0_and_loudness) has the features that are read here.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from timbre_jax.audio.io import AudioFileError
from timbre_jax.data.importers.base import FAMILIES, SAMPLES, SOURCES, SPLITS, Loaded, Record
from timbre_jax.data.importers.nsynth import LICENCE, Selection, select
from timbre_jax.data.importers.protobuf import read_example

_INFO = "dataset_info.json"


@dataclasses.dataclass(frozen=True)
class TfdsSource(Selection):
    """Notes of an NSynth that tensorflow-datasets prepared: `Selection`.

    `paths` are folders with dataset_info.json (such as ~/tensorflow_datasets/nsynth/full/2.3.3), or one above them that
    holds exactly one. The splits are those it was prepared with, unless a `split_file` says others.
    """

    def describe(self) -> dict[str, Any]:
        return {"kind": "tfds", "title": "NSynth (tensorflow-datasets)", "licence": LICENCE, **self.settings()}

    def plan(self) -> list[Record]:
        if not self.paths:
            raise ValueError("a prepared NSynth is needed with --path, such as ~/tensorflow_datasets/nsynth/full/2.3.3")
        records: list[Record] = []
        for path in self.paths:
            folder = find_prepared(path)
            names = {kind: _label_names(folder, kind) for kind in ("label", "family", "source")}
            for split, file in _shards(folder):
                for where, example in _examples(file):
                    records.append(_record(split, where, example, names))
        if not records:
            raise ValueError(f"{', '.join(self.paths)}: the prepared data set holds no notes")
        return select(records, self)

    def fetch(self, records: list[Record], wanted: Iterable[int]) -> Iterator[tuple[int, Any]]:
        for position in wanted:
            yield position, None

    def load(self, record: Record, payload: Any) -> Loaded:
        file, place, size = record.where
        audio = read_example(_read(file, place, size), ("audio",)).get("audio")
        if audio is None or not isinstance(audio, np.ndarray):
            raise AudioFileError(f"{record.id}: the example has no audio")
        # Where the feature was declared with whole numbers it holds 16-bit samples.
        wave = np.asarray(audio, np.float32) / (1.0 if audio.dtype.kind == "f" else 32768.0)
        if not np.isfinite(wave).all():
            raise AudioFileError(
                f"{record.id}: NaN or infinite in {np.count_nonzero(~np.isfinite(wave))} of {wave.size} samples"
            )
        remarks = () if len(wave) == SAMPLES else (f"{'cut' if len(wave) > SAMPLES else 'padded'} to 4 s",)
        return Loaded(wave[:SAMPLES].astype(np.float32), remarks=remarks)


def find_prepared(path: str) -> Path:
    """The folder with dataset_info.json: the path itself, or the only one under it. Raises ValueError."""
    if not os.path.isdir(path):
        raise ValueError(f"{path}: no such folder")
    if os.path.isfile(os.path.join(path, _INFO)):
        return Path(path)
    found = sorted(Path(path).glob(f"*/{_INFO}")) + sorted(Path(path).glob(f"*/*/{_INFO}"))
    found += sorted(Path(path).glob(f"*/*/*/{_INFO}"))
    if not found:
        raise ValueError(f"{path}: no {_INFO} in it; give the folder that tensorflow-datasets prepared")
    if len(found) > 1:
        raise ValueError(f"{path}: holds several data sets ({', '.join(str(f.parent) for f in found[:3])}); name one")
    return found[0].parent


def _shards(folder: Path) -> Iterator[tuple[str, Path]]:
    """(split, file) of all shards, train first."""
    try:
        info = json.loads((folder / _INFO).read_text(encoding="utf-8"))
        splits = {split["name"]: split for split in info["splits"]}
        counts = {name: len(split.get("shardLengths", [])) for name, split in splits.items()}
        kind, dataset = info.get("fileFormat", "tfrecord"), info.get("name", "nsynth")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / _INFO}: not readable ({type(error).__name__}: {error})") from None
    if kind not in ("tfrecord", "array_record"):
        raise ValueError(f"{folder}: prepared as {kind!r}; tfrecord and array_record are read")
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown:
        raise ValueError(f"{folder}: split {unknown[0]!r}; {', '.join(SPLITS)} are read")
    for split in (name for name in SPLITS if name in splits):
        template = splits[split].get("filepathTemplate") or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        for number in range(counts[split]):
            values = {
                "DATASET": dataset, "SPLIT": split, "FILEFORMAT": kind, "SHARD_INDEX": f"{number:05d}",
                "NUM_SHARDS": f"{counts[split]:05d}", "SHARD_X_OF_Y": f"{number:05d}-of-{counts[split]:05d}",
            }  # fmt: skip
            name = template
            for key, value in values.items():
                name = name.replace("{" + key + "}", value)
            if not (folder / name).is_file():
                raise ValueError(f"{folder / name}: is missing; prepare the data set again")
            yield split, folder / name


def _label_names(folder: Path, kind: str) -> list[str]:
    """Class names of instrument/label, family or source, as tfds writes them beside the data."""
    file = folder / f"instrument-{kind}.labels.txt"
    if not file.is_file():
        return list(FAMILIES) if kind == "family" else list(SOURCES) if kind == "source" else []
    return file.read_text(encoding="utf-8").split("\n")


_WANTED = ("id", "pitch", "velocity", "instrument/label", "instrument/family", "instrument/source")


def _record(split: str, where: tuple, example: dict[str, Any], names: dict[str, list[str]]) -> Record:
    def number(name: str) -> int:
        value = example.get(name)
        return int(value[0]) if isinstance(value, np.ndarray) and len(value) else -1

    def named(kind: str) -> str:
        position = number(f"instrument/{kind}")
        return names[kind][position] if 0 <= position < len(names[kind]) else ""

    note = example.get("id", [b""])
    note = note[0].decode("utf-8", "replace") if isinstance(note, list) and note else ""
    instrument = named("label") or note.rsplit("-", 2)[0]
    if not note or not instrument or number("pitch") < 0:
        raise ValueError(f"{where[0]}: example {where[1]} has no id, instrument or pitch; this is not NSynth")
    return Record(
        id=note, split=split, instrument=instrument, family=named("family"), source=named("source"),
        pitch=number("pitch"), velocity=number("velocity"), preset="", where=where,
    )  # fmt: skip


# Shards. ---------------------------------------------------------------------------------------------------------------


def _examples(file: Path) -> Iterator[tuple[tuple[str, int, int], dict[str, Any]]]:
    """((file, place, size), what `_WANTED` names) of every example; of a TFRecord file the audio is not even read."""
    if ".array_record-" in file.name:
        from array_record.python.array_record_module import ArrayRecordReader

        reader = ArrayRecordReader(str(file), "readahead_buffer_size:0")
        for number in range(reader.num_records()):
            yield (str(file), number, -1), read_example(memoryview(reader.read([number])[0]), _WANTED)
        reader.close()
        return
    if file.stat().st_size == 0:
        return
    with open(file, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        place, end = 0, len(mapped)
        while place < end:
            if place + 12 > end:
                raise ValueError(f"{file}: cut short; prepare the data set again")
            head = mapped[place : place + 12]
            size, check = struct.unpack("<QI", head)
            if check != _masked_crc(head[:8]) or place + 16 + size > end:
                raise ValueError(f"{file}: broken or cut short at byte {place}; prepare the data set again")
            with memoryview(mapped) as view, view[place + 12 : place + 12 + size] as body:
                example = read_example(body, _WANTED)
            yield (str(file), place + 12, size), example
            place += 16 + size


def _read(file: str, place: int, size: int) -> memoryview:
    if size < 0:
        return memoryview(_array_reader(file).read([place])[0])
    with open(file, "rb") as handle:
        handle.seek(place)
        data = handle.read(size)
    if len(data) != size:
        raise AudioFileError(f"{file}: cut short")
    return memoryview(data)


@functools.lru_cache(maxsize=16)
def _array_reader(file: str):
    from array_record.python.array_record_module import ArrayRecordReader

    return ArrayRecordReader(file, "readahead_buffer_size:0")


@functools.cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


def _masked_crc(data: bytes) -> int:
    """TFRecord's check of a length: CRC-32C, rotated and offset."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
