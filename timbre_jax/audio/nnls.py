"""Non-negative least squares, solved for many right-hand sides in parallel."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.chunked_map import map_sounds
from timbre_jax.types import Array


def nnls(matrix: np.ndarray, targets: Array, *, start: np.ndarray | None = None, iterations: int = 100) -> Array:
    """Solves non-negative least squares: minimizes |matrix x - target|^2 over x >= 0.

    Accelerated projected gradient (FISTA, Beck & Teboulle 2009) for all targets in parallel. The momentum is reset when a
    step opposes it (O'Donoghue & Candès 2015). Columns are scaled to unit length and targets to a largest entry of 1, so
    that filters of different heights and frames of different levels converge equally fast.

    Args:
      matrix: [M, K], a constant shared by all targets.
      targets: [..., M]; a target of zeros has the solution 0.
      start: [K, M] maps a target to its initial x, as a pseudo-inverse does; negative entries count as 0. None: x starts at 0.
      iterations: number of steps; each computes two matrix products.

    Returns:
      [..., K].
    """
    matrix = np.asarray(matrix, np.float64)
    length = np.sqrt(np.sum(np.square(matrix), axis=0))
    scale = np.where(length > 0, 1.0 / np.where(length > 0, length, 1.0), 0.0)
    scaled = matrix * scale
    step = np.float32(1.0 / max(np.linalg.norm(scaled, 2) ** 2, 1e-30))
    transposed, scaled_gradient = jnp.asarray(scaled.T, jnp.float32), jnp.asarray(scaled * step, jnp.float32)
    if start is not None:
        scaled_start = np.where(scale > 0, length, 0.0)[:, None] * np.asarray(start, np.float64)
        start_transposed = jnp.asarray(scaled_start.T, jnp.float32)

    def solve(targets):
        size = jnp.max(jnp.abs(targets), axis=-1, keepdims=True)
        unit_targets = targets / jnp.where(size > 0, size, 1.0)
        if start is None:
            x = jnp.zeros((*targets.shape[:-1], matrix.shape[1]), jnp.float32)
        else:
            x = jnp.maximum(jnp.matmul(unit_targets, start_transposed, precision="highest"), 0.0)

        def improve(_, state):
            x, extrapolated, momentum = state
            residual = jnp.matmul(extrapolated, transposed, precision="highest") - unit_targets
            improved = jnp.maximum(extrapolated - jnp.matmul(residual, scaled_gradient, precision="highest"), 0.0)
            restart = jnp.sum((extrapolated - improved) * (improved - x), axis=-1, keepdims=True) > 0
            momentum = jnp.where(restart, 1.0, momentum)
            next_momentum = 0.5 * (1.0 + jnp.sqrt(1.0 + 4.0 * jnp.square(momentum)))
            extrapolated = improved + (momentum - 1.0) / next_momentum * (improved - x)
            return improved, extrapolated, next_momentum

        x, _, _ = jax.lax.fori_loop(0, iterations, improve, (x, x, jnp.ones_like(size)))
        return x * jnp.asarray(scale, jnp.float32) * size

    if targets.ndim < 3:
        return solve(targets)
    sounds = targets.reshape(-1, *targets.shape[-2:])
    solutions = map_sounds(solve, sounds, values_per_sound=targets.shape[-2] * matrix.shape[1])
    return solutions.reshape(*targets.shape[:-1], matrix.shape[1])
