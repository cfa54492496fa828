"""The gated masked autoregressive flow of SampleVAE and Rebnord 2022, all dimensions in one masked product."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
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
      context_size: width of h; 0 is as wide as the latent, the thesis'.
      start: factor of the first weights of the nets' second layers: near 0 a flow begins near the linear mixture with m = 0,
        and however many follow one another, none makes of z something larger.
    """

    size: int
    hidden: int = 64
    context_size: int = 0
    start: float = 1.0

    @nn.compact
    def _weights(self, context: Array) -> tuple[Array, Array, Array, Array, Array, Array]:
        """h [B, H], first layers from h [H, D, U] and from z [D, D, U] (earlier, later), bias, second layers and bias."""
        size, units, width = self.size, self.hidden, self.context_size or self.size
        h = nn.elu(nn.Dense(width, name="context")(context))
        # Net j has width + j inputs, width + D / 2 on average.
        first = nn.initializers.normal(1.0 / math.sqrt(width + size / 2))
        from_context = self.param("hidden_context", first, (width, size * units)).reshape(width, size, units)
        rows, columns = np.triu_indices(size, 1)
        triangle = self.param("hidden_latent", first, (len(rows), units))
        from_latent = jnp.zeros((size, size, units), triangle.dtype)
        from_latent = from_latent.at[rows, columns].set(triangle, indices_are_sorted=True, unique_indices=True)
        bias = self.param("hidden_bias", nn.initializers.zeros, (size, units))
        out = self.param("out", nn.initializers.normal(self.start / math.sqrt(units)), (size, units, 2))
        out_bias = self.param("out_bias", nn.initializers.zeros, (size, 2))
        return h, from_context, from_latent, bias, out, out_bias

    def _gate(self, z: Array, context: Array) -> tuple[Array, Array]:
        """m and 1 + s of every dimension, [B, D] each."""
        h, from_context, from_latent, bias, out, out_bias = self._weights(context)
        weights = jnp.concatenate([from_context, from_latent]).reshape(-1, self.size * self.hidden)
        units = nn.elu((jnp.concatenate([h, z], -1) @ weights).reshape(-1, self.size, self.hidden) + bias)
        mean, gate = jnp.moveaxis(jnp.einsum("bdu,duo->bdo", units, out) + out_bias, -1, 0)
        return mean, 1.0 + gate

    def __call__(self, z: Array, context: Array) -> tuple[Array, Array]:
        """As `forward`."""
        return self.forward(z, context)

    def forward(self, z: Array, context: Array) -> tuple[Array, Array]:
        """z [B, D] and context [B, C] to z' [B, D] and log |det dz'/dz| [B]: all dimensions at once."""
        mean, gate = self._gate(z, context)
        # log sigmoid by itself: the logarithm of a sigmoid that has underflowed would be -inf.
        return (mean + nn.sigmoid(gate) * (z - mean))[:, ::-1], jnp.sum(nn.log_sigmoid(gate), -1)

    def inverse(self, z: Array, context: Array) -> tuple[Array, Array]:
        """z' [B, D] back to z [B, D], and log |det dz/dz'| [B]: one dimension after another, each net asked once.

        A gate near 0 forgets its dimension, and no inverse brings it back: the error grows as 1 / sigma.
        """
        h, from_context, from_latent, bias, out, out_bias = self._weights(context)
        target = z[:, ::-1]
        base = jnp.einsum("bh,hdu->dbu", h, from_context) + bias[:, None]

        def dimension(known: Array, j: Array) -> tuple[Array, Array]:
            units = nn.elu(base[j] + known @ from_latent[:, j])
            mean, gate = jnp.moveaxis(units @ out[j] + out_bias[j], -1, 0)
            gate = 1.0 + gate
            # 1 / sigmoid(g) = 1 + exp(-g)
            value = mean + (target[:, j] - mean) * (1.0 + jnp.exp(-gate))
            return known.at[:, j].set(value), -nn.log_sigmoid(gate)

        known, log_dets = jax.lax.scan(dimension, jnp.zeros_like(target), jnp.arange(self.size))
        return known, jnp.sum(log_dets, 0)


class FlowChain(nn.Module):
    """`count` flows one after another, all of one context; 0 is the identity.

    Attributes:
      size, hidden, context_size, start: of each `MaskedAutoregressiveFlow`.
    """

    size: int
    count: int
    hidden: int = 64
    context_size: int = 0
    start: float = 1.0

    def setup(self):
        settings = dict(hidden=self.hidden, context_size=self.context_size, start=self.start)
        self.flows = [MaskedAutoregressiveFlow(self.size, **settings) for _ in range(self.count)]

    def __call__(self, z: Array, context: Array) -> tuple[Array, Array]:
        """As `forward`."""
        return self.forward(z, context)

    def forward(self, z: Array, context: Array) -> tuple[Array, Array]:
        """z_0 [B, D] to z_K [B, D] and log |det dz_K/dz_0| [B]."""
        total = jnp.zeros(z.shape[:1], z.dtype)
        for flow in self.flows:
            z, log_det = flow.forward(z, context)
            total += log_det
        return z, total

    def inverse(self, z: Array, context: Array) -> tuple[Array, Array]:
        """z_K [B, D] back to z_0 [B, D] and log |det dz_0/dz_K| [B]."""
        total = jnp.zeros(z.shape[:1], z.dtype)
        for flow in reversed(self.flows):
            z, log_det = flow.inverse(z, context)
            total += log_det
        return z, total
