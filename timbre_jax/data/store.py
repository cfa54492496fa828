"""A store: sounds on disk as one set that every source is turned into and everything later reads.

    STORE/index.json                        format, sample rate, splits, source, settings, license, the doctor's counts
    STORE/records.csv                       one line a sound: split, place, id, instrument, family, source, pitch, samples, ...
    STORE/SPLIT-00000-of-00004.array_record the sounds, one record each: int16 little-endian samples
    STORE/doctor.csv, doctor.md             every sound that was looked at, kept or left out, and why

All sounds have one rate, which the source sets. A record holds a sound's real samples and no padding; sounds are read as
[n, T] with silence behind the shorter ones, and `Store.lengths` says where it begins. In a store of fixed length longer sounds
have been cut to T, in a `variable` one T is the longest sound. For a sample library (`sources.folder`) an instrument is a group
of copies of one sound, a family its class, and pitch and velocity are -1.

Sounds are 16-bit: that is what NSynth and SoundFont samples are, it is half of float32, and its rounding noise (-98 dB) lies
at the bottom of the -100..0 dB range of the features. `index.json` is written last: a folder without it is no store.
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
_ROWS = 8192  # of records.csv at a time


class StoreError(ValueError):
    """A folder that is no usable store; the message is one line."""


def shard_name(split: str, number: int, count: int) -> str:
    return f"{split}-{number:05d}-of-{count:05d}.array_record"


class StoredSounds:
    """What a store and joined stores share. Subclasses define `samples`, `splits`, `length`, `metadata` and `audio`."""

    stores: tuple[Store, ...]

    @property
    def paths(self) -> str:
        """Paths of the stores with commas between."""
        return ",".join(str(store.path) for store in self.stores)

    def lengths(self, split: str, positions: Positions | None = None) -> np.ndarray:
        """Real samples of the sounds at some positions of a split, or of all, [n] int32: what follows is padding."""
        lengths = self.metadata(split, ("samples",))["samples"]
        return (lengths if positions is None else lengths[np.asarray(positions, np.int64).reshape(-1)]).astype(np.int32)

    def _checked(self, split: str, positions: Positions) -> np.ndarray:
        """Returns positions as int64 [n]. Raises an IndexError for one outside the split."""
        positions, count = np.asarray(positions, np.int64).reshape(-1), self.length(split)
        if len(positions) and not (positions.min() >= 0 and positions.max() < count):
            raise IndexError(f"positions {positions.min()}..{positions.max()} of split {split!r}, which has {count}")
        return positions


class Store(StoredSounds):
    """A set of sounds on disk, read at random. `Store.open(path)`; nothing of the sounds is kept in memory.

    Attributes:
      path: the folder.
      index: what index.json says.
      stores, offsets: the store itself, as the only part of a `JoinedStore`.
    """

    def __init__(self, path: Path, index: dict):
        self.path, self.index = path, index
        self.stores, self.offsets = (self,), (0,)
        self._readers: dict[str, object] = {}
        self._columns: dict[str, dict[str, np.ndarray]] = {}

    @classmethod
    def open(cls, path: str | os.PathLike) -> Store:
        """Opens a store.

        Raises:
          StoreError: no folder, an unfinished one, of another version, or a file is missing.
        """
        path = Path(path)
        file = path / "index.json"
        _allow_open_files()
        if not path.is_dir():
            raise StoreError(f"{path}: no such store; make one with `python -m experiments.prepare --out={path}`")
        if not file.is_file():
            raise StoreError(
                f"{path}: no finished store (it has no index.json); experiments/prepare.py makes one, or goes on with it"
            )
        try:
            index = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            raise StoreError(f"{file}: not readable as JSON; make the store again") from None
        if not isinstance(index, dict) or index.get("format") != FORMAT:
            raise StoreError(f"{file}: this is not the index of a store")
        if index.get("version") != VERSION:
            raise StoreError(f"{path}: a store of version {index.get('version')}, version {VERSION} is read; make it again")
        for split in index["splits"].values():
            for shard in split["shards"]:
                if not (path / shard["file"]).is_file():
                    raise StoreError(f"{path}: {shard['file']} is missing; copy it again or make the store again")
        return cls(path, index)

    @property
    def sample_rate(self) -> int:
        return self.index["sample_rate"]

    @property
    def samples(self) -> int:
        """T: the length that every sound is padded to, in samples; the longest sound's where the store is `variable`."""
        return self.index["samples"]

    @property
    def variable(self) -> bool:
        """Whether sounds were kept in their own length (up to a limit) rather than cut or padded to one."""
        return self.index.get("variable", False)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that hold sounds."""
        return tuple(name for name, split in self.index["splits"].items() if split["count"])

    def length(self, split: str) -> int:
        """Sounds in a split."""
        return self._split(split)["count"]

    def _split(self, split: str) -> dict:
        if split not in self.index["splits"]:
            raise StoreError(f"{self.path}: no split {split!r}; there are {', '.join(self.splits)}")
        return self.index["splits"][split]

    def metadata(self, split: str, columns: Sequence[str] = COLUMNS) -> dict[str, np.ndarray]:
        """What is known of the sounds of a split: column -> [n] int64, float64 or str, as in records.csv.

        `index` is unique in the store; `f0_hz` is the source's own pitch (0 where it does not know it) and `pitch_moves`
        is 1 where the source moves it; `samples` is the length before any padding. With `columns` only those are read, which
        is quicker and smaller: all of 300,000 notes are 190 MB.
        """
        self._split(split)
        if missing := [name for name in columns if name not in self._columns]:
            self._columns |= self._read_columns(missing)
        return {name: self._columns[name].get(split, _column(name, [])) for name in columns}

    def _read_columns(self, names: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
        """{column: {split: [n]}} of records.csv, read piece by piece: as text it is several times as large."""
        file = self.path / "records.csv"
        pieces: dict[str, dict[str, list[np.ndarray]]] = {name: {} for name in names}
        with open(file, encoding="utf-8", newline="") as opened:
            reader = csv.reader(opened)
            if tuple(next(reader, ())) != COLUMNS:
                raise StoreError(f"{file}: not the columns that version {VERSION} has")
            while rows := list(itertools.islice(reader, _ROWS)):
                if any(len(row) != len(COLUMNS) for row in rows):
                    raise StoreError(f"{file}: a line has not {len(COLUMNS)} columns; make the store again")
                splits = [row[1] for row in rows]
                for split in dict.fromkeys(splits):
                    here = [row for row, own in zip(rows, splits, strict=True) if own == split]
                    for name in names:
                        values = [row[COLUMNS.index(name)] for row in here]
                        pieces[name].setdefault(split, []).append(_column(name, values))
        columns = {name: {split: np.concatenate(parts) for split, parts in of.items()} for name, of in pieces.items()}
        found = {split: len(values) for split, values in columns[names[0]].items()}
        for split in {**self.index["splits"], **found}:
            if found.get(split, 0) != self._split(split)["count"]:
                raise StoreError(f"{file}: {found.get(split, 0)} lines of {split}, the index says otherwise")
        return columns

    def audio(self, split: str, positions: Positions, *, samples: int | None = None) -> np.ndarray:
        """The sounds at some positions of a split, [n, T] float32 in [-1, 1), padded with 0 (or cut) to T.

        Args:
          samples: T; None means the store's.
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
                    raise StoreError(f"{self.path}: too many open files, for a store has one a shard; see ulimit -n") from None
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
        if file not in self._readers:
            self._readers[file] = open_records(self.path / file)
        return self._readers[file]

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {self.length(name)}" for name in self.splits)
        return f"Store({str(self.path)!r}: {counts})"


def _allow_open_files() -> None:
    """As many open files as the system lets a process have: a store of 300,000 notes is 600, and its features as many again,
    where 1,024 are usual unless asked."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _column(name: str, values: Sequence[str]) -> np.ndarray:
    if name in _INTEGERS:
        return np.array(values, np.int64)
    if name in _FLOATS:
        return np.array(values, np.float64)
    return np.array(values, np.str_)


class JoinedStore(StoredSounds):
    """Several stores as one: what `Store` offers, split by split one store after another.

    Attributes:
      stores: the parts, in order. offsets: what to add to a part's `index` so that it stays unique.
      sample_rate: the same in all. samples: the longest of theirs. variable: whether lengths differ, in one or between them.

    Raises StoreError where the sample rates differ.
    """

    def __init__(self, stores: Sequence[Store]):
        self.stores = tuple(stores)
        for other in self.stores[1:]:
            if other.sample_rate != self.stores[0].sample_rate:
                raise StoreError(
                    f"stores of different sample rates cannot be joined: {self.stores[0].path} has "
                    f"{self.stores[0].sample_rate} Hz, {other.path} {other.sample_rate} Hz; make one again with --sample_rate"
                )
        totals = [sum(store.length(split) for split in store.splits) for store in stores]
        self.offsets = tuple(int(total) for total in np.cumsum([0, *totals])[:-1])
        self.sample_rate, self.samples = stores[0].sample_rate, max(store.samples for store in stores)
        self.variable = any(store.variable or store.samples != self.samples for store in stores)

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(split for store in self.stores for split in store.splits))

    def _parts(self, split: str) -> list[tuple[int, Store]]:
        parts = [(o, store) for o, store in zip(self.offsets, self.stores, strict=True) if split in store.splits]
        if not parts:
            raise StoreError(f"{self}: no split {split!r}; there are {', '.join(self.splits)}")
        return parts

    def length(self, split: str) -> int:
        return sum(store.length(split) for _, store in self._parts(split))

    def metadata(self, split: str, columns: Sequence[str] = COLUMNS) -> dict[str, np.ndarray]:
        """As `Store.metadata`; `index` and `position` count on over the stores."""
        joined: dict[str, list[np.ndarray]] = {}
        before = 0
        for offset, store in self._parts(split):
            starts = {"index": offset, "position": before}
            for name, values in store.metadata(split, columns).items():
                joined.setdefault(name, []).append(values + starts[name] if name in starts else values)
            before += store.length(split)
        return {name: np.concatenate(values) for name, values in joined.items()}

    def audio(self, split: str, positions: Positions, *, samples: int | None = None) -> np.ndarray:
        """As `Store.audio`."""
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
    """Opens a store, or several, joined, where the path names them with commas between. Raises as `Store.open`."""
    stores = [Store.open(path) for path in os.fspath(paths).split(",")]
    return stores[0] if len(stores) == 1 else JoinedStore(stores)
