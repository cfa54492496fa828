"""Encodes and decodes any number of sounds in batches of equal size.

Batches of equal size need only one compilation of each function. `map_batches` applies a function to the rows of arrays;
`encode_features`, `decode_features` and `decode_values` apply a timbre space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import jax
import numpy as np

from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features, Latent, slice_frames

Tree = TypeVar("Tree")


def default_batch_size() -> int:
    """Returns the number of sounds in a batch: 32 on a CPU, 512 elsewhere.

    On a CPU, batches of 128 run at half the speed, because the activations no longer fit in its cache.
    """
    return 32 if jax.default_backend() == "cpu" else 512


def position_batches(
    count: int, size: int | None, progress: Callable[[Iterable], Iterable] | None = None
) -> Iterable[np.ndarray]:
    """Yields the positions 0 to count - 1 in batches of equal size.

    The last batch is padded with the last position.

    Args:
      count: number of positions.
      size: batch size, limited to the power of two at or above `count`; None for `default_batch_size`.
      progress: wraps the iterable of batches, for a progress bar.

    Raises:
      ValueError: `count` is 0.
    """
    if count == 0:
        raise ValueError("batches: got 0 sounds, expected at least 1")
    size = default_batch_size() if size is None else size
    size = min(size, 1 << (count - 1).bit_length())
    starts = range(0, count, size)
    for start in starts if progress is None else progress(starts):
        yield np.minimum(np.arange(start, start + size), count - 1)


def take(tree: Tree, rows: np.ndarray) -> Tree:
    """Selects rows of every array of a pytree, such as features or latents, as numpy arrays."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[rows], tree)


def map_batches(
    function: Callable,
    *trees: Any,
    batch_size: int | None = None,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> Any:
    """Applies a function to batches of rows and concatenates the results.

    Args:
      function: function of one argument for each of `trees` that returns a pytree of arrays with one row for each input row.
      trees: pytrees of arrays [M, ...]; None is passed on unchanged.
      batch_size: rows per batch; None for `default_batch_size`.
      progress: wraps the iterable of batches, for a progress bar.

    Returns:
      The pytree that `function` returns, as numpy arrays [M, ...].

    Raises:
      ValueError: there are no rows.
    """
    arrays = jax.tree.map(np.asarray, trees)
    count = len(jax.tree.leaves(arrays)[0])
    batches = position_batches(count, batch_size, progress)
    parts = [jax.tree.map(np.asarray, function(*take(arrays, rows))) for rows in batches]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts)


def encode_features(
    space: TimbreSpace, features: Features, *, batch_size: int | None = None, kind: str | None = "static"
) -> Latent:
    """Encodes features of any number of sounds to latents, in batches of equal size.

    Args:
      space: timbre space that encodes the features.
      features: features of M sounds, in the representation of the space.
      batch_size: sounds per batch; None for `default_batch_size`.
      kind: kind of space that the caller needs, "static" or "series"; None allows both.

    Returns:
      The latents as numpy arrays.

    Raises:
      ValueError: the space is of another kind.
    """
    if kind is not None:
        space.check_kind(kind)
    return map_batches(space.encode, features, batch_size=batch_size)


def decode_features(
    space: TimbreSpace, latent: Latent, *, frames: int | None = None, batch_size: int | None = None
) -> Features:
    """Decodes any number of latents to features, in batches of equal size.

    Args:
      space: timbre space that decodes the latents.
      latent: latents of M sounds.
      frames: number of frames to keep of each sound; None keeps all.
      batch_size: sounds per batch; None for `default_batch_size`.

    Returns:
      The features, with mask and conditions, as numpy arrays.
    """
    return map_batches(lambda batch: slice_frames(space.decode(batch), 0, frames), latent, batch_size=batch_size)


def decode_values(space: TimbreSpace, latent: Latent, *, batch_size: int | None = None) -> np.ndarray:
    """Decodes any number of latents to feature values [M, N, F], in batches of equal size."""
    return map_batches(lambda batch: space.decode(batch).values, latent, batch_size=batch_size)
