"""The gated masked autoregressive flow of SampleVAE and Rebnord 2022, all dimensions in one masked product."""

from __future__ import annotations

import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from timbre_jax.types import Array


class MaskedAutoregressiveFlow(nn.Module):
    """One step of inverse autoregressive flow (Kingma et al. 2016, eq. 13), gated, with a reversal of the dimensions after it.

    A context h = ELU(dense(context)) as wide as the latent; for each dimension j a small net of its own, [h, z_<j] ->
    `hidden` ELU -> (m_j, s_j). Then

        sigma = sigmoid(1 + s),    z' = reversed(sigma * z + (1 - sigma) * m),    log |det dz'/dz| = sum log sigma.

    m_j and s_j depend on the dimensions before j alone, so the Jacobian is triangular up to the reversal. The nets' weights
    from z are kept as the strict triangle that there is of them, so that nothing is stored, saved or updated for the part
    that the mask takes away; the first layers of all nets are one product of [h, z] with one masked matrix, the second
    layers one batched product. 504,000 parameters at 64 dimensions, 64 hidden units and a context of 1568.

    Attributes:
      size: D.
      hidden: units of the net of each dimension.
      start: factor of the first weights of the nets' second layers: near 0 a flow begins near the linear mixture with m = 0,
        and however many follow one another, none makes of z something larger.
    """

    size: int
    hidden: int = 64
    start: float = 1.0

    @nn.compact
    def __call__(self, z: Array, context: Array) -> tuple[Array, Array]:
        """z [B, D] and context [B, C] to z' [B, D] and log |det dz'/dz| [B]: all dimensions at once."""
        size, units = self.size, self.hidden
        h = nn.elu(nn.Dense(size, name="context")(context))
        # Net j has D + j inputs, 3 D / 2 on average.
        first = nn.initializers.normal(1.0 / math.sqrt(size + size / 2))
        from_context = self.param("hidden_context", first, (size, size * units))
        rows, columns = np.triu_indices(size, 1)
        triangle = self.param("hidden_latent", first, (len(rows), units))
        from_latent = jnp.zeros((size, size, units), triangle.dtype)
        from_latent = from_latent.at[rows, columns].set(triangle, indices_are_sorted=True, unique_indices=True)
        bias = self.param("hidden_bias", nn.initializers.zeros, (size, units))
        out = self.param("out", nn.initializers.normal(self.start / math.sqrt(units)), (size, units, 2))
        out_bias = self.param("out_bias", nn.initializers.zeros, (size, 2))
        weights = jnp.concatenate([from_context.reshape(size, size, units), from_latent]).reshape(-1, size * units)
        hidden = nn.elu((jnp.concatenate([h, z], -1) @ weights).reshape(-1, size, units) + bias)
        mean, gate = jnp.moveaxis(jnp.einsum("bdu,duo->bdo", hidden, out) + out_bias, -1, 0)
        gate = 1.0 + gate
        # log sigmoid by itself: the logarithm of a sigmoid that has underflowed would be -inf.
        return (mean + nn.sigmoid(gate) * (z - mean))[:, ::-1], jnp.sum(nn.log_sigmoid(gate), -1)


class FlowChain(nn.Module):
    """`count` flows one after another, all of one context; 0 is the identity.

    Attributes:
      size, hidden, start: of each `MaskedAutoregressiveFlow`.
    """

    size: int
    count: int
    hidden: int = 64
    start: float = 1.0

    def setup(self):
        self.flows = [MaskedAutoregressiveFlow(self.size, self.hidden, self.start) for _ in range(self.count)]

    def __call__(self, z: Array, context: Array) -> tuple[Array, Array]:
        """z_0 [B, D] to z_K [B, D] and log |det dz_K/dz_0| [B]."""
        total = jnp.zeros(z.shape[:1], z.dtype)
        for flow in self.flows:
            z, log_det = flow(z, context)
            total += log_det
        return z, total
