"""What a model is: a linen module with a posterior over latents and a decoder, and how it is asked for an embedding."""

from __future__ import annotations

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp

from timbre_jax.types import Array, Features, Latent, Posterior

Variables = Any
"""A linen variables dict: {"params": ..., and mutable collections such as "batch_stats"}."""


class TimbreModel(nn.Module):
    """Base of every model. Subclasses are linen modules with plain hashable settings as fields.

    A model is pure: `model.apply(variables, features, method="posterior")`. It learns in one of two ways: by gradient
    (`loss`), or in closed form (`fit`), which says `trained_by`.

    Attributes:
      feature_shape: (N, F) of the features that it takes and gives back.
      latent_size: D.
    """

    feature_shape: tuple[int, int] = (372, 8)
    latent_size: int = 8

    kind: ClassVar[str] = "static"
    """"static": a latent a sound; "series": a latent a frame."""
    trained_by: ClassVar[str] = "gradient"
    """"gradient" (has `loss`) or "fit" (has `fit`)."""
    draws: ClassVar[bool] = False
    """Whether `decode` draws noise: it then takes `key=` (None is a fixed one). Squared errors of what it makes say nothing."""
    may_be_zero: ClassVar[tuple[str, ...]] = ()
    """Settings that 0 turns off; all other numbers have to be more than 0 (`make_model` checks)."""
    uses_progress: ClassVar[bool] = False
    """Whether `loss` takes `progress`: steps taken / all steps, a traced float 0..1."""
    uses_axis: ClassVar[bool] = False
    """Whether `loss` takes `axis_name`: the mapped axis that a batch is cut along (`pmap`), for batch statistics; or None."""

    def posterior(self, features: Features, *, train: bool = False) -> Posterior:
        """q(z | x) of features [B, N, F]."""
        raise NotImplementedError(f"{type(self).__name__} has no posterior")

    def decode(self, latent: Latent, *, train: bool = False) -> Features:
        """The mean of p(x | z): features [B, N, F], from the latent alone."""
        raise NotImplementedError(f"{type(self).__name__} has no decoder")

    def __call__(self, features: Features, *, train: bool = False) -> Features:
        """Posterior, its mode, decoder: touches every parameter, so it serves to initialise the variables."""
        return self.decode(self.posterior(features, train=train).mode(), train=train)

    def loss(
        self, features: Features, keys: Array, *, kl_weight: Array | float = 1.0, train: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        """What training by gradient lowers.

        Args:
          features: [B, N, F].
          keys: [B] typed keys, one for each sound, from which all that is random for it comes.
          kl_weight: multiplies the KL; traced, so that a schedule does not compile anew.
          train: whether dropout, batch statistics and the like are in training mode.

        Returns:
          The loss of each sound, [B], in nats, and a dict of [B] arrays to be logged ("reconstruction", "kl", "mse").
        """
        raise NotImplementedError(f"{type(self).__name__} is not trained by gradient")

    def learning_rates(self, params: Variables) -> Variables | None:
        """Factors of the learning rate, as `params`; None where all parameters learn at one rate."""
        return None

    # The two below work on the unbound module: pure functions of the variables, which a subclass may refine.

    def embed(self, variables: Variables, features: Features) -> Latent:
        """The one latent that stands for a sound: the posterior's mean. Deterministic, no key."""
        return self.apply(variables, features, method="posterior").mode()

    def reconstruct(self, variables: Variables, features: Features) -> Features:
        """Features -> `embed` -> decode."""
        return self.apply(variables, self.embed(variables, features), method="decode")


def latent_features(values: Array, latent: Latent) -> Features:
    """Decoded values [B, N, F] with what the latent carries along; without a mask, every frame counts."""
    mask = jnp.ones(values.shape[:2], values.dtype) if latent.mask is None else latent.mask
    return Features(values=values, mask=mask, conditions=latent.conditions, rate=latent.rate)
