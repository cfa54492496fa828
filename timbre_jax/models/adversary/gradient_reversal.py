"""Gradient reversal: a network that learns to say what another learns to hide (Ganin & Lempitsky 2015)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from timbre_jax.types import Array


@jax.custom_vjp
def reverse_gradient(x: Array, scale: Array | float) -> Array:
    """x as it is; its gradient is multiplied by -scale.

    Ganin & Lempitsky 2015, "Unsupervised domain adaptation by backpropagation", eq. 7-8. What reads the result learns as ever;
    what made x learns the opposite, `scale` times as strongly.

    Args:
      x: of any shape.
      scale: lambda, a number >= 0; traced, and without a gradient of its own.
    """
    return x


def _forward(x, scale):
    return x, scale


def _backward(scale, gradient):
    return -scale * gradient, jnp.zeros_like(scale)


reverse_gradient.defvjp(_forward, _backward)


def reversal_strength(progress: Array | float, time_constant: float) -> Array:
    """lambda = 1 - exp(-progress / time_constant), which rises from 0 to 1 over a run; float32.

    Caillon et al. 2020 count steps, with a time constant of 100,000: a run of some thousand steps would never feel the
    reversal. Here both are parts of the run: at 0.1 lambda is .63 after a tenth of it, .99 after half.

    Args:
      progress: steps taken / all steps, 0..1.
      time_constant: in the same unit.
    """
    return -jnp.expm1(-jnp.asarray(progress, jnp.float32) / time_constant)
