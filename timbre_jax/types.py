"""The small records that every part of the house passes on: `Features`, `Posterior`, `Latent`.

Axes are named throughout the library: B sounds, T samples, N frames (or time steps of a latent series), F features,
D latent dimensions. Time comes before channels everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array | np.ndarray


class Features(flax.struct.PyTreeNode):
    """What a representation says of a batch of sounds.

    Attributes:
      values: [B, N, F] float32, in the representation's normalised units (usually [0, 1]).
      mask: [B, N] float32, 1 where a frame lies within the sound's real length, 0 in the padding.
      conditions: what a model sets aside and the way back to sound needs (level, gain, loudness), by name; each [B] or
        [B, N].
      rate: frames a second.
    """

    values: Array
    mask: Array
    conditions: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    rate: float = flax.struct.field(pytree_node=False, default=0.0)


class Latent(flax.struct.PyTreeNode):
    """Points of a timbre space.

    Attributes:
      values: [B, D] in a static space (one point a sound) or [B, N, D] in a series space (one point a frame).
      mask: [B, N] float32 of the features that the points came from: the way back restores the real length with it.
      conditions: as in `Features`.
      codes: [B, N] int32 where the space is discrete ([B, N, Q] with Q residual codebooks), else None.
      rate: points a second of a series; frames a second of the features in a static space.
    """

    values: Array
    mask: Array | None = None
    conditions: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    codes: Array | None = None
    rate: float = flax.struct.field(pytree_node=False, default=0.0)


class Posterior(flax.struct.PyTreeNode):
    """Diagonal Gaussian q(z | x) over `Latent.values`, and what goes along with it unchanged.

    Attributes:
      mean, log_variance: [B, D] or [B, N, D]. A deterministic model has log_variance = -inf.
      mask, conditions, codes, rate: as in `Latent`.
    """

    mean: Array
    log_variance: Array
    mask: Array | None = None
    conditions: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    rate: float = flax.struct.field(pytree_node=False, default=0.0)
    codes: Array | None = None

    def _latent(self, values: Array) -> Latent:
        return Latent(values=values, mask=self.mask, conditions=self.conditions, codes=self.codes, rate=self.rate)

    def mode(self) -> Latent:
        """The most probable latent: the mean. Deterministic."""
        return self._latent(self.mean)

    def sample(self, keys: Array) -> Latent:
        """z = mean + exp(log_variance / 2) * eps, with one key per sound: keys [B], so that a sound's noise is its own.

        Reparameterised (Kingma & Welling 2013, eq. 4).
        """
        noise = jax.vmap(lambda key: jax.random.normal(key, self.mean.shape[1:], jnp.float32))(keys)
        return self._latent(self.mean + jnp.exp(0.5 * self.log_variance) * noise)

    def kl(self) -> Array:
        """KL(q || N(0, I)) of each sound in nats, [B]; frames of a series outside the mask do not count.

        0.5 * sum(mean^2 + variance - 1 - log_variance) (Kingma & Welling 2013, appendix B).
        """
        terms = 0.5 * (jnp.square(self.mean) + jnp.exp(self.log_variance) - 1.0 - self.log_variance)
        if terms.ndim == 3 and self.mask is not None:
            terms = terms * self.mask[..., None]
        return jnp.sum(terms, axis=tuple(range(1, terms.ndim)))


def real_frames(latent: Latent) -> np.ndarray:
    """Latents [B] int of each series within its sound's real length, at least 1."""
    batch, count = np.shape(latent.values)[:2]
    if latent.mask is None:
        return np.full(batch, count)
    return np.maximum(np.sum(np.asarray(latent.mask) > 0, axis=1), 1)
