"""Many sounds through a function, as few at a time as runs fastest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

# Numbers (float32 or complex64) that a CPU core's cache holds beside what is made of them on the way.
_CACHE_NUMBERS = 2**16
_ACCELERATOR_NUMBERS = 2**23


def map_sounds(function: Callable[[Any], Any], sounds: Any, *, numbers: int) -> Any:
    """function(one sound's arrays) over the first axis of all arrays in `sounds`, stacked.

    Iterative methods walk over the same spectra again and again: on a CPU that is 2 times faster with so few sounds at a
    time that they stay in the cache; an accelerator wants many. `numbers`: how many numbers of a sound are under way.
    """
    budget = _CACHE_NUMBERS if jax.default_backend() == "cpu" else _ACCELERATOR_NUMBERS
    together = max(1, budget // max(numbers, 1))
    if jax.tree.leaves(sounds)[0].shape[0] <= together:
        return jax.vmap(function)(sounds)
    if together == 1:
        return jax.lax.map(function, sounds)
    return jax.lax.map(function, sounds, batch_size=together)
