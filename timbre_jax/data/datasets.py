"""Opens the training data that a configuration names."""

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
    """Training and validation data of a run.

    Attributes:
      train: training examples.
      valid: validation examples.
      representation: representation of the examples, with fitted ranges.
      fingerprint: identifies the sounds; different stores have different fingerprints.
      classes: pairs of a label's name and its classes.
    """

    train: ExampleSource
    valid: ExampleSource
    representation: Representation
    fingerprint: str = ""
    classes: tuple[tuple[str, tuple[str, ...]], ...] = ()


def base_representation(config: Any) -> Representation:
    """Returns the representation of a configuration, before any ranges are fitted."""
    return make_representation(**{k: v for k, v in config["representation"].items() if k != "fit_ranges"})


def open_sources(config: Any, *, progress: bool = True) -> Sources:
    """Opens the features of the stores that a configuration names.

    Training examples come from `data.train_split` of the store and of all extra stores, validation examples from
    `data.valid_split` of the store alone. The index of an example is unique across all of them.

    Args:
      config: configuration of a run; `representation` and `data` are read.
      progress: whether to show a progress bar while features are analyzed.

    Raises:
      ValueError: no store is named, or a split, family or label does not exist.
    """
    data = config.data
    if not data.store:
        raise ValueError(
            "config.data.store: empty; set --config.data.store=STORE, the folder that experiments/prepare.py wrote"
        )
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
            raise ValueError(
                f"config.data.{role}_split={split}: {path} has no such split (its splits are {', '.join(store.splits)})"
            )
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
    """Fits the ranges of harmonic tracks to the data (min-max scaling of Natsiou et al. 2023).

    Both scales are affine in the normalized values, so the features need not be analyzed again.

    Args:
      representation: harmonic tracks.
      source: examples to fit.

    Returns:
      The representation with fitted ranges, and the values [F] of the original features that map to 0 and to 1.

    Raises:
      ValueError: the representation has no ranges, or f0 or the amplitudes are constant.
    """
    if not representation.is_harmonic:
        raise ValueError(f"config.representation.fit_ranges: {representation.name!r} has no ranges; set it to False")
    lows, highs = source.ranges()
    low = np.array([lows[0], lows[1:].min()], np.float64)
    high = np.array([highs[0], highs[1:].max()], np.float64)
    if not np.all(low < high):
        raise ValueError(
            "config.representation.fit_ranges: f0 or the amplitudes of the training set are constant; set it to False"
        )
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
    """Returns the positions of the sounds that a run uses from a split.

    Args:
      store: one or several stores.
      split: name of the split.
      families: families to use; () means all.
      limit: largest number of sounds, evenly spaced over the split; 0 means all.

    Raises:
      ValueError: the store has no such family, or no sound is left.
    """
    positions = np.arange(store.length(split))
    if families:
        column = store.metadata(split, ("family",))["family"]
        known = {family for name in store.splits for family in np.unique(store.metadata(name, ("family",))["family"]).tolist()}
        if unknown := sorted(set(families) - known):
            raise ValueError(
                f"config.data.families: unknown family {unknown[0]!r} (the families are {', '.join(sorted(known))})"
            )
        positions = np.flatnonzero(np.isin(column, families))
    if 0 < limit < len(positions):
        # Evenly spaced, so that a small part contains all instruments.
        positions = positions[evenly_spaced(len(positions), limit)]
    if len(positions) == 0:
        of_families = f" of the families {', '.join(families)}" if families else ""
        raise ValueError(f"config.data: split {split!r} has no sounds{of_families}")
    return positions
