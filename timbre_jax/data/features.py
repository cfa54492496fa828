"""Analyzes each split once and caches its features in the folder of the store.

    STORE/features/NAME-DIGEST/index.json            settings of the representation
    STORE/features/NAME-DIGEST/SPLIT.features.json   layout of the files; written last, when the split is complete
    STORE/features/NAME-DIGEST/SPLIT-00000-of-00002.features
    STORE/features/NAME-DIGEST/SPLIT.ranges.json     smallest and largest values; written at their first use

DIGEST depends on the analysis settings of the representation (not on those of its synthesis) and on the content of the store,
so other settings use another folder. Values are stored in 16 bits between the smallest and the largest value of each record:
their error is below 1e-5 of that range.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from timbre_jax.data.example_source import Example, ExampleSource, Positions, read_all
from timbre_jax.data.fixed_records import CHECKSUM_BYTES, FixedReader, FixedWriter, count_fixed
from timbre_jax.data.store import JoinedStore, Store, StoredSounds, StoreError
from timbre_jax.files import locked, write_text
from timbre_jax.representations import Representation, representation_settings
from timbre_jax.types import Features

VERSION = 1
SHARD = 1024  # records per file; an interrupted run loses at most one file
BATCH = 64
MAX_SAMPLES = 64 * 64_000  # analyzed at once: 64 notes of 4 s at 16 kHz, or 2 sounds of 40 s at 48 kHz


def cached_features(
    store: Store | JoinedStore,
    split: str,
    representation: Representation,
    *,
    batch_size: int = BATCH,
    directory: str | os.PathLike | None = None,
    progress: bool = True,
) -> FeatureSource | JoinedFeatures:
    """Returns the features of a split, analyzed at the first call and then read from disk.

    An interrupted analysis resumes at the next call. Sounds are padded or cut to the representation's `length`, or to the
    length of the store if it has none; masks follow the real lengths.

    Args:
      store: one or several stores; their sample rate must be that of the representation.
      split: name of the split.
      representation: representation that analyzes the sounds.
      batch_size: number of sounds analyzed at once; reduced for long sounds (`MAX_SAMPLES`).
      directory: folder of the features; None means STORE/features.
      progress: whether to show a progress bar.

    Raises:
      ValueError: the sample rates differ, the split does not exist, features are not finite, or the folder is not writable.
    """
    check_store(store, split, representation)
    if isinstance(store, JoinedStore):
        settings = {"batch_size": batch_size, "directory": directory, "progress": progress}
        return JoinedFeatures([
            (offset, cached_features(part, split, representation, **settings))
            for offset, part in zip(store.offsets, store.stores, strict=True) if split in part.splits
        ])  # fmt: skip
    folder = features_folder(store, representation, directory)
    layout_file = folder / f"{split}.features.json"
    if not layout_file.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / ".lock", wait=True):
                if not layout_file.is_file():  # another process may have finished meanwhile
                    _analyze(store, split, representation, folder, batch_size=batch_size, progress=progress)
        except OSError as error:
            raise ValueError(
                f"{folder}: features cannot be written ({error.strerror or error}); free disk space or use another folder"
            ) from None
    layout = json.loads(layout_file.read_text(encoding="utf-8"))
    return FeatureSource(folder, layout, store.metadata(split, ("index",))["index"].astype(np.int32))


def check_store(store: StoredSounds, split: str, representation: Representation) -> None:
    """Raises a ValueError if a store lacks a split or has another sample rate."""
    if representation.sample_rate != store.sample_rate:
        raise ValueError(
            f"{store.paths}: wrong sample rate (got {store.sample_rate} Hz, expected {representation.sample_rate} Hz as in the "
            "representation); set config.representation.sample_rate or make the store again with --sample_rate"
        )
    if split not in store.splits:
        raise StoreError(f"{store.paths}: no split {split!r} (the splits are {', '.join(store.splits)})")


def features_folder(store: Store, representation: Representation, directory: str | os.PathLike | None = None) -> Path:
    """Returns the folder of the features of a store, whether or not it exists."""
    settings = representation.analysis_settings()
    # A representation raises its `version` when the results of its analysis change under the same settings.
    version = [VERSION, representation.version]
    identity = json.dumps([version, representation.name, settings, store.index["fingerprint"]], sort_keys=True)
    name = f"{representation.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    return (store.path / "features" if directory is None else Path(directory)) / name


def _analyze(store, split, representation, folder, *, batch_size, progress) -> None:
    """Analyzes a split and writes its features; files of an interrupted call are kept."""
    from tqdm import tqdm

    total = store.length(split)
    batch_size = sounds_at_once(store, representation, batch_size)
    count = -(-total // SHARD)
    layout: dict[str, Any] = {"split": split, "count": total, "rate": float(representation.rate)}
    write_text(
        folder / "index.json",
        json.dumps({"name": representation.name, "settings": representation_settings(representation)}, indent=1) + "\n",
        sync=True,
    )
    for entry in folder.glob(".*.tmp*"):
        entry.unlink()  # left by a killed run
    files = []
    with tqdm(total=total, unit=" sounds", desc=f"features of {split}", disable=not progress) as bar:
        for number in range(count):
            start, stop = number * SHARD, min(total, (number + 1) * SHARD)
            path = folder / _file_name(split, number, count)
            files.append({"file": path.name, "count": stop - start})
            shapes = folder / f"{path.name}.shapes"  # written before the file gets its name
            if shapes.is_file() and count_fixed(path, _record_bytes(json.loads(shapes.read_text()))) == stop - start:
                layout |= json.loads(shapes.read_text())
                bar.update(stop - start)
                continue
            writer = FixedWriter(path)
            for first in range(start, stop, batch_size):
                positions = range(first, min(first + batch_size, stop))
                features = analyze_sounds(store, split, positions, representation, batch_size)
                layout |= _shapes(features)
                for row in range(len(positions)):
                    writer.write(_pack_record(features, row))
                bar.update(len(positions))
            write_text(shapes, json.dumps(_shapes(features)), sync=True)
            writer.close()
    write_text(folder / f"{split}.features.json", json.dumps({**layout, "shards": files}, indent=1) + "\n", sync=True)
    for entry in files:
        (folder / f"{entry['file']}.shapes").unlink(missing_ok=True)


def _file_name(split: str, number: int, count: int) -> str:
    """Returns the name of a file of features."""
    return f"{split}-{number:05d}-of-{count:05d}.features"


def _record_bytes(layout: dict[str, Any]) -> int:
    """Returns the bytes of a record: range (8), values, mask and conditions."""
    frames, width = layout["shape"]
    numbers = sum(int(np.prod(shape, dtype=np.int64)) for shape in layout["conditions"].values())
    return 8 + 2 * frames * width + frames + 4 * numbers


def sounds_at_once(store: StoredSounds, representation: Representation, batch_size: int = BATCH) -> int:
    """Returns the number of sounds to analyze at once, at most `batch_size` and `MAX_SAMPLES`."""
    return max(1, min(batch_size, MAX_SAMPLES // (representation.length or store.samples)))


def analyze_sounds(
    store: StoredSounds, split: str, positions: Positions, representation: Representation, batch_size: int
) -> Features:
    """Returns the features of up to `batch_size` sounds as numpy arrays.

    Batches are filled up to `batch_size`, so that the analysis is compiled once.

    Raises:
      ValueError: features are not finite.
    """
    import jax

    samples, count = representation.length or store.samples, len(positions)
    waves, lengths = np.zeros((batch_size, samples), np.float32), np.full(batch_size, samples, np.int32)
    waves[:count] = store.audio(split, positions, samples=samples)
    lengths[:count] = np.minimum(store.lengths(split, positions), samples)
    features = jax.device_get(representation.analyze(waves, lengths))
    features = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32)[:count], features)
    finite = np.isfinite(features.values).all(axis=(1, 2))
    if not finite.all():
        name = store.metadata(split, ("id",))["id"][positions[int(np.argmin(finite))]]
        raise ValueError(f"{store.paths}: the features of sound {name} are not finite; remove the sound or report it")
    return features


def _shapes(features: Features) -> dict[str, Any]:
    """Returns the shapes of values and conditions of one sound, as JSON values."""
    return {
        "shape": list(features.values.shape[1:]),
        "conditions": {name: list(value.shape[1:]) for name, value in sorted(features.conditions.items())},
    }


def _pack_record(features: Features, row: int) -> bytes:
    """Returns the features of one sound as a record."""
    values = features.values[row]
    low, high = float(values.min()), float(values.max())
    steps = np.rint((values - low) / max(high - low, 1e-30) * 65535).astype("<u2")
    parts = [np.array([low, high], "<f4"), steps, np.rint(features.mask[row] * 255).astype(np.uint8)]
    parts += [np.asarray(features.conditions[name][row], "<f4") for name in sorted(features.conditions)]
    return b"".join(part.tobytes() for part in parts)


class FeatureExamples(ExampleSource):
    """Base class of sources of cached features.

    Attributes:
      shape: (N, F), frames and features of a sound.
      index: [n] int32, index of each sound in the store.
      rate: frames per second.
    """

    shape: tuple[int, int]
    index: np.ndarray
    rate: float

    def __len__(self) -> int:
        return len(self.index)

    def read(self, positions: Positions | None = None) -> Features:
        """Returns features [n, N, F] at some positions, or of the whole split, as numpy arrays."""
        arrays = read_all(self, positions)
        del arrays["index"]
        return Features(values=arrays.pop("values"), mask=arrays.pop("mask"), conditions=arrays, rate=self.rate)


class FeatureSource(FeatureExamples):
    """Features of a split on disk: "values", "mask", "index" and the conditions by name."""

    def __init__(self, folder: Path, layout: dict[str, Any], index: np.ndarray):
        self._ranges_file = folder / f"{layout['split']}.ranges.json"
        if layout["count"] != len(index):
            raise StoreError(
                f"{folder}: wrong number of features (got {layout['count']}, expected {len(index)}); delete the folder"
            )
        self.folder, self.index, self.rate = folder, index, layout["rate"]
        self.shape = tuple(layout["shape"])
        self._conditions = {name: tuple(shape) for name, shape in layout["conditions"].items()}
        self._record_bytes = _record_bytes(layout)
        self._files = [shard["file"] for shard in layout["shards"]]
        self._edges = np.cumsum([0] + [shard["count"] for shard in layout["shards"]])
        self._readers: dict[int, Any] = {}

    def _read_records(self, positions: np.ndarray) -> np.ndarray:
        """Returns the records at some positions, [n, bytes] uint8."""
        raw = np.empty((len(positions), self._record_bytes + CHECKSUM_BYTES), np.uint8)
        shards = np.searchsorted(self._edges, positions, side="right") - 1
        places = positions - self._edges[shards]
        for row, shard, place in zip(raw, shards.tolist(), places.tolist(), strict=True):
            try:
                if shard not in self._readers:
                    self._readers[shard] = FixedReader(self.folder / self._files[shard], self._record_bytes)
                self._readers[shard].read(place, row)
            except (FileNotFoundError, ValueError) as error:
                what = "missing" if isinstance(error, OSError) else f"damaged or cut short ({error})"
                raise StoreError(
                    f"{self.folder / self._files[shard]}: {what}; delete {self.folder} to analyze the sounds again"
                ) from None
        return raw

    def batch(self, positions: Positions) -> Example:
        """Returns "values", "mask", "index" and the conditions by name, [n, ...] each."""
        positions = self._checked(positions)
        (frames, width), count = self.shape, len(positions)
        raw = self._read_records(positions)
        ends = np.ascontiguousarray(raw[:, :8]).view("<f4")
        steps = np.ascontiguousarray(raw[:, 8 : 8 + 2 * frames * width]).view("<u2").reshape(count, frames, width)
        values = steps.astype(np.float32)
        values *= ((ends[:, 1] - ends[:, 0]) / 65535)[:, None, None]
        values += ends[:, 0, None, None]
        offset = 8 + 2 * frames * width
        mask = raw[:, offset : offset + frames].astype(np.float32) / np.float32(255)
        result = {"values": values, "mask": mask, "index": self.index[positions]}
        offset += frames
        for name, shape in self._conditions.items():
            size = 4 * int(np.prod(shape, dtype=np.int64))
            numbers = np.ascontiguousarray(raw[:, offset : offset + size]).view("<f4")
            result[name] = numbers.reshape(count, *shape).astype(np.float32)
            offset += size
        return result

    def ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the smallest and the largest value of each feature, float32 [F] each.

        They are stored with the features if the folder is writable, because a pass over NSynth takes 10 s.
        """
        if self._ranges_file.is_file():
            with contextlib.suppress(ValueError, KeyError):  # incomplete: computed again
                kept = json.loads(self._ranges_file.read_text(encoding="utf-8"))
                low, high = (np.array(kept[name], np.float32) for name in ("low", "high"))
                if low.shape == high.shape == self.shape[1:]:
                    return low, high
        low, high = super().ranges()
        with contextlib.suppress(OSError), locked(self.folder / ".lock", wait=True):
            write_text(self._ranges_file, json.dumps({"low": low.tolist(), "high": high.tolist()}) + "\n", sync=True)
        return low, high


class JoinedFeatures(FeatureExamples):
    """Features of one split of several stores; `index` is that of the joined store."""

    def __init__(self, parts: Sequence[tuple[int, FeatureSource]]):
        self._parts = [part for _, part in parts]
        if len({(part.shape, part.rate) for part in self._parts}) != 1:
            raise ValueError(
                "stores: their features differ in shape or frame rate and cannot be joined; make them again with equal settings"
            )
        self.shape, self.rate = self._parts[0].shape, self._parts[0].rate
        self.index = np.concatenate([part.index + np.int32(offset) for offset, part in parts])
        self._edges = np.cumsum([0] + [len(part) for part in self._parts])

    def batch(self, positions: Positions) -> Example:
        """Returns the same fields as `FeatureSource.batch`."""
        positions = self._checked(positions)
        which = np.searchsorted(self._edges, positions, side="right") - 1
        result: dict[str, np.ndarray] = {}
        for number, part in enumerate(self._parts):
            here = np.flatnonzero(which == number)
            if len(here) or not len(positions):
                for name, values in part.batch(positions[here] - self._edges[number]).items():
                    if name not in result:
                        result[name] = np.empty((len(positions), *values.shape[1:]), values.dtype)
                    result[name][here] = values
        return {**result, "index": self.index[positions]}

    def ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the same ranges as `FeatureSource.ranges`."""
        lows, highs = zip(*(part.ranges() for part in self._parts), strict=True)
        return np.minimum.reduce(lows), np.maximum.reduce(highs)
