"""Distances between sets of sounds (NDB, Fréchet, kernel), and nearest sounds in a set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from timbre_jax.audio.io import resample
from timbre_jax.inference.batched import map_batches
from timbre_jax.metrics.bootstrap import Interval
from timbre_jax.metrics.knn import nearest_neighbors
from timbre_jax.metrics.ndb import REBNORD_BINS, NdbResult, ndb, shrink
from timbre_jax.metrics.set_distances import frechet_distance, kernel_distance
from timbre_jax.metrics.sound_pairs import spectral_distances
from timbre_jax.representations.log_mel import LOG_MEL_PRESETS

SET_METRICS = ("ndb", "frechet", "kernel")


@dataclasses.dataclass(frozen=True)
class SoundSet:
    """Set of sounds as embedded points and small spectrograms.

    Attributes:
      points: [M, D] points under the embedding.
      images: [M, 32, 16] log-mel spectrograms (`small_spectrograms`).
      groups: [M] instruments or groups of near-duplicates, of any type.
    """

    points: np.ndarray
    images: np.ndarray
    groups: np.ndarray

    def part(self, rows: np.ndarray) -> SoundSet:
        """Returns the set of some of the sounds."""
        return SoundSet(self.points[rows], self.images[rows], self.groups[rows])


@dataclasses.dataclass(frozen=True)
class SetDistances:
    """Distances of a set to the reference set; None if not chosen or if sounds are too few.

    Attributes:
      ndb: number of different bins, with its chance value.
      frechet: Fréchet distance.
      kernel: kernel distance with its interval.
    """

    ndb: NdbResult | None = None
    frechet: float | None = None
    kernel: Interval | None = None


def small_spectrograms(waves: np.ndarray, sample_rate: int) -> np.ndarray:
    """Computes log-mel spectrograms as in Rebnord 2022, shrunk to 32 frames and 16 bands.

    Before shrinking, they have 128 bands at 16 kHz, with n_fft 512 and hop 128.

    Args:
      waves: [M, T] samples.
      sample_rate: sample rate in Hz.

    Returns:
      [M, 32, 16].
    """
    preset = LOG_MEL_PRESETS["rebnord2022"]

    def images(batch: np.ndarray) -> np.ndarray:
        batch = resample(batch.T, sample_rate, preset.sample_rate).T
        # Shrinking needs at least 32 frames, so short sounds are padded with silence.
        batch = np.pad(batch, ((0, 0), (0, max(0, 32 * preset.hop - batch.shape[1]))))
        front_end = dataclasses.replace(preset, length=batch.shape[1], n_frames=0)
        return shrink(np.asarray(front_end.analyze(batch).values))

    return map_batches(images, np.asarray(waves, np.float32), batch_size=32)


def set_distances(
    reference: SoundSet, test: SoundSet, metrics: Sequence[str], *, k: int = REBNORD_BINS, seed: int = 0
) -> SetDistances:
    """Computes the chosen distances of a set of sounds to a reference set.

    Args:
      reference: reference set, at least k sounds for NDB and two for the other metrics.
      test: compared set, at least two sounds for the Fréchet and the kernel distance.
      metrics: names of `SET_METRICS`.
      k: number of bins of NDB.
      seed: random seed of NDB.
    """
    enough = min(len(reference.points), len(test.points)) >= 2
    return SetDistances(
        ndb(reference.images, test.images, k=k, seed=seed) if "ndb" in metrics and len(reference.images) >= k else None,
        frechet_distance(reference.points, test.points) if "frechet" in metrics and enough else None,
        kernel_distance(reference.points, test.points, groups_a=reference.groups, groups_b=test.groups)
        if "kernel" in metrics and enough
        else None,
    )


def split_in_halves(groups: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Splits a set into two halves of whole groups, with about the same number of items.

    Args:
      groups: [M] groups of the sounds, of any type.
      seed: random seed of the order of groups of one size.

    Returns:
      Rows of both halves.
    """
    names, ids, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-counts[order], kind="stable")]
    sizes, side = [0, 0], np.empty(len(names), np.int64)
    for group in order:
        side[group] = int(sizes[1] < sizes[0])
        sizes[side[group]] += counts[group]
    return np.flatnonzero(side[ids] == 0), np.flatnonzero(side[ids] == 1)


def choose_unrelated(groups: np.ndarray, classes: np.ndarray | None = None, *, seed: int = 0) -> np.ndarray:
    """Chooses a random unrelated sound for each sound, of another group and class.

    If all sounds are of one class, only the group differs.

    Args:
      groups: [M] groups of the sounds, of any type.
      classes: [M] of any type; None: groups are classes.
      seed: random seed.

    Returns:
      [M] rows.

    Raises:
      ValueError: all sounds are of one group.
    """
    groups = np.asarray(groups)
    classes = groups if classes is None or len(np.unique(classes)) < 2 else np.asarray(classes)
    if len(np.unique(groups)) < 2:
        raise ValueError("groups: must have at least two groups for unrelated pairs (got 1)")
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
    """Finds the known sound with the smallest log-spectral distance to each wave.

    Args:
      waves: [M, T] samples.
      images: [M, 32, 16] small spectrograms of the waves.
      known_images: [P, 32, 16] small spectrograms of the known sounds; the nearest ones are candidates.
      read: function that returns the waves [n, T] of rows [n] of the known sounds.
      lengths: [M] in samples of the waves, as for `spectral_distances`.
      candidates: number of known sounds whose distance is measured for each wave.

    Returns:
      [M] rows of the known sounds.
    """
    near = nearest_neighbors(_flatten(known_images), _flatten(images), k=min(candidates, len(known_images))).indices
    distances = np.stack(
        [spectral_distances(read(near[:, place]), waves, lengths=lengths) for place in range(near.shape[1])], axis=1
    )
    return near[np.arange(len(near)), distances.argmin(1)]


def _flatten(images: np.ndarray) -> np.ndarray:
    """Flattens images [M, ...] to [M, D]."""
    return images.reshape(len(images), -1)
