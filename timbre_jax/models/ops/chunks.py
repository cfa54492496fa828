"""Division of a batch into chunks that are computed one after another to save memory."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from timbre_jax.types import Array

ACCELERATOR_CHUNK = 64
"""Chunk size on accelerators, whose speed does not depend on a cache."""


def split_chunks(x: Array, size: int) -> Array:
    """Divides a batch [B, ...] into chunks [B / n, n, ...].

    Under a mesh that shards the batch over several devices, n is at most `size` times their number, and every chunk contains
    an equal share of each device, so that all devices compute all the time on local data.

    Args:
      x: [B, ...].
      size: largest n on a CPU, whose cache should hold a chunk. Accelerators use `ACCELERATOR_CHUNK`, or the whole batch if it
        has no divisor near that number.
    """
    devices = _devices(len(x))
    count = len(x) // devices
    if jax.default_backend() == "cpu":
        size = math.gcd(count, size)
    else:
        size = max(n for n in range(1, min(count, ACCELERATOR_CHUNK) + 1) if count % n == 0)
        size = count if size < ACCELERATOR_CHUNK // 4 else size
    x = x.reshape(devices, -1, size, *x.shape[1:])
    return jnp.swapaxes(x, 0, 1).reshape(x.shape[1], devices * size, *x.shape[3:])


def join_chunks(y: Array) -> Array:
    """Joins chunks [B / n, n, ...] to a batch [B, ...] in the order before `split_chunks`."""
    devices = _devices(y.shape[0] * y.shape[1])
    y = y.reshape(y.shape[0], devices, -1, *y.shape[2:])
    return jnp.swapaxes(y, 0, 1).reshape(-1, *y.shape[3:])


def _devices(count: int) -> int:
    """Returns the number of devices of the mesh, or 1 if it does not divide the batch."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty or count % mesh.size else mesh.size
