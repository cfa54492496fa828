"""Latents refined against the decoder: the amortization gap closed at inference, for small latents."""

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
    """Levenberg-Marquardt from `start` toward the z that explains each sound best.

    Minimizes, for every sound of the batch on its own,

        |decode(z) - target|^2 + prior_weight * |z|^2,

    whose minimum is the maximum of p(z | x) for a Gaussian likelihood of variance `prior_weight`. An encoder only guesses
    that point, and on unseen instruments guesses worse (the amortization gap: Cremer et al. 2018; the refinement itself is the
    semi-amortized inference of Kim et al. 2018, with second-order steps since D is small). A step that does not lower the
    objective is not taken and the damping grows, so the result is never worse than `start`.

    Args:
      decode: [b, D] -> [b, K], differentiable; called with b = 1 under `vmap`.
      targets: [B, K].
      start: [B, D], the encoder's guess.
      steps: Levenberg-Marquardt steps, each about D + 2 decoder evaluations; static.
      prior_weight: weight of |z|^2, in the units of the squared error.
      damping: at the first step, relative to the diagonal of J^T J.

    Returns:
      [B, D]. Deterministic. Gradients through it are not meant to be taken.
    """
    basis = jnp.eye(start.shape[-1], dtype=start.dtype)

    def objective(z, r):
        return jnp.sum(jnp.square(r)) + prior_weight * jnp.sum(jnp.square(z))

    def one(z, target):
        def f(z):
            return decode(z[None])[0] - target

        def step(_, carry):
            z, r, cost, damp = carry
            # D forward-mode columns: the decoder is evaluated once with all D tangents at a time.
            jacobian = jax.vmap(lambda tangent: jax.jvp(f, (z,), (tangent,))[1])(basis)  # [D, K]
            gram = jacobian @ jacobian.T + prior_weight * basis
            gradient = jacobian @ r + prior_weight * z
            system = gram + damp * jnp.diag(jnp.diag(gram)) + 1e-9 * basis
            candidate = z - jax.scipy.linalg.solve(system, gradient, assume_a="pos")
            r_new = f(candidate)
            cost_new = objective(candidate, r_new)
            better = cost_new < cost  # False for NaN too
            return (
                jnp.where(better, candidate, z),
                jnp.where(better, r_new, r),
                jnp.where(better, cost_new, cost),
                jnp.where(better, damp * 0.3, damp * 8.0),
            )

        r = f(z)
        return jax.lax.fori_loop(0, steps, step, (z, r, objective(z, r), jnp.asarray(damping, z.dtype)))[0]

    return jax.vmap(one)(start, targets)
