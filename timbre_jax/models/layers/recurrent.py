"""Gated recurrent unit with one matrix product per step."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from timbre_jax.types import Array


class GRU(nn.Module):
    """Gated recurrent unit (Cho et al. 2014), with the reset gate after the product.

        r, u = sigmoid(W x + U h + b),    c = tanh(W_c x + b_c + r (U_c h + d_c)),    h <- (1 - u) c + u h

    The products with x are computed for all steps at once. The scan contains only h [B, W] times [W, 3 W], because larger
    operations inside a scan are slow on a CPU.

    Attributes:
      width: number of units W.
    """

    width: int

    @nn.compact
    def __call__(self, x: Array, state: Array | None = None) -> tuple[Array, Array]:
        """Returns outputs [B, M, W] and the state after the last step.

        Args:
          x: [B, M, C].
          state: [B, W] before the first step, or None for zeros.
        """
        inputs = nn.Dense(3 * self.width)(x)
        kernel = self.param("recurrent", nn.initializers.orthogonal(), (self.width, 3 * self.width))
        bias = self.param("candidate_bias", nn.initializers.zeros, (self.width,))
        state = jnp.zeros((x.shape[0], self.width), x.dtype) if state is None else state

        def step(h, inputs):
            reset, update, candidate = jnp.split(inputs, 3, axis=-1)
            product = jnp.split(h @ kernel, 3, axis=-1)
            reset, update = jax.nn.sigmoid(reset + product[0]), jax.nn.sigmoid(update + product[1])
            candidate = jnp.tanh(candidate + reset * (product[2] + bias))
            h = candidate + update * (h - candidate)
            return h, h

        state, outputs = jax.lax.scan(step, state, jnp.swapaxes(inputs, 0, 1))
        return jnp.swapaxes(outputs, 0, 1), state
