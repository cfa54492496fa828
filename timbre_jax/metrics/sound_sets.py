"""Distances between sets of sounds by name (NDB, Fréchet, kernel), and the nearest sounds of a set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from timbre_jax.audio.io import resample
from timbre_jax.inference.batched import map_batches
from timbre_jax.metrics.bootstrap import Interval
from timbre_jax.metrics.knn import nearest_neighbors
from timbre_jax.metrics.ndb import THESIS_BINS, NdbResult, ndb, shrink
from timbre_jax.metrics.set_distances import frechet_distance, kernel_distance
from timbre_jax.metrics.sound_pairs import spectral_distances
from timbre_jax.representations.log_mel import LOG_MEL_PRESETS

SET_METRICS = ("ndb", "frechet", "kernel")


@dataclasses.dataclass(frozen=True)
class SoundSet:
    """Set of sounds in the form that the distances take.

    Attributes:
      points: [M, D] under the embedding.
      images: [M, 32, 16] log-mel spectrograms of the thesis, shrunk.
      groups: [M] of any kind: instrument or group of copies.
    """

    points: np.ndarray
    images: np.ndarray
    groups: np.ndarray

    def part(self, rows: np.ndarray) -> SoundSet:
        return SoundSet(self.points[rows], self.images[rows], self.groups[rows])


@dataclasses.dataclass(frozen=True)
class SetDistances:
    """Distances of a set to the reference set; None for metrics that were not chosen, or that need more sounds."""

    ndb: NdbResult | None = None
    frechet: float | None = None
    kernel: Interval | None = None


def small_spectrograms(waves: np.ndarray, sample_rate: int, *, batch_size: int = 32) -> np.ndarray:
    """Returns the thesis' log-mel spectrograms (16 kHz, 512/128, 128 mels) of waves [M, T], shrunk to [M, 32, 16]."""
    preset = LOG_MEL_PRESETS["rebnord2022"]

    def images(some: np.ndarray) -> np.ndarray:
        if sample_rate != preset.sample_rate:
            some = resample(some.T, sample_rate, preset.sample_rate).T
        # Fewer than 32 frames cannot be shrunk to 32: a shorter sound is followed by silence.
        some = np.pad(some, ((0, 0), (0, max(0, 32 * preset.hop - some.shape[1]))))
        front_end = dataclasses.replace(preset, length=some.shape[1], n_frames=0)
        return shrink(np.asarray(front_end.analyze(some).values))

    return map_batches(images, np.asarray(waves, np.float32), batch_size=batch_size)


def set_distances(
    reference: SoundSet, test: SoundSet, metrics: Sequence[str], *, k: int = THESIS_BINS, seed: int = 0
) -> SetDistances:
    """Returns the chosen of `SET_METRICS` of a set to a reference: NDB, Fréchet and kernel distance (Gaussian kernel).

    NDB needs k reference sounds, the others two of each set.
    """
    enough = min(len(reference.points), len(test.points)) >= 2
    return SetDistances(
        ndb(reference.images, test.images, k=k, seed=seed) if "ndb" in metrics and len(reference.images) >= k else None,
        frechet_distance(reference.points, test.points) if "frechet" in metrics and enough else None,
        kernel_distance(reference.points, test.points, groups_a=reference.groups, groups_b=test.groups)
        if "kernel" in metrics and enough
        else None,
    )


def two_halves(groups: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of two halves of a set, with whole groups and about as many items each."""
    names, ids, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-counts[order], kind="stable")]
    sizes, side = [0, 0], np.empty(len(names), np.int64)
    for group in order:
        side[group] = int(sizes[1] < sizes[0])
        sizes[side[group]] += counts[group]
    return np.flatnonzero(side[ids] == 0), np.flatnonzero(side[ids] == 1)


def unrelated(groups: np.ndarray, classes: np.ndarray | None = None, *, seed: int = 0) -> np.ndarray:
    """Returns for each sound a random one of another group (and class, where there are several): rows [M].

    Raises:
      ValueError: all sounds are of one group.
    """
    groups = np.asarray(groups)
    classes = groups if classes is None or len(np.unique(classes)) < 2 else np.asarray(classes)
    if len(np.unique(groups)) < 2:
        raise ValueError("unrelated pairs need sounds of at least two groups")
    generator = np.random.default_rng(seed)
    chosen = []
    for group, kind in zip(groups, classes, strict=True):
        others = np.flatnonzero((groups != group) & (classes != kind))
        chosen.append(generator.choice(others if len(others) else np.flatnonzero(groups != group)))
    return np.array(chosen)


def nearest_sounds(
    waves: np.ndarray,
    images: np.ndarray,
    known_images: np.ndarray,
    read: Callable[[np.ndarray], np.ndarray],
    *,
    lengths: np.ndarray | None = None,
    candidates: int = 8,
) -> np.ndarray:
    """Returns the known sound with the least log-spectral distance to each of waves [M, T]: rows [M].

    Args:
      images, known_images: small spectrograms of the waves and of the known sounds; the candidates are nearest by them.
      read: rows of known sounds to waves [n, T].
      lengths: [M] of the waves in samples, as `spectral_distances` takes them.
    """
    near = nearest_neighbors(_flat(known_images), _flat(images), k=min(candidates, len(known_images))).indices
    distances = np.stack(
        [spectral_distances(read(near[:, place]), waves, lengths=lengths) for place in range(near.shape[1])], axis=1
    )
    return near[np.arange(len(near)), distances.argmin(1)]


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)
