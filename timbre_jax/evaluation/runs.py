"""Trained runs, and notes of stores with features in the representation of a run."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np

from timbre_jax.checkpoint import load
from timbre_jax.data.datasets import select_positions
from timbre_jax.data.features import cached_features
from timbre_jax.data.store import JoinedStore, Store, open_store
from timbre_jax.documents import read_config
from timbre_jax.evaluation.sounds import Sounds
from timbre_jax.inference.pooled import held_space
from timbre_jax.metrics.reconstruction import COMMON_AMPLITUDE_RANGE, COMMON_F0_RANGE, common_features
from timbre_jax.representations import make_representation
from timbre_jax.representations.base import Representation
from timbre_jax.representations.harmonic_tracks import HarmonicTracks
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features

LABELS = ("id", "instrument", "family", "source", "pitch", "velocity")


@dataclasses.dataclass(frozen=True)
class Run:
    """Trained run with its best space and configuration.

    Attributes:
      name: name of the folder.
      workdir: path of the folder.
      space: best space of the run.
      config: resolved configuration of the run.
      model: name of the model in the registry.
      base: representation before its ranges were fitted to the training set; features are cached under it.
    """

    name: str
    workdir: Path
    space: TimbreSpace
    config: dict
    model: str
    base: Representation


def open_run(workdir: str | os.PathLike, *, hold: float | None = None, kind: str | None = None, why: str = "") -> Run:
    """Loads a trained run from its folder.

    Args:
      workdir: folder of the run.
      hold: seconds for which latents are held, to open a series space as a static one (`inference.pooled.held_space`). None
        keeps the space unchanged.
      kind: required kind of space, "static" or "series"; None: either.
      why: name of the program or mode that requires the kind, for the error.

    Raises:
      ValueError: the folder is not a run, has no complete checkpoint, or its space is of another kind.
    """
    workdir = Path(workdir)
    space = load(workdir)
    if kind is not None and space.kind != kind:
        latents = {"static": "one latent per sound", "series": "one latent per frame"}[space.kind]
        raise ValueError(f"{workdir}: {why or 'this'} needs a {kind} space (got a {space.kind} one, {latents})")
    if hold is not None:
        space = held_space(space, seconds=hold)
    document = read_config(workdir)
    config = document["config"]
    section = {key: value for key, value in config["representation"].items() if key != "fit_ranges"}
    return Run(workdir.resolve().name, workdir, space, config, document["model"]["name"], make_representation(**section))


def default_store(run: Run) -> str:
    """Returns the path of the store that the run was trained on.

    Raises:
      ValueError: the store is missing, or the run was trained on several stores.
    """
    store = run.config["data"]["store"]
    if "," in store:
        raise ValueError(f"{store}: the run {run.name} was trained on several stores; select one with --store=STORE")
    if not _is_store(store):
        raise ValueError(f"{store}: store of the run {run.name} is missing; give its path with --store=STORE")
    return store


def trained_on(run: Run, store: Store, split: str) -> bool:
    """Returns whether a run was trained on a split of a store, which is then not held-out.

    Args:
      run: the run.
      store: store of the notes.
      split: split of the notes.
    """
    if split != run.config["data"]["train_split"]:
        return False
    known = [Store.open(path).index["fingerprint"] for path in _training_stores(run) if _is_store(path)]
    return store.index["fingerprint"] in known


def _training_stores(run: Run) -> list[str]:
    """Returns the paths of the stores that a run was trained on."""
    data = run.config["data"]
    return [path for stores in (data["store"], *data.get("extra_stores", ())) for path in stores.split(",")]


def _is_store(path: str) -> bool:
    """Returns whether a path is a complete store."""
    return (Path(path) / "index.json").is_file()


@dataclasses.dataclass(frozen=True)
class Notes(Sounds):
    """Sounds of a split of a store, with features in the representation of a run.

    Attributes:
      store: store of the sounds.
      split: name of the split.
      positions: [M] positions in the split.
    """

    store: Store | JoinedStore
    split: str
    positions: np.ndarray

    per_sound: ClassVar[tuple[str, ...]] = (*Sounds.per_sound, "positions")

    @property
    def varies(self) -> bool:
        """True if the sounds of the store have different lengths."""
        return self.store.variable

    def audio(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the waves [n, T] of some of the notes."""
        return self.store.audio(self.split, self.positions[np.asarray(rows, np.int64)])

    def lengths(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the lengths [n] of some of the notes in samples; their waves are padded."""
        return self.store.lengths(self.split, self.positions[np.asarray(rows, np.int64)])


def read_notes(
    run: Run,
    store: Store,
    split: str,
    *,
    number: int = 0,
    families: Sequence[str] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Notes:
    """Reads notes of a split, with features in the representation of a run.

    Args:
      run: run whose representation defines the features.
      store: store of the notes.
      split: name of the split.
      number: number of notes, evenly over instruments; 0: all.
      families: families to read; None for those that the run was trained on; empty for all.
      seed: random seed for the choice of notes.
      progress: whether to show a progress bar.

    Raises:
      ValueError: the store has no such split, or no notes of the families.
    """
    if families is None:
        families = tuple(run.config["data"].get("families") or ())
    chosen = choose_notes(store, split, number=number, families=families, seed=seed)
    return _read_positions(run, store, split, chosen, progress=progress)


def choose_notes(
    store: Store | JoinedStore, split: str, *, number: int = 0, families: Sequence[str] = (), seed: int = 0
) -> np.ndarray:
    """Chooses notes of a split evenly over instruments.

    Args:
      store: store of the notes.
      split: name of the split.
      number: number of notes, evenly over instruments; 0: all.
      families: families to choose from; empty: all.
      seed: random seed for the choice of notes.

    Returns:
      Positions in the split in ascending order.

    Raises:
      ValueError: the store has no such split, or no notes of the families.
    """
    if split not in store.splits:
        raise ValueError(f"{store}: no split {split!r}, expected one of {', '.join(store.splits)}")
    metadata = store.metadata(split, ("family", "instrument"))
    eligible = np.flatnonzero(np.isin(metadata["family"], list(families))) if families else np.arange(store.length(split))
    if len(eligible) == 0:
        raise ValueError(f"{store}: split {split!r} has no notes of the families {', '.join(families)}")
    return eligible[even_choice(metadata["instrument"][eligible], number, seed=seed)] if number else eligible


def training_store(run: Run) -> Store | JoinedStore:
    """Opens the store that a run was trained on; several stores are joined.

    Raises:
      ValueError: a store is missing.
    """
    for path in _training_stores(run):
        if not _is_store(path):
            raise ValueError(f"{path}: store of the run {run.name} is missing; make it again or move it there")
    return open_store(",".join(_training_stores(run)))


def training_notes(run: Run, *, number: int, progress: bool = True) -> Notes | None:
    """Reads notes that a run was trained on, from all of its stores.

    Args:
      run: the run.
      number: maximal number of notes, evenly over instruments.
      progress: whether to show a progress bar.

    Returns:
      The notes; None if a store of the run is missing.
    """
    data = run.config["data"]
    try:
        store, split = training_store(run), data["train_split"]
    except ValueError:
        return None
    seen = select_positions(store, split, tuple(data.get("families") or ()), data.get("max_examples", 0))
    chosen = seen[even_choice(store.metadata(split)["instrument"][seen], number)]
    return _read_positions(run, store, split, chosen, progress=progress)


def feature_blocks(
    run: Run, store: Store | JoinedStore, split: str, positions: np.ndarray, *, size: int = 512, progress: bool = True
) -> Iterator[Features]:
    """Yields features of sounds in blocks, so that their number is not limited by memory.

    Args:
      run: run whose representation defines the features.
      store: store of the sounds.
      split: name of the split.
      positions: positions of the sounds in the split.
      size: number of sounds in a block.
      progress: whether to show a progress bar.
    """
    base = _with_common_ranges(run.base)
    source = cached_features(store, split, base, progress=progress)
    for start in range(0, len(positions), size):
        yield convert_features(source.read(positions[start : start + size]), base, run.space.representation)


def _read_positions(run: Run, store: Store | JoinedStore, split: str, chosen: np.ndarray, *, progress: bool) -> Notes:
    """Reads the notes at the chosen positions of a split."""
    base, metadata = _with_common_ranges(run.base), store.metadata(split)
    raw = cached_features(store, split, base, progress=progress).read(chosen)
    labels = {name: metadata[name][chosen] for name in LABELS}
    return Notes(
        convert_features(raw, base, run.space.representation), common_features(base, raw), labels, store, split, chosen
    )


def even_choice(groups: np.ndarray, number: int, *, seed: int = 0) -> np.ndarray:
    """Chooses items evenly over groups.

    All groups contribute the same number of items, except groups that have fewer.

    Args:
      groups: [M] groups of the items, of any type.
      number: number of items, limited to M.
      seed: random seed for the choice within groups.

    Returns:
      Positions of the chosen items in ascending order.
    """
    _, ids = np.unique(np.asarray(groups), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(ids))
    by_group = order[np.argsort(ids[order], kind="stable")]
    counts = np.bincount(ids)
    rank_in_group, rank = np.empty(len(ids), np.int64), np.empty(len(ids), np.int64)
    rank_in_group[by_group] = np.arange(len(ids)) - np.repeat(np.cumsum(counts) - counts, counts)
    rank[order] = np.arange(len(ids))
    return np.sort(np.lexsort((rank, rank_in_group))[: min(number, len(ids))])


def convert_features(features: Features, base: Representation, representation: Representation) -> Features:
    """Converts features between representations that differ only in ranges and scale.

    Args:
      features: features in the representation `base`.
      base: representation of `features`.
      representation: representation of the result.
    """
    if base == representation:
        return features
    return dataclasses.replace(features, values=np.asarray(_renormalize(base, representation, np.asarray(features.values))))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _renormalize(base, representation, values):
    """Converts feature values between representations."""
    return representation.normalize(*base.denormalize(values))


def _with_common_ranges(base: Representation) -> Representation:
    """Widens the ranges of a harmonic representation to include those of the common scale."""
    if not isinstance(base, HarmonicTracks):
        return base

    def union(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
        return min(a[0], b[0]), max(a[1], b[1])

    f0, amplitude = union(COMMON_F0_RANGE, base.f0_range), union(COMMON_AMPLITUDE_RANGE, base.amplitude_range)
    return dataclasses.replace(base, f0_range=f0, amplitude_range=amplitude)
