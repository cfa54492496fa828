"""Gradient reversal for adversarial training (Ganin & Lempitsky 2015)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from timbre_jax.types import Array


@jax.custom_vjp
def reverse_gradient(x: Array, scale: Array | float) -> Array:
    """Returns x and multiplies its gradient by -scale (Ganin & Lempitsky 2015, eq. 7-8).

    Layers after this function are trained as usual, layers before it in the opposite direction, `scale` times as strongly.

    Args:
      x: array of any shape.
      scale: lambda, at least 0; may be traced and receives no gradient.
    """
    return x


def _forward(x, scale):
    return x, scale


def _backward(scale, gradient):
    return -scale * gradient, jnp.zeros_like(scale)


reverse_gradient.defvjp(_forward, _backward)


def reversal_strength(progress: Array | float, time_constant: float) -> Array:
    """Returns the reversal strength lambda = 1 - exp(-progress / time_constant), float32.

    The public code of Caillon et al. 2020 (acids-ircam/wavae at f73cf0a) counts steps, with a time constant of 100,000, which
    would have no effect in a run of some thousand steps. Here both arguments are fractions of the run: with a time constant
    of 0.1, lambda is .63 after a tenth of the run and .99 after half.

    Args:
      progress: completed fraction of the run, 0..1.
      time_constant: fraction of the run after which lambda is 1 - 1/e.
    """
    return -jnp.expm1(-jnp.asarray(progress, jnp.float32) / time_constant)
