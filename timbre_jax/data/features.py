"""Features of a whole split, analyzed once and kept beside the store.

    STORE/features/NAME-DIGEST/index.json            the representation's settings
    STORE/features/NAME-DIGEST/SPLIT.features.json   written last: the split is whole
    STORE/features/NAME-DIGEST/SPLIT-00000-of-00002.features
    STORE/features/NAME-DIGEST/SPLIT.ranges.json     smallest and largest values, once somebody has asked for them

The digest is of the representation's settings (without those of its way back to sound) and of the store's content, so another
setting is another folder. Values are kept as 16-bit steps between the smallest and largest of each record: an error under 1e-5
of the range.
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
from timbre_jax.data.fixed_records import CHECK, FixedReader, FixedWriter, count_fixed
from timbre_jax.data.store import JoinedStore, Store, StoredSounds, StoreError
from timbre_jax.files import locked, write_text
from timbre_jax.representations import Representation, representation_settings
from timbre_jax.types import Features

VERSION = 1
SHARD = 1024  # records a file: what an interrupted run loses at most
BATCH = 64
MAX_SAMPLES = 64 * 64_000  # analyzed at once: 64 notes of 4 s, 2 sounds of 40 s at 48 kHz


def cached_features(
    store: Store | JoinedStore,
    split: str,
    representation: Representation,
    *,
    batch_size: int = BATCH,
    directory: str | os.PathLike | None = None,
    progress: bool = True,
) -> FeatureSource | JoinedFeatures:
    """Features of a split: analyzed on the first call, read from disk after that. Interrupted, it goes on.

    Args:
      store: the sounds; `representation.sample_rate` has to be the store's. Sounds are padded or cut to the representation's
        `length` where it has one, to the store's where it has none, and their real lengths decide the masks.
      batch_size: sounds analyzed at once; fewer where they are so long that memory would not do (`MAX_SAMPLES`).
      directory: where to keep them; None means STORE/features.
      progress: show a bar while analyzing.

    Raises:
      ValueError: another sample rate, features that are not finite, or a place that cannot be written.
    """
    check_store(store, split, representation)
    if isinstance(store, JoinedStore):
        settings = {"batch_size": batch_size, "directory": directory, "progress": progress}
        return JoinedFeatures([
            (offset, cached_features(part, split, representation, **settings))
            for offset, part in zip(store.offsets, store.stores, strict=True) if split in part.splits
        ])  # fmt: skip
    folder = features_folder(store, representation, directory)
    whole = folder / f"{split}.features.json"
    if not whole.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / ".lock", wait=True):
                if not whole.is_file():  # else another process has made it meanwhile
                    _analyze(store, split, representation, folder, batch_size=batch_size, progress=progress)
        except OSError as error:
            raise ValueError(
                f"{folder}: features cannot be written ({error.strerror or error}); make room, or name another directory"
            ) from None
    layout = json.loads(whole.read_text(encoding="utf-8"))
    return FeatureSource(folder, layout, store.metadata(split, ("index",))["index"].astype(np.int32))


def check_store(store: StoredSounds, split: str, representation: Representation) -> None:
    """Raises a ValueError if a store has another sample rate than a representation, or no sounds in a split."""
    if representation.sample_rate != store.sample_rate:
        raise ValueError(
            f"the representation is for {representation.sample_rate} Hz, {store.paths} has {store.sample_rate} Hz: set its "
            "sample_rate, or make the store again"
        )
    if split not in store.splits:
        raise StoreError(f"{store.paths}: no sounds of a split {split!r}; there are {', '.join(store.splits)}")


def features_folder(store: Store, representation: Representation, directory: str | os.PathLike | None = None) -> Path:
    """Where the features of a store by a representation belong, whether they are there or not."""
    settings = representation.analysis_settings()
    # A representation that comes to analyze differently under the same settings raises its `version`.
    version = [VERSION, representation.version]
    identity = json.dumps([version, representation.name, settings, store.index["fingerprint"]], sort_keys=True)
    name = f"{representation.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    return (store.path / "features" if directory is None else Path(directory)) / name


def _analyze(store, split, representation, folder, *, batch_size, progress) -> None:
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
        entry.unlink()  # files that a killed run was writing
    files = []
    with tqdm(total=total, unit=" sounds", desc=f"features of {split}", disable=not progress) as bar:
        for number in range(count):
            start, stop = number * SHARD, min(total, (number + 1) * SHARD)
            path = folder / _file_name(split, number, count)
            files.append({"file": path.name, "count": stop - start})
            shapes = folder / f"{path.name}.shapes"  # written first, so it belongs to a file that is whole
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
                    writer.write(_pack(features, row))
                bar.update(len(positions))
            write_text(shapes, json.dumps(_shapes(features)), sync=True)
            writer.close()
    write_text(folder / f"{split}.features.json", json.dumps({**layout, "shards": files}, indent=1) + "\n", sync=True)
    for entry in files:
        (folder / f"{entry['file']}.shapes").unlink(missing_ok=True)


def _file_name(split: str, number: int, count: int) -> str:
    return f"{split}-{number:05d}-of-{count:05d}.features"


def _record_bytes(layout: dict[str, Any]) -> int:
    """Of a record: ends, steps, mask, conditions."""
    frames, width = layout["shape"]
    numbers = sum(int(np.prod(shape, dtype=np.int64)) for shape in layout["conditions"].values())
    return 8 + 2 * frames * width + frames + 4 * numbers


def sounds_at_once(store: StoredSounds, representation: Representation, batch_size: int = BATCH) -> int:
    """Returns how many sounds are analyzed at once: `batch_size`, or fewer if they are long (`MAX_SAMPLES`)."""
    return max(1, min(batch_size, MAX_SAMPLES // (representation.length or store.samples)))


def analyze_sounds(
    store: StoredSounds, split: str, positions: Positions, representation: Representation, batch_size: int
) -> Features:
    """Features of up to `batch_size` sounds, as numpy arrays; filled up to it, so that the analysis is compiled once.

    Raises:
      ValueError: the features of a sound are not finite.
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
        raise ValueError(f"{store.paths}: the features of {name} are not finite; leave the sound out or report it")
    return features


def _shapes(features: Features) -> dict[str, Any]:
    return {
        "shape": list(features.values.shape[1:]),
        "conditions": {name: list(value.shape[1:]) for name, value in sorted(features.conditions.items())},
    }


def _pack(features: Features, row: int) -> bytes:
    values = features.values[row]
    low, high = float(values.min()), float(values.max())
    steps = np.rint((values - low) / max(high - low, 1e-30) * 65535).astype("<u2")
    parts = [np.array([low, high], "<f4"), steps, np.rint(features.mask[row] * 255).astype(np.uint8)]
    parts += [np.asarray(features.conditions[name][row], "<f4") for name in sorted(features.conditions)]
    return b"".join(part.tobytes() for part in parts)


class FeatureExamples(ExampleSource):
    """Features of a split.

    Attributes:
      shape: (N, F).
      index: [n] int32, the sounds' numbers in the store.
      rate: frames a second.
    """

    shape: tuple[int, int]
    index: np.ndarray
    rate: float

    def __len__(self) -> int:
        return len(self.index)

    def read(self, positions: Positions | None = None) -> Features:
        """Features at some positions, or of the whole split, as numpy arrays: values [n, N, F], mask [n, N]."""
        arrays = read_all(self, positions)
        del arrays["index"]
        return Features(values=arrays.pop("values"), mask=arrays.pop("mask"), conditions=arrays, rate=self.rate)


class FeatureSource(FeatureExamples):
    """Features of a split on disk, for grain and for reading at once.

    len() and [i] -> {"values": [N, F] float32, "mask": [N] float32, "index": int32, and the conditions by name}.
    """

    def __init__(self, folder: Path, layout: dict[str, Any], index: np.ndarray):
        self._ranges_file = folder / f"{layout['split']}.ranges.json"
        if layout["count"] != len(index):
            raise StoreError(f"{folder}: {layout['count']} features for {len(index)} sounds; delete the folder")
        self.folder, self.index, self.rate = folder, index, layout["rate"]
        self.shape = tuple(layout["shape"])
        self._conditions = {name: tuple(shape) for name, shape in layout["conditions"].items()}
        self._record_bytes = _record_bytes(layout)
        self._files = [shard["file"] for shard in layout["shards"]]
        self._edges = np.cumsum([0] + [shard["count"] for shard in layout["shards"]])
        self._readers: dict[int, Any] = {}

    def _raw(self, positions: np.ndarray) -> np.ndarray:
        raw = np.empty((len(positions), self._record_bytes + CHECK), np.uint8)
        shards = np.searchsorted(self._edges, positions, side="right") - 1
        places = positions - self._edges[shards]
        for row, shard, place in zip(raw, shards.tolist(), places.tolist(), strict=True):
            try:
                if shard not in self._readers:
                    self._readers[shard] = FixedReader(self.folder / self._files[shard], self._record_bytes)
                self._readers[shard].read(place, row)
            except (FileNotFoundError, ValueError) as error:
                what = "is missing" if isinstance(error, OSError) else f"damaged or cut short ({error})"
                raise StoreError(
                    f"{self.folder / self._files[shard]}: {what}; delete {self.folder} to have the features made again"
                ) from None
        return raw

    def batch(self, positions: Positions) -> Example:
        """What [i] says of several positions at once, [n, ...] each: the quick way, which the pipeline takes."""
        positions = self._checked(positions)
        (frames, width), count = self.shape, len(positions)
        raw = self._raw(positions)
        ends = np.ascontiguousarray(raw[:, :8]).view("<f4")
        steps = np.ascontiguousarray(raw[:, 8 : 8 + 2 * frames * width]).view("<u2").reshape(count, frames, width)
        values = steps.astype(np.float32)
        values *= ((ends[:, 1] - ends[:, 0]) / 65535)[:, None, None]
        values += ends[:, 0, None, None]
        place = 8 + 2 * frames * width
        mask = raw[:, place : place + frames].astype(np.float32) / np.float32(255)
        result = {"values": values, "mask": mask, "index": self.index[positions]}
        place += frames
        for name, shape in self._conditions.items():
            size = 4 * int(np.prod(shape, dtype=np.int64))
            numbers = np.ascontiguousarray(raw[:, place : place + size]).view("<f4")
            result[name] = numbers.reshape(count, *shape).astype(np.float32)
            place += size
        return result

    def ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and largest value of each feature over the split, float32 [F] each.

        Read once in all and kept beside the features, where they can be written: a pass over NSynth takes 10 s.
        """
        if self._ranges_file.is_file():
            with contextlib.suppress(ValueError, KeyError):  # not whole: read anew
                kept = json.loads(self._ranges_file.read_text(encoding="utf-8"))
                low, high = (np.array(kept[name], np.float32) for name in ("low", "high"))
                if low.shape == high.shape == self.shape[1:]:
                    return low, high
        low, high = super().ranges()
        with contextlib.suppress(OSError), locked(self.folder / ".lock", wait=True):
            write_text(self._ranges_file, json.dumps({"low": low.tolist(), "high": high.tolist()}) + "\n", sync=True)
        return low, high


class JoinedFeatures(FeatureExamples):
    """Features of one split of several stores, one after another; as `FeatureSource`, `index` counting on."""

    def __init__(self, parts: Sequence[tuple[int, FeatureSource]]):
        self._parts = [part for _, part in parts]
        if len({(part.shape, part.rate) for part in self._parts}) != 1:
            raise ValueError("features of different shapes cannot be joined")
        self.shape, self.rate = self._parts[0].shape, self._parts[0].rate
        self.index = np.concatenate([part.index + np.int32(offset) for offset, part in parts])
        self._edges = np.cumsum([0] + [len(part) for part in self._parts])

    def batch(self, positions: Positions) -> Example:
        """As `FeatureSource.batch`."""
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
        """As `FeatureSource.ranges`."""
        lows, highs = zip(*(part.ranges() for part in self._parts), strict=True)
        return np.minimum.reduce(lows), np.maximum.reduce(highs)
