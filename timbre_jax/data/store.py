"""Folder of prepared sounds (store) that training, analysis and generation read.

    STORE/index.json                        format, sample rate, splits, source, settings, license, counts of the quality check
    STORE/records.csv                       one line per sound: split, position, id, instrument, family, source, pitch, ...
    STORE/SPLIT-00000-of-00004.array_record sounds, one record each: int16 little-endian samples
    STORE/doctor.csv, doctor.md             quality check: every sound that was read, whether it was kept, and why not

All sounds of a store are mono and have one sample rate. A record contains the samples of a sound without padding. Sounds are
read as [n, T] arrays, padded with zeros; `Store.lengths` returns their real lengths. In a store of fixed length T, longer
sounds were cut to T; in a `variable` store T is the length of the longest sound. In a store made from a sample library an
instrument is a group of copies of one sound, the family is its class, and pitch and velocity are -1.

Samples have 16 bits, as NSynth and SoundFont samples do: half the size of float32, with rounding noise (-98 dB) at the lower
end of the range of the features (-100 to 0 dB). `index.json` is written last: a folder without it is not a store.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from timbre_jax.data.array_records import open_records
from timbre_jax.data.example_source import Positions

FORMAT = "timbre_jax store"
VERSION = 2
COLUMNS = (
    "index", "split", "position", "shard", "row", "id", "instrument", "family", "source", "pitch", "velocity", "preset",
    "f0_hz", "pitch_moves", "remarks", "samples",
)  # fmt: skip
_INTEGERS = ("index", "position", "shard", "row", "pitch", "velocity", "pitch_moves", "samples")
_FLOATS = ("f0_hz",)
_ROWS = 8192  # lines of records.csv that are read at a time


class StoreError(ValueError):
    """Error of a folder that is not a usable store; the message is one line."""


def shard_name(split: str, number: int, count: int) -> str:
    """Returns the file name of a shard."""
    return f"{split}-{number:05d}-of-{count:05d}.array_record"


class StoredSounds:
    """Base class of `Store` and `JoinedStore`, which consist of `stores`.

    Subclasses define `samples`, `splits`, `length`, `metadata` and `audio`.
    """

    stores: tuple[Store, ...]

    @property
    def paths(self) -> str:
        """Paths of the stores, separated by commas."""
        return ",".join(str(store.path) for store in self.stores)

    def lengths(self, split: str, positions: Positions | None = None) -> np.ndarray:
        """Returns the real lengths in samples, [n] int32, at some positions of a split, or of all."""
        lengths = self.metadata(split, ("samples",))["samples"]
        return (lengths if positions is None else lengths[np.asarray(positions, np.int64).reshape(-1)]).astype(np.int32)

    def _checked(self, split: str, positions: Positions) -> np.ndarray:
        """Returns positions as int64 [n]. Raises IndexError if one is not in the split."""
        positions, count = np.asarray(positions, np.int64).reshape(-1), self.length(split)
        if len(positions) and not (positions.min() >= 0 and positions.max() < count):
            raise IndexError(
                f"positions {positions.min()} to {positions.max()}: out of range (split {split!r} has {count} sounds)"
            )
        return positions


class Store(StoredSounds):
    """Sounds on disk, with random access. Open one with `Store.open(path)`.

    Attributes:
      path: folder of the store.
      index: content of index.json.
      stores: the store itself, as the only part of a `JoinedStore`.
      offsets: (0,), as in a `JoinedStore`.
    """

    def __init__(self, path: Path, index: dict):
        self.path, self.index = path, index
        self.stores, self.offsets = (self,), (0,)
        self._readers: dict[str, object] = {}
        self._columns: dict[str, dict[str, np.ndarray]] = {}

    @classmethod
    def open(cls, path: str | os.PathLike) -> Store:
        """Opens a store.

        Args:
          path: folder of the store.

        Raises:
          StoreError: the folder does not exist, is unfinished, has another version, or lacks a file.
        """
        path = Path(path)
        file = path / "index.json"
        _raise_open_file_limit()
        if not path.is_dir():
            raise StoreError(f"{path}: no such store; make one with `python experiments/prepare.py --out={path}`")
        if not file.is_file():
            raise StoreError(
                f"{path}: not a finished store (no index.json); run experiments/prepare.py to make or to resume it"
            )
        try:
            index = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            raise StoreError(f"{file}: not readable as JSON; make the store again") from None
        if not isinstance(index, dict) or index.get("format") != FORMAT:
            raise StoreError(f"{file}: not the index of a store")
        if index.get("version") != VERSION:
            raise StoreError(
                f"{path}: unknown version of the store (got {index.get('version')}, expected {VERSION}); make it again"
            )
        for split in index["splits"].values():
            for shard in split["shards"]:
                if not (path / shard["file"]).is_file():
                    raise StoreError(f"{path}: {shard['file']} is missing; copy it again or make the store again")
        return cls(path, index)

    @property
    def sample_rate(self) -> int:
        """Sample rate in Hz."""
        return self.index["sample_rate"]

    @property
    def samples(self) -> int:
        """Length T in samples to which sounds are padded; if `variable`, that of the longest."""
        return self.index["samples"]

    @property
    def variable(self) -> bool:
        """True if sounds kept their own lengths instead of being cut or padded to one length."""
        return self.index.get("variable", False)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that contain sounds."""
        return tuple(name for name, split in self.index["splits"].items() if split["count"])

    def length(self, split: str) -> int:
        """Returns the number of sounds in a split."""
        return self._split(split)["count"]

    def _split(self, split: str) -> dict:
        """Returns the entry of a split in the index."""
        if split not in self.index["splits"]:
            raise StoreError(f"{self.path}: no split {split!r} (the splits are {', '.join(self.splits)})")
        return self.index["splits"][split]

    def metadata(self, split: str, columns: Sequence[str] = COLUMNS) -> dict[str, np.ndarray]:
        """Returns columns of records.csv for the sounds of a split.

        `index` is unique in the store. `f0_hz` is the pitch that the source states, or 0. `pitch_moves` is 1 if the source
        moves the pitch. `samples` is the length before padding.

        Args:
          split: name of the split.
          columns: columns to read; fewer take less time and memory (all columns of 300,000 notes take 190 MB).

        Returns:
          Columns by name, [n] int64, float64 or str, as in records.csv.
        """
        self._split(split)
        if missing := [name for name in columns if name not in self._columns]:
            self._columns |= self._read_columns(missing)
        return {name: self._columns[name].get(split, _typed_column(name, [])) for name in columns}

    def _read_columns(self, names: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
        """Reads columns of records.csv in pieces, as {column: {split: [n]}}.

        The whole text would take several times their memory.
        """
        file = self.path / "records.csv"
        pieces: dict[str, dict[str, list[np.ndarray]]] = {name: {} for name in names}
        with open(file, encoding="utf-8", newline="") as opened:
            reader = csv.reader(opened)
            if tuple(next(reader, ())) != COLUMNS:
                raise StoreError(f"{file}: its columns are not those of version {VERSION}; make the store again")
            while rows := list(itertools.islice(reader, _ROWS)):
                if any(len(row) != len(COLUMNS) for row in rows):
                    raise StoreError(f"{file}: a line does not have {len(COLUMNS)} columns; make the store again")
                splits = [row[1] for row in rows]
                for split in dict.fromkeys(splits):
                    here = [row for row, own in zip(rows, splits, strict=True) if own == split]
                    for name in names:
                        values = [row[COLUMNS.index(name)] for row in here]
                        pieces[name].setdefault(split, []).append(_typed_column(name, values))
        columns = {name: {split: np.concatenate(parts) for split, parts in of.items()} for name, of in pieces.items()}
        counts = {split: len(values) for split, values in columns[names[0]].items()}
        for split in {**self.index["splits"], **counts}:
            if counts.get(split, 0) != (expected := self._split(split)["count"]):
                raise StoreError(
                    f"{file}: wrong number of lines of {split} (got {counts.get(split, 0)}, expected {expected}); make the "
                    "store again"
                )
        return columns

    def audio(self, split: str, positions: Positions, *, samples: int | None = None) -> np.ndarray:
        """Returns the sounds at some positions of a split.

        Args:
          split: name of the split.
          positions: positions in the split.
          samples: T; None means that of the store.

        Returns:
          [n, T] float32 in [-1, 1), padded with zeros or cut to T.

        Raises:
          IndexError: a position is not in the split.
          StoreError: a file is damaged.
        """
        shards_of_split = self._split(split)["shards"]
        files = [shard["file"] for shard in shards_of_split]
        edges = np.cumsum([0] + [shard["count"] for shard in shards_of_split])
        samples = self.samples if samples is None else samples
        positions = self._checked(split, positions)
        result = np.zeros((len(positions), samples), np.int16)
        shards = np.searchsorted(edges, positions, side="right") - 1
        for shard in np.unique(shards).tolist():
            here = np.flatnonzero(shards == shard)
            try:
                raw = self._reader(files[shard]).read((positions[here] - edges[shard]).tolist())
            except (RuntimeError, IndexError, ValueError) as error:
                reason = " ".join(str(error).split())[:100]
                if "Too many open files" in str(error):
                    raise StoreError(
                        f"{self.path}: too many open files (one per shard); raise the limit with ulimit -n"
                    ) from None
                raise StoreError(
                    f"{self.path / files[shard]}: damaged or cut short ({reason}); copy it again or make the store again"
                ) from None
            for place, record in zip(here.tolist(), raw, strict=True):
                if not 0 < len(record) <= 2 * self.samples or len(record) % 2:
                    raise StoreError(f"{self.path / files[shard]}: a record has {len(record)} bytes; make the store again")
                sound = np.frombuffer(record, "<i2")[:samples]
                result[place, : len(sound)] = sound
        return result.astype(np.float32) * np.float32(1 / 32768)

    def _reader(self, file: str):
        """Returns the reader of a shard, which is opened once."""
        if file not in self._readers:
            self._readers[file] = open_records(self.path / file)
        return self._readers[file]

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {self.length(name)}" for name in self.splits)
        return f"Store({str(self.path)!r}: {counts})"


def _raise_open_file_limit() -> None:
    """Raises the limit of open files, usually 1,024; a large store and its features exceed it."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < limit:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _typed_column(name: str, values: Sequence[str]) -> np.ndarray:
    """Converts a column of text to an array of the column's type."""
    if name in _INTEGERS:
        return np.array(values, np.int64)
    if name in _FLOATS:
        return np.array(values, np.float64)
    return np.array(values, np.str_)


class JoinedStore(StoredSounds):
    """Several stores as one; a split consists of that split of each store, in order.

    Args:
      stores: stores of one sample rate.

    Attributes:
      stores: the parts, in order.
      offsets: number to add to the `index` of each part, so that it stays unique.
      sample_rate: sample rate in Hz.
      samples: longest T of the parts.
      variable: whether lengths differ, within a part or between parts.

    Raises:
      StoreError: the sample rates differ.
    """

    def __init__(self, stores: Sequence[Store]):
        self.stores = tuple(stores)
        for other in self.stores[1:]:
            if other.sample_rate != self.stores[0].sample_rate:
                raise StoreError(
                    f"{other.path}: cannot be joined (got {other.sample_rate} Hz, expected {self.stores[0].sample_rate} Hz as "
                    f"in {self.stores[0].path}); make one of them again with --sample_rate"
                )
        totals = [sum(store.length(split) for split in store.splits) for store in stores]
        self.offsets = tuple(int(total) for total in np.cumsum([0, *totals])[:-1])
        self.sample_rate, self.samples = stores[0].sample_rate, max(store.samples for store in stores)
        self.variable = any(store.variable or store.samples != self.samples for store in stores)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that contain sounds in any part."""
        return tuple(dict.fromkeys(split for store in self.stores for split in store.splits))

    def _parts(self, split: str) -> list[tuple[int, Store]]:
        """Returns the offsets and stores that have a split. Raises StoreError if there are none."""
        parts = [(o, store) for o, store in zip(self.offsets, self.stores, strict=True) if split in store.splits]
        if not parts:
            raise StoreError(f"{self.paths}: no split {split!r} (the splits are {', '.join(self.splits)})")
        return parts

    def length(self, split: str) -> int:
        """Returns the number of sounds in a split."""
        return sum(store.length(split) for _, store in self._parts(split))

    def metadata(self, split: str, columns: Sequence[str] = COLUMNS) -> dict[str, np.ndarray]:
        """Returns the same columns as `Store.metadata`.

        `index` and `position` are those of the joined store.
        """
        joined: dict[str, list[np.ndarray]] = {}
        before = 0
        for offset, store in self._parts(split):
            starts = {"index": offset, "position": before}
            for name, values in store.metadata(split, columns).items():
                joined.setdefault(name, []).append(values + starts[name] if name in starts else values)
            before += store.length(split)
        return {name: np.concatenate(values) for name, values in joined.items()}

    def audio(self, split: str, positions: Positions, *, samples: int | None = None) -> np.ndarray:
        """Returns the same sounds as `Store.audio`."""
        samples = self.samples if samples is None else samples
        positions = self._checked(split, positions)
        result, before = np.empty((len(positions), samples), np.float32), 0
        for _, store in self._parts(split):
            here = np.flatnonzero((positions >= before) & (positions < before + store.length(split)))
            result[here] = store.audio(split, positions[here] - before, samples=samples)
            before += store.length(split)
        return result

    def __repr__(self) -> str:
        return " + ".join(repr(store) for store in self.stores)


def open_store(paths: str | os.PathLike) -> Store | JoinedStore:
    """Opens one store, or several stores as a `JoinedStore`.

    Args:
      paths: folder of a store, or folders separated by commas.

    Raises:
      StoreError: as `Store.open`, or the sample rates differ.
    """
    stores = [Store.open(path) for path in os.fspath(paths).split(",")]
    return stores[0] if len(stores) == 1 else JoinedStore(stores)
