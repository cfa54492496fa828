"""Refinement of latents against the decoder, which closes the amortization gap."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from timbre_jax.types import Array


def refine(
    decode: Callable[[Array], Array],
    targets: Array,
    start: Array,
    *,
    steps: int,
    prior_weight: float,
    damping: float = 1e-2,
) -> Array:
    """Refines latents by Levenberg-Marquardt steps.

    Minimizes for each sound

        |decode(z) - target|^2 + prior_weight * |z|^2,

    whose minimum is the maximum of p(z | x) for a Gaussian likelihood of variance `prior_weight`. An encoder approximates this
    point, less well for unseen instruments (the amortization gap: Cremer et al. 2018). The refinement is the semi-amortized
    inference of Kim et al. 2018 with second-order steps, which are cheap for small D. A step that does not lower the objective
    is rejected and the damping grows, so that the result is never worse than `start`.

    Args:
      decode: differentiable function [B, D] -> [B, K], called with B = 1 under `vmap`.
      targets: [B, K].
      start: [B, D] latents of the encoder.
      steps: number of steps, each about D + 2 evaluations of the decoder; static.
      prior_weight: weight of |z|^2, in the unit of the squared error.
      damping: initial damping, relative to the diagonal of J^T J.

    Returns:
      The refined latents [B, D], which are not meant to be differentiated.
    """
    basis = jnp.eye(start.shape[-1], dtype=start.dtype)

    def objective(z, r):
        return jnp.sum(jnp.square(r)) + prior_weight * jnp.sum(jnp.square(z))

    def refine_one(z, target):
        def f(z):
            return decode(z[None])[0] - target

        def step(_, carry):
            z, r, cost, damp = carry
            # Forward mode evaluates the decoder once with all D tangents.
            jacobian = jax.vmap(lambda tangent: jax.jvp(f, (z,), (tangent,))[1])(basis)  # [D, K]
            gram = jacobian @ jacobian.T + prior_weight * basis
            gradient = jacobian @ r + prior_weight * z
            system = gram + damp * jnp.diag(jnp.diag(gram)) + 1e-9 * basis
            candidate = z - jax.scipy.linalg.solve(system, gradient, assume_a="pos")
            r_new = f(candidate)
            cost_new = objective(candidate, r_new)
            better = cost_new < cost  # also False for NaN
            return (
                jnp.where(better, candidate, z),
                jnp.where(better, r_new, r),
                jnp.where(better, cost_new, cost),
                jnp.where(better, damp * 0.3, damp * 8.0),
            )

        r = f(z)
        return jax.lax.fori_loop(0, steps, step, (z, r, objective(z, r), jnp.asarray(damping, z.dtype)))[0]

    return jax.vmap(refine_one)(start, targets)
