"""Non-negative least squares for many right-hand sides at once, on the device."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.chunked_map import map_sounds
from timbre_jax.types import Array


def nnls(matrix: np.ndarray, targets: Array, *, start: np.ndarray | None = None, iterations: int = 100) -> Array:
    """x >= 0 with the smallest |matrix x - target|^2 of each target, [M, K] and [..., M] -> [..., K].

    Accelerated projected gradient (FISTA, Beck & Teboulle 2009) with the momentum begun again where the step turns
    against it (O'Donoghue & Candès 2015), all targets side by side. Columns are scaled to unit length first, so that
    filters of very different height are found equally soon; each target is scaled to its largest entry, so that quiet
    frames are found as well as loud ones.

    Args:
      matrix: [M, K], the same for all targets; a constant.
      start: [K, M], maps a target to where the search begins (its negative entries count as 0): a pseudo-inverse. None
        begins at 0.
      iterations: two matrix products each.

    A target of zeros gives zeros.
    """
    matrix = np.asarray(matrix, np.float64)
    length = np.sqrt(np.sum(np.square(matrix), axis=0))
    scale = np.where(length > 0, 1.0 / np.where(length > 0, length, 1.0), 0.0)
    scaled = matrix * scale
    step = np.float32(1.0 / max(np.linalg.norm(scaled, 2) ** 2, 1e-30))
    forward, back = jnp.asarray(scaled.T, jnp.float32), jnp.asarray(scaled * step, jnp.float32)
    if start is not None:
        lift = np.where(scale > 0, length, 0.0)[:, None] * np.asarray(start, np.float64)
        first = jnp.asarray(lift.T, jnp.float32)

    def solve(targets):
        size = jnp.max(jnp.abs(targets), axis=-1, keepdims=True)
        wanted = targets / jnp.where(size > 0, size, 1.0)
        if start is None:
            x = jnp.zeros((*targets.shape[:-1], matrix.shape[1]), jnp.float32)
        else:
            x = jnp.maximum(jnp.matmul(wanted, first, precision="highest"), 0.0)

        def improve(_, state):
            x, ahead, momentum = state
            off = jnp.matmul(ahead, forward, precision="highest") - wanted
            new = jnp.maximum(ahead - jnp.matmul(off, back, precision="highest"), 0.0)
            turned = jnp.sum((ahead - new) * (new - x), axis=-1, keepdims=True) > 0
            momentum = jnp.where(turned, 1.0, momentum)
            following = 0.5 * (1.0 + jnp.sqrt(1.0 + 4.0 * jnp.square(momentum)))
            ahead = new + (momentum - 1.0) / following * (new - x)
            return new, ahead, following

        x, _, _ = jax.lax.fori_loop(0, iterations, improve, (x, x, jnp.ones_like(size)))
        return x * jnp.asarray(scale, jnp.float32) * size

    if targets.ndim < 3:
        return solve(targets)
    sounds = targets.reshape(-1, *targets.shape[-2:])
    found = map_sounds(solve, sounds, numbers=targets.shape[-2] * matrix.shape[1])
    return found.reshape(*targets.shape[:-1], matrix.shape[1])
