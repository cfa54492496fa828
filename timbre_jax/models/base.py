"""Base class of the models: linen modules with a posterior over latents and a decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, cast

import flax.linen as nn
import jax.numpy as jnp

from timbre_jax.types import Array, Features, Latent, Posterior

Variables = Any
"""A linen variables dict: {"params": ..., and mutable collections such as "batch_stats"}."""
State = Any
"""State of a stream: a pytree of arrays."""


LARGEST_LOG_VARIANCE = 20.0
"""Bound of posteriors' log-variances on both sides: beyond e^20 a sample overflows; no trained posterior comes near."""


class TimbreModel(nn.Module):
    """Base of every model. Subclasses are linen modules with plain hashable settings as fields.

    A model is pure: `model.apply(variables, features, method="posterior")`. It is trained by gradient (`loss`) or in closed
    form (`fit`), which `trained_by` says. Everything that a model can do beyond that is declared here, with the value of a
    model that cannot; a subclass overrides the members that apply to it, as class attributes, settings or properties.

    Attributes:
      feature_shape: (N, F) of the features that it takes as input and decodes.
      latent_size: D.
    """

    feature_shape: tuple[int, int] = (372, 8)
    latent_size: int = 8

    kind: ClassVar[str] = "static"
    """"static": one latent per sound; "series": one latent per `stride` frames."""
    trained_by: ClassVar[str] = "gradient"
    """"gradient" (has `loss`) or "fit" (has `fit`)."""
    stride: ClassVar[int] = 1
    """Frames per latent of a series."""
    stochastic_decoder: ClassVar[bool] = False
    """Whether `decode` draws noise and takes `key=` (None is a fixed key). Squared errors of its output mean nothing."""
    num_codebooks: ClassVar[int] = 0
    """Codebooks that a latent is a sum of vectors of; 0 for continuous latents. Above 0, the model has `codebook`."""
    streaming: ClassVar[bool] = False
    """Whether the model can encode and decode block by block (`encode_block`, `decode_block`)."""
    classes: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = ()
    """Kinds of class that `classify` predicts, with their labels: (("family", ("kick", "snare")), ...)."""
    labels: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = ()
    """Labels that the latents are trained not to contain, in the form of `classes`."""
    labels_setting: ClassVar[str | None] = None
    """Setting that takes the labels of a training run, "classes" or "labels"; None for a model that uses none."""
    nonnegative_fields: ClassVar[tuple[str, ...]] = ()
    """Settings that may be 0; all other numbers must be above 0 (`make_model` checks them)."""
    initializes_from_data: ClassVar[bool] = False
    """Whether `initialize` sets variables from the training features before the first step."""
    uses_progress: ClassVar[bool] = False
    """Whether `loss` takes `progress`: steps taken / all steps, a traced float 0..1."""
    uses_axis: ClassVar[bool] = False
    """Whether `loss` takes `axis_name`: the mapped axis that splits a batch (`pmap`), for batch statistics; or None."""

    @property
    def is_discrete(self) -> bool:
        """Whether latents are vectors of a codebook."""
        return self.num_codebooks > 0

    @property
    def wrapped(self) -> TimbreModel:
        """The model that this one wraps; itself if it wraps none."""
        return self

    def posterior(self, features: Features, *, train: bool = False) -> Posterior:
        """Returns q(z | x) of features [B, N, F]."""
        raise NotImplementedError(f"{type(self).__name__} has no posterior")

    def decode(self, latent: Latent, *, train: bool = False) -> Features:
        """Returns the mean of p(x | z), features [B, N, F], from the latent alone."""
        raise NotImplementedError(f"{type(self).__name__} has no decoder")

    def __call__(self, features: Features, *, train: bool = False) -> Features:
        """Decodes the mode of the posterior; as it makes every parameter, it serves to initialize the variables."""
        if self.is_initializing():
            self.make_training_layers(features)
        return self.decode(self.posterior(features, train=train).mode(), train=train)

    def make_training_layers(self, features: Features) -> None:
        """Calls the layers that neither `posterior` nor `decode` calls, so that their parameters are made."""

    def classify(self, features: Features) -> dict[str, Array]:
        """Returns probabilities [B, K] of the labels of every kind of class in `classes`."""
        raise NotImplementedError(f"{type(self).__name__} predicts no classes")

    def loss(
        self, features: Features, keys: Array, *, kl_weight: Array | float = 1.0, train: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        """Returns the loss that training by gradient minimizes.

        Args:
          features: [B, N, F].
          keys: [B] typed keys, one per sound, the source of all its randomness.
          kl_weight: multiplies the KL; traced, so that a schedule does not compile anew.
          train: whether dropout, batch statistics and the like are in training mode.

        Returns:
          The loss of each sound, [B], in nats, and a dict of [B] arrays to be logged ("reconstruction", "kl", "mse").
        """
        raise NotImplementedError(f"{type(self).__name__} is not trained by gradient")

    def learning_rates(self, params: Variables) -> Variables | None:
        """Returns factors of the learning rate, as `params`; None if all parameters learn at one rate."""
        return None

    # The methods below work on the unbound module: pure functions of the variables, which a subclass may refine.

    def embed(self, variables: Variables, features: Features) -> Latent:
        """Returns the posterior's mean, the latent of a sound. Deterministic, takes no key."""
        return cast(Posterior, self.apply(variables, features, method="posterior")).mode()

    def reconstruct(self, variables: Variables, features: Features) -> Features:
        """Decodes the embedding of features."""
        return cast(Features, self.apply(variables, self.embed(variables, features), method="decode"))

    def initialize(self, variables: Variables, batches: Callable[[], Iterable[Features]]) -> Variables:
        """Returns variables set from the training features, read batch by batch (`initializes_from_data`)."""
        return variables

    def fit(self, batches: Callable[[], Iterable[Any]]) -> Variables:
        """Returns variables fitted in closed form to batches of feature values [b, N, F]."""
        raise NotImplementedError(f"{type(self).__name__} is not trained in closed form")

    # Discrete models

    def codebook(self, variables: Variables) -> Array:
        """Returns the vectors, [K, D], or [Q, K, D] with Q residual codebooks."""
        raise NotImplementedError(f"{type(self).__name__} has no codebook")

    def codebook_shares(self, variables: Variables) -> Array | None:
        """Returns each code's share of the training frames, [Q, K] (moving averages); None if the model keeps none."""
        return None

    def from_codes(self, variables: Variables, codes: Array) -> Array:
        """Returns values [..., D] of codes [...], or [..., Q] with residual codebooks."""
        raise NotImplementedError(f"{type(self).__name__} has no codebook")

    # Streaming models, see `timbre_jax.inference.streaming`

    @property
    def look_ahead(self) -> tuple[int, int]:
        """Latents by which a stream of the encoder, and one of the decoder, is late."""
        raise NotImplementedError(f"{type(self).__name__} cannot stream")

    def encoder_state(self, batch: int) -> State:
        """Returns the state of a stream of features before its first block."""
        raise NotImplementedError(f"{type(self).__name__} cannot stream")

    def encode_block(self, state: State, features: Features) -> tuple[State, Latent]:
        """Encodes a block of features, a whole number of strides, to as many latents, `look_ahead` latents late."""
        raise NotImplementedError(f"{type(self).__name__} cannot stream")

    def decoder_state(self, batch: int) -> State:
        """Returns the state of a stream of latents before its first block."""
        raise NotImplementedError(f"{type(self).__name__} cannot stream")

    def decode_block(self, state: State, latent: Latent, *, key: Array | None = None) -> tuple[State, Features]:
        """Decodes a block of latents to `stride` times as many frames, `look_ahead` latents late."""
        raise NotImplementedError(f"{type(self).__name__} cannot stream")


def latent_features(values: Array, latent: Latent) -> Features:
    """Returns decoded values [B, N, F] with the latent's mask, conditions and rate; without a mask, every frame counts."""
    mask = jnp.ones(values.shape[:2], values.dtype) if latent.mask is None else latent.mask
    return Features(values=values, mask=mask, conditions=latent.conditions, rate=latent.rate)
