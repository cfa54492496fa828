"""Base class of the models, linen modules with a posterior over latents and a decoder."""

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
"""Bound on the absolute log-variance of a posterior. Samples overflow beyond e^20; trained posteriors stay far below."""


class TimbreModel(nn.Module):
    """Base class of all models: a linen module whose fields are plain, hashable settings.

    Models are pure functions of their variables: `model.apply(variables, features, method="posterior")`. They are trained by
    gradient (`loss`) or fitted in closed form (`fit`), see `trained_by`. The class declares every optional capability with
    the value for a model that lacks it; subclasses override those that apply, as class attributes, settings or properties.

    Attributes:
      feature_shape: (N, F), the shape of the features of one sound.
      latent_size: number of latent dimensions D.
    """

    feature_shape: tuple[int, int] = (372, 8)
    latent_size: int = 8

    kind: ClassVar[str] = "static"
    """"static" (one latent per sound) or "series" (one latent per `stride` frames)."""
    trained_by: ClassVar[str] = "gradient"
    """"gradient" (by `loss`) or "fit" (by `fit`)."""
    stride: ClassVar[int] = 1
    """Frames per latent of a series."""
    stochastic_decoder: ClassVar[bool] = False
    """True if `decode` draws noise and takes `key` (None for a fixed one), so that squared errors of features mean nothing."""
    num_codebooks: ClassVar[int] = 0
    """Number of residual codebooks whose vectors add up to a latent; 0 for continuous latents."""
    streaming: ClassVar[bool] = False
    """True if the model encodes and decodes block by block (`encode_block`, `decode_block`)."""
    classes: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = ()
    """Classes that `classify` predicts: names of label sets with their labels, (("family", ("kick", "snare")), ...)."""
    labels: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = ()
    """Labels that training removes from the latents, in the form of `classes`."""
    labels_setting: ClassVar[str | None] = None
    """Setting that receives the labels of a training run: "classes", "labels", or None if the model uses no labels."""
    nonnegative_fields: ClassVar[tuple[str, ...]] = ()
    """Settings that may be 0; `make_model` requires all other numbers to be positive."""
    initializes_from_data: ClassVar[bool] = False
    """True if `initialize` computes variables from the training features before the first step."""
    uses_progress: ClassVar[bool] = False
    """True if `loss` takes `progress`, the completed fraction of the run as a traced float in 0..1."""
    uses_axis: ClassVar[bool] = False
    """True if `loss` takes `axis_name`, the axis of `pmap` that splits a batch (or None), for statistics of the batch."""

    @property
    def is_discrete(self) -> bool:
        """True if latents are sums of codebook vectors."""
        return self.num_codebooks > 0

    @property
    def wrapped(self) -> TimbreModel:
        """The wrapped model, or the model itself if it wraps none."""
        return self

    def posterior(self, features: Features, *, train: bool = False) -> Posterior:
        """Returns the posterior q(z | x) of features [B, N, F]."""
        raise NotImplementedError(f"{type(self).__name__}: posterior is not implemented")

    def decode(self, latent: Latent, *, train: bool = False) -> Features:
        """Returns the mean of p(x | z), features [B, N, F]."""
        raise NotImplementedError(f"{type(self).__name__}: decode is not implemented")

    def __call__(self, features: Features, *, train: bool = False) -> Features:
        """Decodes the mode of the posterior; `init` calls this to create all parameters."""
        if self.is_initializing():
            self.make_training_layers(features)
        return self.decode(self.posterior(features, train=train).mode(), train=train)

    def make_training_layers(self, features: Features) -> None:
        """Calls the layers that only `loss` uses, so that `init` creates their parameters."""

    def classify(self, features: Features) -> dict[str, Array]:
        """Returns the probabilities [B, K] of the labels of each label set in `classes`."""
        raise NotImplementedError(f"{type(self).__name__}: predicts no classes")

    def loss(
        self, features: Features, keys: Array, *, kl_weight: Array | float = 1.0, train: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        """Returns the loss that training minimizes, and its metrics.

        Args:
          features: [B, N, F].
          keys: [B] typed keys, one per sound, from which all random numbers of the sound derive.
          kl_weight: factor of the KL, traced so that a schedule does not cause recompilation.
          train: whether layers such as dropout and batch normalization are in training mode.

        Returns:
          The loss of each sound in nats, [B], and metrics to log, [B] each ("reconstruction", "kl", "mse").
        """
        raise NotImplementedError(f"{type(self).__name__}: is not trained by gradient")

    def learning_rates(self, params: Variables) -> Variables | None:
        """Returns a factor of the learning rate for every parameter, or None if all factors are 1."""
        return None

    # The methods below are called on the unbound module, as pure functions of the variables.

    def embed(self, variables: Variables, features: Features) -> Latent:
        """Returns the latents of features, the mode of the posterior. Deterministic."""
        return cast(Posterior, self.apply(variables, features, method="posterior")).mode()

    def reconstruct(self, variables: Variables, features: Features) -> Features:
        """Returns the decoded embedding of features."""
        return cast(Features, self.apply(variables, self.embed(variables, features), method="decode"))

    def initialize(self, variables: Variables, batches: Callable[[], Iterable[Features]]) -> Variables:
        """Returns variables initialized from the training features (`initializes_from_data`)."""
        return variables

    def fit(self, batches: Callable[[], Iterable[Any]]) -> Variables:
        """Returns variables fitted in closed form to batches of feature values [B, N, F]."""
        raise NotImplementedError(f"{type(self).__name__}: is not trained in closed form")

    # Discrete models

    def codebook(self, variables: Variables) -> Array:
        """Returns the codebook vectors, [K, D], or [Q, K, D] with Q residual codebooks."""
        raise NotImplementedError(f"{type(self).__name__}: has no codebook")

    def codebook_shares(self, variables: Variables) -> Array | None:
        """Returns the share of training frames per code, [Q, K], or None if unknown."""
        return None

    def from_codes(self, variables: Variables, codes: Array) -> Array:
        """Returns the latent values [..., D] of codes [...], or [..., Q] with residual codebooks."""
        raise NotImplementedError(f"{type(self).__name__}: has no codebook")

    # Streaming models (see `timbre_jax.inference.streaming`)

    @property
    def look_ahead(self) -> tuple[int, int]:
        """Look-ahead of the streaming encoder and decoder, in latents."""
        raise NotImplementedError(f"{type(self).__name__}: cannot stream")

    def encoder_state(self, batch: int) -> State:
        """Returns the state of the streaming encoder before the first block."""
        raise NotImplementedError(f"{type(self).__name__}: cannot stream")

    def encode_block(self, state: State, features: Features) -> tuple[State, Latent]:
        """Encodes a block of features (a multiple of the stride), delayed by the look-ahead."""
        raise NotImplementedError(f"{type(self).__name__}: cannot stream")

    def decoder_state(self, batch: int) -> State:
        """Returns the state of the streaming decoder before the first block."""
        raise NotImplementedError(f"{type(self).__name__}: cannot stream")

    def decode_block(self, state: State, latent: Latent, *, key: Array | None = None) -> tuple[State, Features]:
        """Decodes a block of latents to `stride` frames each, delayed by the look-ahead."""
        raise NotImplementedError(f"{type(self).__name__}: cannot stream")


def latent_features(values: Array, latent: Latent) -> Features:
    """Returns features of decoded values [B, N, F] with mask and conditions of a latent."""
    mask = jnp.ones(values.shape[:2], values.dtype) if latent.mask is None else latent.mask
    return Features(values=values, mask=mask, conditions=latent.conditions, rate=latent.rate)
