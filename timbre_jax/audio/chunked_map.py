"""Maps a function over a batch of sounds in cache-sized chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

# Number of float32 or complex64 values in a chunk. On a CPU, the values of a chunk and its intermediate results fit in the
# cache of one core.
_CACHE_VALUES = 2**16
_ACCELERATOR_VALUES = 2**23


def map_sounds(function: Callable[[Any], Any], sounds: Any, *, values_per_sound: int) -> Any:
    """Maps a function over the sounds of a batch, in chunks whose size suits the device.

    Iterative methods process the same spectra many times. On a CPU they run twice as fast if a chunk fits in its cache; an
    accelerator needs many sounds at once.

    Args:
      function: maps the arrays of one sound (a pytree) to an array or pytree.
      sounds: pytree of arrays [B, ...].
      values_per_sound: number of float32 or complex64 values that the function keeps in use for one sound.

    Returns:
      The results of all sounds, stacked along the first axis.
    """
    budget = _CACHE_VALUES if jax.default_backend() == "cpu" else _ACCELERATOR_VALUES
    chunk = max(1, budget // max(values_per_sound, 1))
    if jax.tree.leaves(sounds)[0].shape[0] <= chunk:
        return jax.vmap(function)(sounds)
    if chunk == 1:
        return jax.lax.map(function, sounds)
    return jax.lax.map(function, sounds, batch_size=chunk)
