"""Chunks of a batch that are computed one after another, so that little memory is needed."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from timbre_jax.types import Array

ON_ACCELERATOR = 64
"""How many pictures an accelerator takes at once, whose memory is as quick for many as for few."""


def chunks(x: Array, size: int) -> Array:
    """[B, ...] cut into [B / n, n, ...], n at most `size`: to be gone through one after another in little memory.

    `size` is for a CPU, in whose cache a chunk should stay; elsewhere it is `ON_ACCELERATOR`, or all at once where the batch
    has no divisor that comes near it.

    Where a batch is cut over devices (the mesh in whose context this is traced), n is at most `size` times their number, and
    every chunk has the same share of each: so all of them work at each, on what they have.
    """
    devices = _devices(len(x))
    count = len(x) // devices
    if jax.default_backend() == "cpu":
        size = math.gcd(count, size)
    else:
        size = max(n for n in range(1, min(count, ON_ACCELERATOR) + 1) if count % n == 0)
        size = count if size < ON_ACCELERATOR // 4 else size
    x = x.reshape(devices, -1, size, *x.shape[1:])
    return jnp.swapaxes(x, 0, 1).reshape(x.shape[1], devices * size, *x.shape[3:])


def joined(y: Array) -> Array:
    """What comes of `chunks`, [B / n, n, ...], as [B, ...] in the order that there was."""
    devices = _devices(y.shape[0] * y.shape[1])
    y = y.reshape(y.shape[0], devices, -1, *y.shape[2:])
    return jnp.swapaxes(y, 0, 1).reshape(-1, *y.shape[3:])


def _devices(count: int) -> int:
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty or count % mesh.size else mesh.size
