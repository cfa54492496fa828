"""Posterior of a diagonal Gaussian transformed by flows."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from timbre_jax.flows.masked_autoregressive import FlowChain
from timbre_jax.types import Array, Latent, Posterior


class FlowPosterior(Posterior):
    """Posterior q(z_K | x) of z_K, to which flows map z_0 of a diagonal Gaussian.

    Attributes:
      mean: [B, D] of z_0.
      log_variance: [B, D] of z_0.
      context: [B, C] features of the sound, the context of the flows.
      variables: variables of the flows.
      flow: the unbound flows.
    """

    context: Array | None = None
    variables: Any = None
    flow: FlowChain | None = flax.struct.field(pytree_node=False, default=None)

    def _forward(self, z: Array) -> tuple[Array, Array]:
        return self.flow.apply(self.variables, z, self.context)

    def mode(self) -> Latent:
        """Returns the mean of z_0 after the flows; q(z_K | x) has no closed-form mode."""
        return self._latent(self._forward(self.mean)[0])

    def sample(self, keys: Array) -> Latent:
        """Samples z_K with one key per sound, [B]."""
        return self.sample_with_kl(keys)[0]

    def sample_with_kl(self, keys: Array) -> tuple[Latent, Array]:
        """Returns a sample and an unbiased estimate of KL(q || N(0, I)) from it, [B] in nats.

        The estimate is log q(z_K | x) - log p(z_K) = sum(z_K^2 / 2 - eps^2 / 2 - log sigma_0) - log |det dz_K/dz_0| (Kingma et
        al. 2016, algorithm 1).

        Args:
          keys: [B], one key per sound.
        """
        noise = jax.vmap(lambda key: jax.random.normal(key, self.mean.shape[1:], jnp.float32))(keys)
        z, log_det = self._forward(self.mean + jnp.exp(0.5 * self.log_variance) * noise)
        terms = 0.5 * (jnp.square(z) - jnp.square(noise) - self.log_variance)
        return self._latent(z), jnp.sum(terms, -1) - log_det

    def kl(self) -> Array:
        """Returns the KL in closed form, which exists without flows only.

        Raises:
          ValueError: there are flows.
        """
        if self.flow.count:
            raise ValueError("posterior with flows: has no KL in closed form; use sample_with_kl for an estimate")
        return super().kl()
