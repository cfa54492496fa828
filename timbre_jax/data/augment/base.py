"""Base class of augmentations, which splits keys and selects the examples to change."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from timbre_jax.representations.base import Representation
from timbre_jax.settings import Settings, setting
from timbre_jax.types import Array


@dataclasses.dataclass(frozen=True)
class Augmentation(Settings, abc.ABC):
    """Random change of features to other plausible features; silence (0) stays silent.

    Fields with a help text are settings; the others follow from the representation. Subclasses define `num_keys`, `_change` and
    `units`.

    Raises:
      ValueError: a value is out of range.
    """

    probability: float = setting(0.8, "Probability that a sound is changed.", low=0, high=1)

    num_keys: ClassVar[int]
    """Number of random keys per sound; the last one decides whether it is changed."""

    def __call__(self, keys: Array, values: Array, mask: Array) -> Array:
        """Returns changed values [B, N, F] for keys [B] and a mask [B, N].

        Frames outside the mask do not change.
        """
        return jax.vmap(self._augment_one)(keys, values, mask)

    def _augment_one(self, key: Array, values: Array, mask: Array) -> Array:
        """Returns the values [N, F] of one sound, changed with `probability`."""
        keys = jax.random.split(key, self.num_keys)
        use = jax.random.bernoulli(keys[-1], jnp.float32(self.probability))
        return jnp.where(use & (mask[:, None] > 0), self._change(keys, values), values)

    @abc.abstractmethod
    def _change(self, keys: Array, values: Array) -> Array:
        """Returns the changed values [N, F] of one sound."""

    @classmethod
    @abc.abstractmethod
    def units(cls, representation: Representation) -> dict[str, Any]:
        """Returns the fields that depend on the representation, as keyword arguments.

        Raises:
          ValueError: the augmentation does not apply to it.
        """


def normal(deviation: float, key: Array, shape: tuple[int, ...] = ()) -> Array:
    """Returns draws from a normal distribution with mean 0."""
    return deviation * jax.random.normal(key, shape, jnp.float32)
