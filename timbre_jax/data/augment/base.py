"""Parts that every augmentation has: one draw per example, and the choice of the examples that are changed."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from timbre_jax.types import Array


class Augmentation:
    """Random change of features that leaves them those of a plausible sound. Subclasses define `_one` for one example."""

    settings: ClassVar[tuple[str, ...]] = ()
    """Names that may be set; the other attributes follow from the representation."""
    probability: float

    def __call__(self, keys: Array, values: Array, mask: Array) -> Array:
        """Returns changed values [B, N, F] for keys [B] and a mask [B, N]; silence (0) stays silent."""
        return jax.vmap(self._one)(keys, values, mask)

    def _one(self, key: Array, values: Array, mask: Array) -> Array:
        raise NotImplementedError

    def _chosen(self, key: Array, changed: Array, values: Array, mask: Array) -> Array:
        """Returns the changed values with `probability`, else the old ones; frames outside the mask keep theirs."""
        use = jax.random.bernoulli(key, jnp.float32(self.probability))
        return jnp.where(use & (mask[:, None] > 0), changed, values)


def normal(deviation: float, key: Array, shape: tuple[int, ...] = ()) -> Array:
    """Draws from a normal distribution of mean 0."""
    return deviation * jax.random.normal(key, shape, jnp.float32)
