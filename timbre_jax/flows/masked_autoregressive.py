"""Gated masked autoregressive flows of SampleVAE and Rebnord 2022."""

from __future__ import annotations

import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from timbre_jax.types import Array


class MaskedAutoregressiveFlow(nn.Module):
    """Gated step of inverse autoregressive flow (Kingma et al. 2016, eq. 13).

    The context is h = ELU(dense(context)), as wide as the latent. A small network per dimension j maps [h, z_<j] through
    `hidden` units with ELU to (m_j, s_j). Then

        sigma = sigmoid(1 + s),    z' = reversed(sigma * z + (1 - sigma) * m),    log |det dz'/dz| = sum log sigma.

    m_j and s_j depend only on the dimensions before j, so the Jacobian is triangular up to the reversal. The weights from z
    are stored as a strict triangle without the masked part. The first layers of all networks are one product of [h, z] with a
    masked matrix, the second layers one batched product. A flow of 64 dimensions with 64 hidden units and a context of 1568 has
    504,000 parameters.

    Attributes:
      size: number of latent dimensions D.
      hidden: hidden units per dimension.
      init_scale: factor of the initial weights of the second layers. Near 0 the flow starts close to sigma * z, so that no
        number of flows amplifies z.
    """

    size: int
    hidden: int = 64
    init_scale: float = 1.0

    @nn.compact
    def __call__(self, z: Array, context: Array) -> tuple[Array, Array]:
        """Returns z' [B, D] and log |det dz'/dz| [B] of z [B, D] and context [B, C]."""
        size, units = self.size, self.hidden
        h = nn.elu(nn.Dense(size, name="context")(context))
        # Network j has D + j inputs, 3 D / 2 on average.
        first = nn.initializers.normal(1.0 / math.sqrt(size + size / 2))
        from_context = self.param("hidden_context", first, (size, size * units))
        rows, columns = np.triu_indices(size, 1)
        triangle = self.param("hidden_latent", first, (len(rows), units))
        from_latent = jnp.zeros((size, size, units), triangle.dtype)
        from_latent = from_latent.at[rows, columns].set(triangle, indices_are_sorted=True, unique_indices=True)
        bias = self.param("hidden_bias", nn.initializers.zeros, (size, units))
        out = self.param("out", nn.initializers.normal(self.init_scale / math.sqrt(units)), (size, units, 2))
        out_bias = self.param("out_bias", nn.initializers.zeros, (size, 2))
        weights = jnp.concatenate([from_context.reshape(size, size, units), from_latent]).reshape(-1, size * units)
        hidden = nn.elu((jnp.concatenate([h, z], -1) @ weights).reshape(-1, size, units) + bias)
        mean, gate = jnp.moveaxis(jnp.einsum("bdu,duo->bdo", hidden, out) + out_bias, -1, 0)
        gate = 1.0 + gate
        # The logarithm of a sigmoid that underflows would be -inf.
        return (mean + nn.sigmoid(gate) * (z - mean))[:, ::-1], jnp.sum(nn.log_sigmoid(gate), -1)


class FlowChain(nn.Module):
    """Sequence of flows with a common context.

    Attributes:
      size: number of latent dimensions D.
      count: number of flows; 0 for the identity.
      hidden: hidden units per dimension of each flow.
      init_scale: see `MaskedAutoregressiveFlow`.
    """

    size: int
    count: int
    hidden: int = 64
    init_scale: float = 1.0

    def setup(self):
        """Creates the layers."""
        self.flows = [MaskedAutoregressiveFlow(self.size, self.hidden, self.init_scale) for _ in range(self.count)]

    def __call__(self, z: Array, context: Array) -> tuple[Array, Array]:
        """Returns z_K [B, D] and log |det dz_K/dz_0| [B] of z_0 [B, D] and context [B, C]."""
        total = jnp.zeros(z.shape[:1], z.dtype)
        for flow in self.flows:
            z, log_det = flow(z, context)
            total += log_det
        return z, total
