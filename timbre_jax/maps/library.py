"""Sounds of a library with their latents, names and classes, classes borrowed from another library, and a map of them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np

from timbre_jax.analysis.neighbors import SoundIndex, name_by_neighbors
from timbre_jax.data.features import VERSION
from timbre_jax.data.importers.class_rules import UNLABELLED
from timbre_jax.data.store import JoinedStore, Store, open_store
from timbre_jax.evaluation.runs import Run, choose_notes, feature_blocks
from timbre_jax.files import atomic_path
from timbre_jax.inference.batched import encode_features
from timbre_jax.maps.sound_map import SoundMap, space_digest

BORROW_FROM = 5
BLOCK = 512
KEPT_FROM = 1000
"""Latents of a split of so many sounds or more are kept."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Sounds of one split: their positions in it, ascending."""

    split: str
    positions: np.ndarray


@dataclasses.dataclass(frozen=True)
class Library:
    """M sounds of a store.

    Attributes:
      store: where they are.
      parts: which of each split, in order.
      latents: [M, D]. ids, classes, groups, splits: [M] str (groups: the instrument column).
      agreement: [M] where classes are borrowed: the share of labeled neighbors that agree; else None.
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
        """The folder's name of the store, or those of all stores that are joined."""
        return " + ".join(store.path.name for store in single_stores(self.store))

    @property
    def named(self) -> np.ndarray:
        """Which of the sounds have a class, [M] bool."""
        return self.classes != UNLABELLED

    def audio(self, row: int) -> np.ndarray:
        """The recorded wave [T] of a sound, without what pads it."""
        return self.waves([row])[0]

    def waves(self, rows: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """The recorded waves of some sounds, each [T] without what pads it."""
        edges = np.cumsum([0] + [len(part.positions) for part in self.parts])
        found = []
        for row in np.asarray(rows, np.int64).tolist():
            part = int(np.searchsorted(edges, row, side="right")) - 1
            split, position = self.parts[part].split, self.parts[part].positions[[row - edges[part]]]
            wave = self.store.audio(split, position)[0]
            found.append(wave[: int(self.store.lengths(split, position)[0])])
        return found


@dataclasses.dataclass(frozen=True)
class RunMap:
    """Map of a library in the space of a run.

    Attributes:
      run: the run whose space the latents are of.
      library: the M sounds on the map.
      sound_map: where they are placed, and the inverse.
    """

    run: Run
    library: Library
    sound_map: SoundMap

    @functools.cached_property
    def labels(self) -> list[dict]:
        """Names of regions (`cluster_names`) if classes are borrowed; none if every sound has its own class."""
        return [] if self.library.agreement is None else cluster_names(self.sound_map.coordinates, self.library.classes)


def single_stores(store: Store | JoinedStore) -> tuple[Store, ...]:
    """Returns the stores that a joined store consists of, or the one store."""
    return store.stores if isinstance(store, JoinedStore) else (store,)


def split_names(store: Store | JoinedStore, split: str) -> tuple[str, ...]:
    """The splits that a flag names: one, several with commas, or "all"."""
    return store.splits if split == "all" else tuple(split.split(","))


def read_library(
    run: Run, path: str, *, split: str = "train", number: int = 2000, seed: int = 0, progress: bool = True
) -> Library:
    """Sounds of one split, of several (with commas), or of "all", embedded in the run's space.

    Args:
      number: at most as many, even over the instruments (the groups of a library); 0: all.

    Raises:
      ValueError: another sample rate than the run's, no such split, no sounds. One line.
    """
    store = open_store(path)
    splits = split_names(store, split)
    parts: list[Part] = []
    for place, name in enumerate(splits):
        # What is left to take is shared out over the splits that are left, so that none is crowded out.
        taken = sum(len(part.positions) for part in parts)
        most = -(-(number - taken) // (len(splits) - place)) if number else 0
        if number and most <= 0:
            break
        parts.append(Part(name, choose_notes(store, name, number=most, seed=seed)))
    latents = np.concatenate([_latents(run, store, part, progress) for part in parts])
    finite = np.isfinite(latents).all(1)
    if not finite.all():
        raise ValueError(f"{path}: the run gives {np.count_nonzero(~finite)} of the {len(finite)} sounds no finite latents")

    def column(name: str) -> np.ndarray:
        return np.concatenate([store.metadata(part.split, (name,))[name][part.positions] for part in parts]).astype(np.str_)

    classes = column("family")
    return Library(
        store,
        tuple(parts),
        latents,
        column("id"),
        np.where(classes == "", UNLABELLED, classes),
        column("instrument"),
        np.concatenate([np.full(len(part.positions), part.split) for part in parts]),
    )


def _latents(run: Run, store: Store | JoinedStore, part: Part, progress: bool) -> np.ndarray:
    """Latents [M, D] of a part's sounds. Those of a whole split are kept in the run's folder: of 100,000 they take minutes."""
    from tqdm import tqdm

    fingerprints = [one.index["fingerprint"] for one in single_stores(store)]
    versions = f"{VERSION} {run.space.representation.version}"  # as features are kept by
    about = "\n".join([versions, space_digest(run.space), part.split, *fingerprints])
    file = run.workdir / "latents" / f"{part.split}-{hashlib.sha256(about.encode()).hexdigest()[:16]}.npy"
    whole = len(part.positions) == store.length(part.split)
    with contextlib.suppress(OSError, ValueError, EOFError):  # none, or damaged
        known = np.load(file, allow_pickle=False)
        if known.shape == (store.length(part.split), run.space.latent_size):
            return known[part.positions]
    blocks = feature_blocks(run, store, part.split, part.positions, size=BLOCK, progress=progress)
    count = -(-len(part.positions) // BLOCK)
    bar = tqdm(blocks, desc=f"latents of {part.split}", total=count, disable=not progress or count < 4, leave=False)
    latents = np.concatenate([np.asarray(encode_features(run.space, features).values, np.float32) for features in bar])
    if whole and len(latents) >= KEPT_FROM:
        with contextlib.suppress(OSError):  # somebody else's run, a full disk: then they are made again
            with atomic_path(file) as partial:
                np.save(partial, latents)
            for other in file.parent.glob(f"{part.split}-*.npy"):
                if other != file:  # of a space that the run has left behind, or of another store
                    other.unlink(missing_ok=True)
    return latents


def borrow_classes(run: Run, library: Library, labeled: Library) -> Library:
    """The library with the classes that its nearest sounds in a labeled one have, and the share of them that agrees.

    Nearest in the space's latents, counted in training deviations; 5 of them (fewer where there are fewer).

    Raises:
      ValueError: the other library has no labeled sound either.
    """
    named = labeled.named
    if not named.any():
        raise ValueError(f"{labeled.store}: no sound has a class, so there are no names to borrow")
    index = SoundIndex.of(run.space, labeled.latents[named])
    nearest = index.search(library.latents, k=min(BORROW_FROM, int(named.sum())))
    classes, agreement = name_by_neighbors(labeled.classes[named], nearest)
    return dataclasses.replace(library, classes=classes, agreement=agreement)


def cluster_names(coordinates: np.ndarray, classes: np.ndarray, *, clusters: int = 12, seed: int = 0) -> list[dict]:
    """Names for regions of a map: {"name", "x", "y", "count", "share"}, the class of most sounds and their share.

    Regions are those of k-means on the coordinates [M, 2], at most `clusters`, of five sounds on average at least.
    """
    from sklearn.cluster import KMeans

    distinct = len(np.unique(coordinates, axis=0))
    number = max(1, min(clusters, len(coordinates) // 5, distinct))
    if len(coordinates) == 0:
        return []
    member = KMeans(number, random_state=seed, n_init=4).fit_predict(np.asarray(coordinates, np.float64))
    found = []
    for cluster in range(number):
        rows = np.flatnonzero(member == cluster)
        names, counts = np.unique(classes[rows], return_counts=True)
        best = int(counts.argmax())
        of_class = rows[classes[rows] == names[best]]
        x, y = np.median(coordinates[of_class], axis=0).tolist()
        share = float(counts[best] / len(rows))
        found.append({"name": str(names[best]), "x": x, "y": y, "count": len(rows), "share": share})
    return found
