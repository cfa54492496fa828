"""Sound libraries with latents and classes, which may be borrowed from another library."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np

from timbre_jax.analysis.neighbors import SoundIndex, name_by_neighbors
from timbre_jax.data.features import VERSION
from timbre_jax.data.importers.class_rules import UNLABELED
from timbre_jax.data.store import JoinedStore, Store, open_store
from timbre_jax.evaluation.runs import Run, choose_notes, feature_blocks
from timbre_jax.files import atomic_path
from timbre_jax.inference.batched import encode_features
from timbre_jax.maps.sound_map import SoundMap, space_digest

BORROW_FROM = 5
"""Number of neighbors that vote on a borrowed class."""
BLOCK = 512
"""Number of sounds whose features are in memory at once."""
CACHED_FROM = 1000
"""Smallest number of sounds in a split whose latents are cached."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Sounds of one split, by their ascending positions in it."""

    split: str
    positions: np.ndarray


@dataclasses.dataclass(frozen=True)
class Library:
    """M sounds of a store with their latents.

    Attributes:
      store: store of the sounds.
      parts: positions of the sounds by split, in order.
      latents: [M, D].
      ids: names [M].
      classes: classes [M]; unlabeled sounds have the class "unlabeled".
      groups: instruments or groups of near-duplicates [M], the column `instrument` of the store.
      splits: splits [M].
      agreement: for borrowed classes the share [M] of labeled neighbors with that class; otherwise None.
    """

    store: Store | JoinedStore
    parts: tuple[Part, ...]
    latents: np.ndarray
    ids: np.ndarray
    classes: np.ndarray
    groups: np.ndarray
    splits: np.ndarray
    agreement: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.latents)

    @property
    def name(self) -> str:
        """Name of the folder of the store, or of all joined stores."""
        return " + ".join(store.path.name for store in single_stores(self.store))

    @property
    def named(self) -> np.ndarray:
        """Mask of the sounds that have a class, bool [M]."""
        return self.classes != UNLABELED

    def audio(self, row: int) -> np.ndarray:
        """Returns the recorded wave [T] of a sound without padding."""
        return self.waves([row])[0]

    def waves(self, rows: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """Returns the recorded waves [T] of sounds without padding."""
        edges = np.cumsum([0] + [len(part.positions) for part in self.parts])
        waves = []
        for row in np.asarray(rows, np.int64).tolist():
            part = int(np.searchsorted(edges, row, side="right")) - 1
            split, position = self.parts[part].split, self.parts[part].positions[[row - edges[part]]]
            wave = self.store.audio(split, position)[0]
            waves.append(wave[: int(self.store.lengths(split, position)[0])])
        return waves


@dataclasses.dataclass(frozen=True)
class RunMap:
    """Map of a library in the space of a run.

    Attributes:
      run: run with the space.
      library: M sounds on the map.
      sound_map: coordinates of the sounds and the inverse.
    """

    run: Run
    library: Library
    sound_map: SoundMap

    @functools.cached_property
    def labels(self) -> list[dict]:
        """Names of regions (`cluster_names`) for borrowed classes; otherwise none."""
        return [] if self.library.agreement is None else cluster_names(self.sound_map.coordinates, self.library.classes)


def single_stores(store: Store | JoinedStore) -> tuple[Store, ...]:
    """Returns the stores of a joined store, or the store itself."""
    return store.stores if isinstance(store, JoinedStore) else (store,)


def split_names(store: Store | JoinedStore, split: str) -> tuple[str, ...]:
    """Returns the splits of a flag: one, several separated by commas, or "all"."""
    return store.splits if split == "all" else tuple(split.split(","))


def share_evenly(number: int, sizes: Sequence[int]) -> list[int]:
    """Shares a number among groups: equally much for each, as far as groups are large enough.

    Args:
      number: the number to share; 0: all.
      sizes: sizes of the groups.

    Returns:
      The share of each group, at most its size.
    """
    shares, left = [0] * len(sizes), number or sum(sizes)
    # The smallest group first, because what it cannot take is shared among the others.
    for done, group in enumerate(sorted(range(len(sizes)), key=lambda group: sizes[group])):
        shares[group] = min(sizes[group], -(-left // (len(sizes) - done)))
        left -= shares[group]
    return shares


def read_library(
    run: Run, path: str, *, split: str = "train", number: int = 2000, seed: int = 0, progress: bool = True
) -> Library:
    """Reads sounds of a store and encodes them in the space of a run.

    Args:
      run: run with a static space, or a series space with held points.
      path: the store.
      split: one split, several separated by commas, or "all".
      number: largest number of sounds, even over splits and over the instruments of a split; 0: all.
      seed: random seed for the choice of sounds.
      progress: whether to show progress bars.

    Raises:
      ValueError: the store has another sample rate or lacks a split, or latents are not finite.
    """
    store = open_store(path)
    splits = split_names(store, split)
    shares = share_evenly(number, [store.length(name) for name in splits])
    parts = [
        Part(name, choose_notes(store, name, number=share, seed=seed))
        for name, share in zip(splits, shares, strict=True)
        if share
    ]
    latents = np.concatenate([_latents(run, store, part, progress) for part in parts])
    finite = np.isfinite(latents).all(1)
    if not finite.all():
        raise ValueError(
            f"{path}: latents of {np.count_nonzero(~finite)} of {len(finite)} sounds are not finite; train the run again"
        )

    def column(name: str) -> np.ndarray:
        return np.concatenate([store.metadata(part.split, (name,))[name][part.positions] for part in parts]).astype(np.str_)

    classes = column("family")
    return Library(
        store,
        tuple(parts),
        latents,
        column("id"),
        np.where(classes == "", UNLABELED, classes),
        column("instrument"),
        np.concatenate([np.full(len(part.positions), part.split) for part in parts]),
    )


def _latents(run: Run, store: Store | JoinedStore, part: Part, progress: bool) -> np.ndarray:
    """Returns the latents [M, D] of sounds; latents of a large split are cached in the run."""
    from tqdm import tqdm

    fingerprints = [one.index["fingerprint"] for one in single_stores(store)]
    versions = f"{VERSION} {run.space.representation.version}"  # the key of cached features
    identity = "\n".join([versions, space_digest(run.space), part.split, *fingerprints])
    file = run.workdir / "latents" / f"{part.split}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.npy"
    is_whole_split = len(part.positions) == store.length(part.split)
    with contextlib.suppress(OSError, ValueError, EOFError):  # missing or damaged
        cached = np.load(file, allow_pickle=False)
        if cached.shape == (store.length(part.split), run.space.latent_size):
            return cached[part.positions]
    blocks = feature_blocks(run, store, part.split, part.positions, size=BLOCK, progress=progress)
    count = -(-len(part.positions) // BLOCK)
    bar = tqdm(blocks, desc=f"latents of {part.split}", total=count, disable=not progress or count < 4, leave=False)
    latents = np.concatenate([np.asarray(encode_features(run.space, features).values, np.float32) for features in bar])
    if is_whole_split and len(latents) >= CACHED_FROM:
        with contextlib.suppress(OSError):  # a run without write access, or a full disk
            with atomic_path(file) as partial:
                np.save(partial, latents)
            for other in file.parent.glob(f"{part.split}-*.npy"):
                if other != file:  # of an earlier space of the run, or of another store
                    other.unlink(missing_ok=True)
    return latents


def borrow_classes(run: Run, library: Library, labeled: Library) -> Library:
    """Returns the library with the classes of its 5 nearest sounds in a labeled library.

    Args:
      run: run of both libraries.
      library: library without classes.
      labeled: library with classes; its unlabeled sounds are ignored.

    Raises:
      ValueError: the other library has no labeled sound.
    """
    named = labeled.named
    if not named.any():
        raise ValueError(f"{labeled.store}: has no labeled sounds; give a labeled store with --names_from")
    index = SoundIndex.of(run.space, labeled.latents[named])
    nearest = index.search(library.latents, k=min(BORROW_FROM, int(named.sum())))
    classes, agreement = name_by_neighbors(labeled.classes[named], nearest)
    return dataclasses.replace(library, classes=classes, agreement=agreement)


def cluster_names(coordinates: np.ndarray, classes: np.ndarray, *, clusters: int = 12, seed: int = 0) -> list[dict]:
    """Names regions of a map by their most frequent class.

    The regions are clusters of k-means with at least five sounds on average.

    Args:
      coordinates: [M, 2].
      classes: classes [M].
      clusters: largest number of regions.
      seed: random seed of k-means.

    Returns:
      {"name", "x", "y", "count", "share"} for each region, where `share` is the share of the class.
    """
    from sklearn.cluster import KMeans

    distinct = len(np.unique(coordinates, axis=0))
    number = max(1, min(clusters, len(coordinates) // 5, distinct))
    if len(coordinates) == 0:
        return []
    cluster_of = KMeans(number, random_state=seed, n_init=4).fit_predict(np.asarray(coordinates, np.float64))
    regions = []
    for cluster in range(number):
        rows = np.flatnonzero(cluster_of == cluster)
        names, counts = np.unique(classes[rows], return_counts=True)
        best = int(counts.argmax())
        of_class = rows[classes[rows] == names[best]]
        x, y = np.median(coordinates[of_class], axis=0).tolist()
        share = float(counts[best] / len(rows))
        regions.append({"name": str(names[best]), "x": x, "y": y, "count": len(rows), "share": share})
    return regions
