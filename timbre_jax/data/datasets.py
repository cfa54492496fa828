"""Opens the training data of a configuration: sources of features, their representation, classes and fitted ranges."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from timbre_jax.data.example_source import ExampleSource, Labeled, Rescaled, Subset, evenly_spaced, in_memory
from timbre_jax.data.features import cached_features
from timbre_jax.data.labels import class_labels, label_numbers
from timbre_jax.data.on_the_fly import AnalyzedSource
from timbre_jax.data.store import JoinedStore, Store, open_store
from timbre_jax.representations import make_representation
from timbre_jax.representations.base import Representation


@dataclasses.dataclass(frozen=True)
class Sources:
    """Training data of a run.

    Attributes:
      train, valid: examples.
      representation: their representation, with fitted ranges.
      fingerprint: differs between stores of different sounds.
      classes: kinds of label and the labels of each.
    """

    train: ExampleSource
    valid: ExampleSource
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
        fingerprints += [part.index["fingerprint"] for part in store.stores]
        positions = select_positions(store, split, tuple(data.families), data.max_examples if role == "train" else 0)
        if data.features == "cached":
            source = cached_features(store, split, representation, progress=progress)
        else:
            source = AnalyzedSource(store, split, representation)
        chosen[role] = source if len(positions) == len(source) else Subset(source, positions)
        if data.labels:
            columns = {name: column[positions] for name, column in store.metadata(split).items()}
            classes = classes or class_labels(columns, data.labels)
            chosen[role] = Labeled(chosen[role], {name: label_numbers(columns[name], words) for name, words in classes})
    train, valid = chosen["train"], chosen["valid"]
    if data.in_memory:
        train, valid = in_memory(train), in_memory(valid)
    fingerprint = " ".join(dict.fromkeys(fingerprints))
    if not config.representation.get("fit_ranges", False):
        return Sources(train, valid, representation, fingerprint, classes)
    fitted, low, high = fit_ranges(representation, train)
    return Sources(Rescaled(train, low, high), Rescaled(valid, low, high), fitted, fingerprint, classes)


def fit_ranges(representation: Representation, source: ExampleSource) -> tuple[Representation, np.ndarray, np.ndarray]:
    """Harmonic tracks with ranges that are the smallest and largest of a source: the paper's min-max scaling.

    Both scales are affine in the normalized values, so the features need not be made again.

    Returns:
      The representation with the fitted ranges, and the values [F] of the given one that become 0 and 1.

    Raises:
      ValueError: the representation has no such ranges, or the data are all one value.
    """
    if not representation.is_harmonic:
        raise ValueError(f"representation {representation.name!r} has no ranges to fit: set representation.fit_ranges=False")
    lows, highs = source.ranges()
    low = np.array([lows[0], lows[1:].min()], np.float64)
    high = np.array([highs[0], highs[1:].max()], np.float64)
    if not np.all(low < high):
        raise ValueError("cannot fit ranges: f0 or the amplitudes of the training set are all one value")
    ends = np.array([[[low[0], low[1]], [high[0], high[1]]]], np.float32)
    f0, amplitude = representation.denormalize(ends)
    fitted = dataclasses.replace(
        representation,
        f0_range=(float(f0[0, 0]), float(f0[0, 1])),
        amplitude_range=(float(amplitude[0, 0, 0]), float(amplitude[0, 1, 0])),
    )
    rows = np.minimum(np.arange(representation.feature_shape[1]), 1)
    return fitted, low[rows].astype(np.float32), high[rows].astype(np.float32)


def select_positions(store: Store | JoinedStore, split: str, families: tuple[str, ...] = (), limit: int = 0) -> np.ndarray:
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
        positions = positions[evenly_spaced(len(positions), limit)]
    if len(positions) == 0:
        of = f" of the families {', '.join(families)}" if families else ""
        raise ValueError(f"split {split!r} has no sounds{of}")
    return positions
