"""Parts that every augmentation has: one draw per example, and the choice of the examples that are changed."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from timbre_jax.representations.base import Representation
from timbre_jax.settings import Settings, setting
from timbre_jax.types import Array


@dataclasses.dataclass(frozen=True)
class Augmentation(Settings):
    """Random change of features that leaves them those of a plausible sound; silence (0) stays silent.

    Fields with a help text are settings; the others are units of the representation. Subclasses define `num_keys`, `_change`
    and `units`.

    Raises:
      ValueError: a value outside its limits.
    """

    probability: float = setting(0.8, "Probability that a sound is changed.", low=0, high=1)

    num_keys: ClassVar[int]
    """Number of keys for one sound; the last one decides whether it is changed."""

    def __call__(self, keys: Array, values: Array, mask: Array) -> Array:
        """Returns changed values [B, N, F] for keys [B] and a mask [B, N]; frames outside the mask keep theirs."""
        return jax.vmap(self._one)(keys, values, mask)

    def _one(self, key: Array, values: Array, mask: Array) -> Array:
        keys = jax.random.split(key, self.num_keys)
        use = jax.random.bernoulli(keys[-1], jnp.float32(self.probability))
        return jnp.where(use & (mask[:, None] > 0), self._change(keys, values), values)

    def _change(self, keys: Array, values: Array) -> Array:
        """Returns the changed values [N, F] of one sound."""
        raise NotImplementedError

    @classmethod
    def units(cls, representation: Representation) -> dict[str, Any]:
        """Returns the fields that follow from a representation. Raises a ValueError for one that does not fit."""
        raise NotImplementedError


def normal(deviation: float, key: Array, shape: tuple[int, ...] = ()) -> Array:
    """Draws from a normal distribution of mean 0."""
    return deviation * jax.random.normal(key, shape, jnp.float32)
