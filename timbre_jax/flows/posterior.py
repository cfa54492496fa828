"""The posterior that flows make of a diagonal Gaussian."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from timbre_jax.flows.masked_autoregressive import FlowChain
from timbre_jax.types import Array, Latent, Posterior


class FlowPosterior(Posterior):
    """q(z_K | x): z_0 of a diagonal Gaussian, z_K = the flows of z_0 given a context.

    Attributes:
      mean, log_variance: [B, D], of z_0.
      context: [B, C], what the flows see of the sound.
      variables: of the flows.
      flow: the flows, settings only.
    """

    context: Array | None = None
    variables: Any = None
    flow: FlowChain | None = flax.struct.field(pytree_node=False, default=None)

    def _forward(self, z: Array) -> tuple[Array, Array]:
        return self.flow.apply(self.variables, z, self.context)

    def mode(self) -> Latent:
        """The flow of the mean of z_0: one deterministic latent a sound. Neither mean nor mode of q(z_K | x) has a formula."""
        return self._latent(self._forward(self.mean)[0])

    def sample(self, keys: Array) -> Latent:
        """z_K of one sample of z_0 a sound; keys [B]."""
        return self.sample_with_kl(keys)[0]

    def sample_with_kl(self, keys: Array) -> tuple[Latent, Array]:
        """A sample and its estimate of KL(q || N(0, I)), [B] in nats: log q(z_K | x) - log p(z_K) at that very sample.

        sum(z_K^2 / 2 - eps^2 / 2 - log sigma_0) - log |det dz_K/dz_0| (Kingma et al. 2016, algorithm 1); unbiased.
        """
        noise = jax.vmap(lambda key: jax.random.normal(key, self.mean.shape[1:], jnp.float32))(keys)
        z, log_det = self._forward(self.mean + jnp.exp(0.5 * self.log_variance) * noise)
        terms = 0.5 * (jnp.square(z) - jnp.square(noise) - self.log_variance)
        return self._latent(z), jnp.sum(terms, -1) - log_det

    def kl(self) -> Array:
        """Closed form without flows; with flows there is none.

        Raises:
          ValueError: there are flows.
        """
        if self.flow.count:
            raise ValueError("a posterior with flows has no KL in closed form: sample_with_kl gives an estimate of one sample")
        return super().kl()
