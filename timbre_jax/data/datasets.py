"""From a configuration to what training reads: sources of features, and the representation they are of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from timbre_jax.data.labels import Labelled, class_labels, label_numbers
from timbre_jax.representations import make_representation
from timbre_jax.representations.base import Representation

Example = dict[str, np.ndarray]
"""{"values" [N, F], "mask" [N], "index" int32, and conditions by name}."""


class Source(Protocol):
    """Random access to examples. One that also has `batch(positions)` is read a batch at a time, which is quicker."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> Example: ...


class Subset:
    """Some positions of a source, in their order."""

    def __init__(self, source: Source, positions: Sequence[int] | np.ndarray):
        self._source, self._positions = source, np.asarray(positions, np.int64)

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, i: int) -> Example:
        return self._source[int(self._positions[i])]

    def batch(self, positions: Sequence[int] | np.ndarray) -> Example:
        return read(self._source, self._positions[np.asarray(positions, np.int64)])


class Rescaled:
    """Values moved from [low, high] to [0, 1], feature by feature, and clipped."""

    def __init__(self, source: Source, low: np.ndarray, high: np.ndarray):
        self._source = source
        self._low, self._scale = low.astype(np.float32), (1.0 / (high - low)).astype(np.float32)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, i: int) -> Example:
        return self._rescale(self._source[i])

    def batch(self, positions: Sequence[int] | np.ndarray) -> Example:
        return self._rescale(read(self._source, positions))

    def _rescale(self, example: Example) -> Example:
        values = np.clip((example["values"] - self._low) * self._scale, 0.0, 1.0)
        return {**example, "values": values}


class InMemory:
    """A source read once and kept."""

    def __init__(self, source: Source):
        self._count = len(source)
        self._arrays: Example = {}
        for batch, start in zip(batches(source, 256), range(0, self._count, 256), strict=True):
            for name, values in batch.items():
                if name not in self._arrays:
                    self._arrays[name] = np.empty((self._count, *values.shape[1:]), values.dtype)
                self._arrays[name][start : start + len(values)] = values

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i: int) -> Example:
        return {name: array[i] for name, array in self._arrays.items()}

    def batch(self, positions: Sequence[int] | np.ndarray) -> Example:
        return self[np.asarray(positions, np.int64)]


MEMORY = 4e9
"""Bytes: a set of features that is larger is read from the disk, where it was to be kept in memory."""


def in_memory(source: Source) -> Source:
    """The source read once and kept, or itself where it would take more than `MEMORY`: the examples are the same."""
    size = sum(value.nbytes for value in read(source, [0]).values()) * len(source)
    return InMemory(source) if size <= MEMORY else source


def read(source: Source, positions: Sequence[int] | np.ndarray) -> Example:
    """Examples at some positions, at least one, as one dict of [B, ...] arrays."""
    if hasattr(source, "batch"):
        return source.batch(np.asarray(positions, np.int64))
    examples = [source[int(i)] for i in positions]
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def batches(source: Source, batch_size: int, positions: Sequence[int] | None = None) -> Iterator[Example]:
    """Batches of a source in order; the last may be smaller."""
    positions = range(len(source)) if positions is None else positions
    for start in range(0, len(positions), batch_size):
        yield read(source, positions[start : start + batch_size])


def spread(total: int, count: int) -> Sequence[int] | np.ndarray:
    """`count` of `total` positions, evenly spread; all of them where there are no more, or `count` is 0."""
    return np.linspace(0, total - 1, count).round().astype(np.int64) if 0 < count < total else range(total)


@dataclasses.dataclass(frozen=True)
class Sources:
    """What a run reads, the representation that it is of, ranges fitted, what tells its sounds from others, and its classes."""

    train: Source
    valid: Source
    representation: Representation
    fingerprint: str = ""
    classes: tuple[tuple[str, tuple[str, ...]], ...] = ()


def base_representation(config: Any) -> Representation:
    """The configuration's representation, before any ranges are fitted."""
    return make_representation(**{k: v for k, v in config["representation"].items() if k != "fit_ranges"})


def open_sources(config: Any, *, progress: bool = True) -> Sources:
    """Features of the configuration's stores.

    `data.train_split` of the store and of all extra stores; `data.valid_split` of the store alone. An example's index is
    unique among all.

    Raises:
      ValueError: no store, or a split or family that is not there.
    """
    from timbre_jax.data.features import cached_features
    from timbre_jax.data.on_the_fly import AnalysedSource
    from timbre_jax.data.store import open_store

    data = config.data
    if not data.store:
        raise ValueError("config.data.store is empty: give --config.data.store=STORE, which experiments/prepare.py makes")
    representation = base_representation(config)
    chosen, fingerprints, classes, opened = {}, [], (), {}
    for role, split, path in (
        ("train", data.train_split, ",".join((data.store, *data.extra_stores))),
        ("valid", data.valid_split, data.store),
    ):
        if path not in opened:
            opened[path] = open_store(path)
        store = opened[path]
        if split not in store.splits:
            raise ValueError(f"config.data.{role}_split: {path} has no split {split!r}; it has {', '.join(store.splits)}")
        fingerprints += [part.index["fingerprint"] for part in getattr(store, "stores", (store,))]
        positions = chosen_positions(store, split, tuple(data.families), data.max_examples if role == "train" else 0)
        if data.features == "cached":
            source = cached_features(store, split, representation, progress=progress)
        else:
            source = AnalysedSource(store, split, representation)
        chosen[role] = source if len(positions) == len(source) else Subset(source, positions)
        if data.labels:
            columns = {name: column[positions] for name, column in store.metadata(split).items()}
            classes = classes or class_labels(columns, data.labels)
            chosen[role] = Labelled(chosen[role], {name: label_numbers(columns[name], words) for name, words in classes})
    train, valid = chosen["train"], chosen["valid"]
    if data.in_memory:
        train, valid = in_memory(train), in_memory(valid)
    fingerprint = " ".join(dict.fromkeys(fingerprints))
    if not config.representation.get("fit_ranges", False):
        return Sources(train, valid, representation, fingerprint, classes)
    fitted, low, high = fit_ranges(representation, train)
    return Sources(Rescaled(train, low, high), Rescaled(valid, low, high), fitted, fingerprint, classes)


def fit_ranges(representation: Representation, source: Source) -> tuple[Representation, np.ndarray, np.ndarray]:
    """Harmonic tracks with ranges that are the smallest and largest of a source: the paper's min-max scaling.

    Both scales are affine in the normalised values, so the features need not be made again.

    Returns:
      The representation with the fitted ranges, and the values [F] of the given one that become 0 and 1.

    Raises:
      ValueError: the representation has no such ranges, or the data are all one value.
    """
    if not representation.is_harmonic:
        raise ValueError(f"representation {representation.name!r} has no ranges to fit: set representation.fit_ranges=False")
    lows, highs = source.ranges() if hasattr(source, "ranges") else _ranges(source)
    low = np.array([lows[0], lows[1:].min()], np.float64)
    high = np.array([highs[0], highs[1:].max()], np.float64)
    if not np.all(low < high):
        raise ValueError("cannot fit ranges: f0 or the amplitudes of the training set are all one value")
    ends = np.array([[[low[0], low[1]], [high[0], high[1]]]], np.float32)
    f0, amplitude = representation.denormalise(ends)
    fitted = dataclasses.replace(
        representation,
        f0_range=(float(f0[0, 0]), float(f0[0, 1])),
        amplitude_range=(float(amplitude[0, 0, 0]), float(amplitude[0, 1, 0])),
    )
    rows = np.minimum(np.arange(representation.feature_shape[1]), 1)
    return fitted, low[rows].astype(np.float32), high[rows].astype(np.float32)


def _ranges(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and largest value of each feature, [F] each."""
    parts = [(values.min((0, 1)), values.max((0, 1))) for values in (batch["values"] for batch in batches(source, 256))]
    lows, highs = zip(*parts, strict=True)
    return np.minimum.reduce(lows), np.maximum.reduce(highs)


def chosen_positions(store: Any, split: str, families: tuple[str, ...] = (), limit: int = 0) -> np.ndarray:
    """Positions in a split of what a run takes from it: its families (() is all), at most `limit` (0 is all).

    Raises:
      ValueError: a family that the store does not have, or nothing left.
    """
    positions = np.arange(store.length(split))
    if families:
        column = store.metadata(split, ("family",))["family"]
        known = {family for name in store.splits for family in np.unique(store.metadata(name, ("family",))["family"]).tolist()}
        if unknown := sorted(set(families) - known):
            raise ValueError(f"config.data.families: there is no {unknown[0]!r}; there are {', '.join(sorted(known))}")
        positions = np.flatnonzero(np.isin(column, families))
    if 0 < limit < len(positions):
        # Spread over the whole, so that a small part has all instruments.
        positions = positions[spread(len(positions), limit)]
    if len(positions) == 0:
        of = f" of the families {', '.join(families)}" if families else ""
        raise ValueError(f"split {split!r} has no sounds{of}")
    return positions
