"""Trained runs, and sounds of a store in the features of a run."""

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
from timbre_jax.data.datasets import chosen_positions
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
    """Trained run.

    Attributes:
      name: the folder's name.
      workdir: the folder.
      space: its best space so far.
      config: as `experiments.train` resolved it.
      model: the model's name in the registry.
      base: the representation before any ranges were fitted to the training set; features are cached under it.
    """

    name: str
    workdir: Path
    space: TimbreSpace
    config: dict
    model: str
    base: Representation


def open_run(workdir: str | os.PathLike, *, hold: float | None = None, kind: str | None = None, why: str = "") -> Run:
    """Loads a run.

    Args:
      workdir: the folder.
      hold: seconds that a point is held, to return a series space as a static one (`inference.pooled.held_space`); None: the
        space as it is.
      kind: the kind of space that is needed, "static" or "series"; None: either.
      why: what needs it, for the error.

    Raises:
      ValueError: not a run, none of its checkpoints is complete, or the space is of another kind.
    """
    workdir = Path(workdir)
    space = load(workdir)
    if kind is not None and space.kind != kind:
        has = {"static": "one latent a sound", "series": "a latent a frame"}[space.kind]
        raise ValueError(f"{workdir} is a {space.kind} space ({has}); {why or 'this'} needs a {kind} one")
    if hold is not None:
        space = held_space(space, seconds=hold)
    document = read_config(workdir)
    config = document["config"]
    section = {key: value for key, value in config["representation"].items() if key != "fit_ranges"}
    return Run(workdir.resolve().name, workdir, space, config, document["model"]["name"], make_representation(**section))


def default_store(run: Run) -> str:
    """Returns the store that the run was trained on.

    Raises:
      ValueError: it is not where it was, or there are several.
    """
    store = run.config["data"]["store"]
    if "," in store:
        raise ValueError(f"the run was trained on several stores, {store}; say which to look at with --store=STORE")
    if not _is_store(store):
        raise ValueError(f"the store of the run, {store}, is not there; say where it is with --store=STORE")
    return store


def trained_on(run: Run, store: Store, split: str) -> bool:
    """Returns whether the run was trained on these very notes; then neither scores nor neighbors say anything of others."""
    if split != run.config["data"]["train_split"]:
        return False
    known = [Store.open(path).index["fingerprint"] for path in _training_stores(run) if _is_store(path)]
    return store.index["fingerprint"] in known


def _training_stores(run: Run) -> list[str]:
    data = run.config["data"]
    return [path for stores in (data["store"], *data.get("extra_stores", ())) for path in stores.split(",")]


def _is_store(path: str) -> bool:
    return (Path(path) / "index.json").is_file()


@dataclasses.dataclass(frozen=True)
class Notes(Sounds):
    """Sounds of a split, M notes or hits of a library, in the features of a run.

    Attributes:
      store: that holds them.
      split: of the store.
      positions: [M] in the split.
    """

    store: Store | JoinedStore
    split: str
    positions: np.ndarray

    per_sound: ClassVar[tuple[str, ...]] = (*Sounds.per_sound, "positions")

    @property
    def varies(self) -> bool:
        """Whether the sounds of the store have lengths of their own."""
        return self.store.variable

    def audio(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the recorded waves [n, T] of some of the notes."""
        return self.store.audio(self.split, self.positions[np.asarray(rows, np.int64)])

    def lengths(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the lengths of some of the notes in samples, [n] int32; padding follows in their waves."""
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
    """Reads notes of a split; `number` of them (0: all), even over the instruments.

    Args:
      families: only these; None: those that the run was trained on; empty: all.

    Raises:
      ValueError: the store has no such split, or it holds no notes of the run's families.
    """
    if families is None:
        families = tuple(run.config["data"].get("families") or ())
    chosen = choose_notes(store, split, number=number, families=families, seed=seed)
    return _notes(run, store, split, chosen, progress=progress)


def choose_notes(
    store: Store | JoinedStore, split: str, *, number: int = 0, families: Sequence[str] = (), seed: int = 0
) -> np.ndarray:
    """Chooses notes of a split: positions, ascending; `number` of them (0: all), even over the instruments.

    Raises:
      ValueError: the store has no such split, or it holds no notes of the families.
    """
    if split not in store.splits:
        raise ValueError(f"{store} has no split {split!r}; it has {', '.join(store.splits)}")
    metadata = store.metadata(split, ("family", "instrument"))
    eligible = np.flatnonzero(np.isin(metadata["family"], list(families))) if families else np.arange(store.length(split))
    if len(eligible) == 0:
        raise ValueError(f"split {split!r} of {store} has no notes of the families {', '.join(families)}")
    return eligible[even_choice(metadata["instrument"][eligible], number, seed=seed)] if number else eligible


def training_store(run: Run) -> Store | JoinedStore:
    """Returns the store, or the stores joined, that the run was trained on.

    Raises:
      ValueError: one of them is not where it was.
    """
    for path in _training_stores(run):
        if not _is_store(path):
            raise ValueError(f"the store of the run, {path}, is not there")
    return open_store(",".join(_training_stores(run)))


def training_notes(run: Run, *, number: int, progress: bool = True) -> Notes | None:
    """Reads at most `number` notes that the run was trained on, in all its stores, even over the instruments.

    Returns None if a store of the run is no longer there.
    """
    data = run.config["data"]
    try:
        store, split = training_store(run), data["train_split"]
    except ValueError:
        return None
    seen = chosen_positions(store, split, tuple(data.get("families") or ()), data.get("max_examples", 0))
    chosen = seen[even_choice(store.metadata(split)["instrument"][seen], number)]
    return _notes(run, store, split, chosen, progress=progress)


def feature_blocks(
    run: Run, store: Store | JoinedStore, split: str, positions: np.ndarray, *, size: int = 512, progress: bool = True
) -> Iterator[Features]:
    """Yields features of some sounds in the run's own representation, `size` at a time, so that any number fits the memory."""
    base = _wide(run.base)
    source = cached_features(store, split, base, progress=progress)
    for start in range(0, len(positions), size):
        yield as_seen(source.read(positions[start : start + size]), base, run.space.representation)


def _notes(run: Run, store: Store | JoinedStore, split: str, chosen: np.ndarray, *, progress: bool) -> Notes:
    base, metadata = _wide(run.base), store.metadata(split)
    raw = cached_features(store, split, base, progress=progress).read(chosen)
    labels = {name: metadata[name][chosen] for name in LABELS}
    return Notes(as_seen(raw, base, run.space.representation), common_features(base, raw), labels, store, split, chosen)


def even_choice(groups: np.ndarray, number: int, *, seed: int = 0) -> np.ndarray:
    """Chooses `number` items, equally many of every group that has enough, random within a group: positions, ascending."""
    _, ids = np.unique(np.asarray(groups), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(ids))
    by_group = order[np.argsort(ids[order], kind="stable")]
    counts = np.bincount(ids)
    turn, place = np.empty(len(ids), np.int64), np.empty(len(ids), np.int64)
    turn[by_group] = np.arange(len(ids)) - np.repeat(np.cumsum(counts) - counts, counts)
    place[order] = np.arange(len(ids))
    return np.sort(np.lexsort((place, turn))[: min(number, len(ids))])


def as_seen(features: Features, base: Representation, representation: Representation) -> Features:
    """Converts features of `base` to the units of a representation that differs from it by its ranges and scale only."""
    if base == representation:
        return features
    return dataclasses.replace(features, values=np.asarray(_changed(base, representation, np.asarray(features.values))))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _changed(base, representation, values):
    return representation.normalize(*base.denormalize(values))


def _wide(base: Representation) -> Representation:
    """Returns a harmonic representation whose ranges include its own and those of the common scale."""
    if not isinstance(base, HarmonicTracks):
        return base

    def union(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
        return min(a[0], b[0]), max(a[1], b[1])

    f0, amplitude = union(COMMON_F0_RANGE, base.f0_range), union(COMMON_AMPLITUDE_RANGE, base.amplitude_range)
    return dataclasses.replace(base, f0_range=f0, amplitude_range=amplitude)
