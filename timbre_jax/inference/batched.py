"""Encodes and decodes any number of sounds in batches of one shape, so that every function is compiled once.

`map_batches` applies a function to the rows of arrays; `encode_features`, `decode_features` and `decode_values` do so with a
space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import jax
import numpy as np

from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features, Latent, slice_frames

Tree = TypeVar("Tree")


def default_batch() -> int:
    """Returns the number of sounds to decode at once: 32 on a CPU, 512 elsewhere.

    A CPU is half as fast with 128, because the layers no longer fit its cache.
    """
    return 32 if jax.default_backend() == "cpu" else 512


def batches_of(count: int, size: int | None, progress: Callable[[Iterable], Iterable] | None = None) -> Iterable[np.ndarray]:
    """Yields the positions 0 to count - 1 in batches of equal size; the last batch is filled up with the last position.

    Args:
      count: number of positions.
      size: size of a batch, at most the next power of two above `count`; None: `default_batch`.
      progress: wraps the iterable of batches, for a progress bar.

    Raises:
      ValueError: `count` is 0.
    """
    if count == 0:
        raise ValueError("there are no sounds to go through")
    size = default_batch() if size is None else size
    size = min(size, 1 << (count - 1).bit_length())
    starts = range(0, count, size)
    for start in starts if progress is None else progress(starts):
        yield np.minimum(np.arange(start, start + size), count - 1)


def take(tree: Tree, rows: np.ndarray) -> Tree:
    """Returns some rows of every array of a pytree (features, latents) as numpy."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[rows], tree)


def map_batches(
    function: Callable,
    *trees: Any,
    batch_size: int | None = None,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> Any:
    """Applies a function to batches of the rows of pytrees and joins the results as numpy.

    Args:
      function: takes as many pytrees as are given here; returns a pytree of arrays with one row for each row.
      trees: pytrees of arrays [M, ...]; None is passed on as it is.
      batch_size: rows at once; None: `default_batch`.
      progress: wraps the iterable of batches, for a progress bar.

    Raises:
      ValueError: there are no rows.
    """
    arrays = jax.tree.map(np.asarray, trees)
    count = len(jax.tree.leaves(arrays)[0])
    batches = batches_of(count, batch_size, progress)
    parts = [jax.tree.map(np.asarray, function(*take(arrays, rows))) for rows in batches]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts)


def encode_features(
    space: TimbreSpace, features: Features, *, batch_size: int | None = None, kind: str | None = "static"
) -> Latent:
    """Encodes any number of sounds in equal batches, as a `Latent` of numpy arrays.

    Args:
      space: encodes the features (`TimbreSpace.encode`).
      features: of M sounds in the representation of the space.
      batch_size: sounds at once; None: `default_batch`.
      kind: the kind of space that the caller needs, "static" or "series"; None: either.

    Raises:
      ValueError: the space is of another kind.
    """
    if kind is not None:
        space.check_kind(kind)
    return map_batches(space.encode, features, batch_size=batch_size)


def decode_features(
    space: TimbreSpace, latent: Latent, *, frames: int | None = None, batch_size: int | None = None
) -> Features:
    """Decodes any number of latents in equal batches, with mask and conditions, as `Features` of numpy arrays.

    Args:
      space: decodes the latents (`TimbreSpace.decode`).
      latent: of M sounds.
      frames: frames that are kept of each sound; None: all.
      batch_size: sounds at once; None: `default_batch`.
    """
    return map_batches(lambda some: slice_frames(space.decode(some), 0, frames), latent, batch_size=batch_size)


def decode_values(space: TimbreSpace, latent: Latent, *, batch_size: int | None = None) -> np.ndarray:
    """Decodes any number of latents in equal batches to feature values [M, N, F]."""
    return map_batches(lambda some: space.decode(some).values, latent, batch_size=batch_size)
