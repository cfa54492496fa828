"""Timbre space: a representation and a trained model.

A checkpoint is loaded as a `TimbreSpace`, which analysis, generation, maps, metrics and exports take as input.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import flax.struct
import jax
import jax.numpy as jnp

from timbre_jax.models.base import TimbreModel, Variables
from timbre_jax.representations.base import Representation
from timbre_jax.types import Array, Features, Latent


class TimbreSpace(flax.struct.PyTreeNode):
    """Timbre space, which maps sounds to latents and latents to sounds.

    A space is an immutable pytree: variables and statistics are leaves, the model and the representation are static. It can be
    passed through `jax.jit`, `jax.vmap` and `jax.grad`.

    Attributes:
      variables: variables of the model.
      statistics: statistics of the training set: "latent_mean" and "latent_std" [D]; "latent_low" and "latent_high" [D], the
        1st and 99th percentile of each latent; and "condition_NAME" [], the median of each condition.
      model: module of the model, hashable.
      representation: settings of the representation, hashable.
    """

    variables: Variables
    statistics: Mapping[str, Array]
    model: TimbreModel = flax.struct.field(pytree_node=False)
    representation: Representation = flax.struct.field(pytree_node=False)

    @property
    def kind(self) -> str:
        """Kind of space: "static" for one latent per sound, "series" for one latent per frame."""
        return self.model.kind

    def check_kind(self, kind: str, *, discrete: bool | None = None) -> None:
        """Checks that the space is of the kind that a caller needs.

        Args:
          kind: "static" or "series".
          discrete: whether latents must be vectors of a codebook; None allows both.

        Raises:
          ValueError: the space is of another kind.
        """
        if self.kind != kind:
            latents = {"static": "one latent per sound", "series": "one latent per frame"}
            advice = "; convert it with timbre_jax.held_space" if kind == "static" else ""
            raise ValueError(f"space: this function needs a {kind} space, {latents[kind]} (got a {self.kind} space){advice}")
        if discrete is not None and self.model.is_discrete != discrete:
            needed, actual = ("codes", "continuous latents") if discrete else ("continuous latents", "codes")
            raise ValueError(f"space: this function needs a space of {needed} (got one of {actual})")

    @property
    def latent_size(self) -> int:
        """Number D of latent dimensions."""
        return self.model.latent_size

    @property
    def latent_rate(self) -> float:
        """Latents per second of a series space."""
        return float(self.representation.rate) / self.model.stride

    @property
    def sample_rate(self) -> int:
        """Sample rate in Hz of the waves that the space analyzes and synthesizes."""
        return self.representation.sample_rate

    def analyze(self, waves: Array, lengths: Array | None = None) -> Features:
        """Computes features [B, N, F] of waves.

        Args:
          waves: waves [B, T] in [-1, 1].
          lengths: real lengths [B] in samples, if the sounds are padded.

        Raises:
          ValueError: waves of another shape.
        """
        return _analyze(self.representation, _check_waves(waves), lengths)

    def encode(self, features: Features) -> Latent:
        """Encodes features to latents, the means of their posteriors; deterministic."""
        return _encode(self, features)

    def embed(self, waves: Array, lengths: Array | None = None) -> Latent:
        """Encodes waves [B, T] to latents by `analyze` and `encode`; deterministic.

        Args:
          waves: waves [B, T] in [-1, 1].
          lengths: real lengths [B] in samples, if the sounds are padded.
        """
        return self.encode(self.analyze(waves, lengths))

    def decode(self, latent: Latent | Array, key: Array | None = None) -> Features:
        """Decodes latents to features [B, N, F].

        Args:
          latent: latents, or their values [B, D] or [B, M, D] alone (see `latent`).
          key: random key of a stochastic decoder; None for a fixed key, with which equal latents give equal features.
        """
        return _decode(self, self.latent(latent), key)

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """Labels of each kind of class that the model predicts; empty without class heads."""
        return dict(self.model.classes)

    def classify(self, sounds: Features | Latent | Array) -> dict[str, Array]:
        """Predicts probabilities [B, K] of the labels of each kind in `classes`.

        Args:
          sounds: features, or latents or their values, which are decoded first.

        Raises:
          ValueError: the model has no class heads.
        """
        if not self.classes:
            raise ValueError("space: its model predicts no classes; train it with config.data.labels, such as ('family',)")
        return _classify(self, sounds if isinstance(sounds, Features) else self.decode(sounds))

    def synthesize(self, features: Features, key: Array | None = None) -> Array:
        """Synthesizes waves [B, T] from features.

        Args:
          features: features [B, N, F].
          key: random key of noise or phases; None for a fixed key.
        """
        return _synthesize(self.representation, features, key)

    def render(self, latent: Latent | Array, key: Array | None = None) -> Array:
        """Decodes and synthesizes latents to waves [B, T].

        Args:
          latent: latents, or their values alone.
          key: random key of the decoder and the synthesis; None for a fixed key.
        """
        return self.synthesize(self.decode(latent, key), key)

    def reconstruct(self, waves: Array, key: Array | None = None, lengths: Array | None = None) -> Array:
        """Encodes and decodes waves [B, T] to waves of the same shape.

        Args:
          waves: waves [B, T] in [-1, 1].
          key: random key of the decoder and the synthesis; None for a fixed key.
          lengths: real lengths [B] in samples, if the sounds are padded.
        """
        return self.render(self.embed(waves, lengths), key)

    def latent(self, values: Latent | Array) -> Latent:
        """Converts latent values to a `Latent` with the median conditions of the training set.

        Args:
          values: values [B, D] of a static space, or [B, M, D] of a series space; a `Latent` is returned unchanged.

        Raises:
          ValueError: values of another shape.
        """
        if not isinstance(values, Latent):
            values = jnp.asarray(values, jnp.float32)
            medians = {k.removeprefix("condition_"): v for k, v in self.statistics.items() if k.startswith("condition_")}
            conditions = {name: jnp.full(values.shape[:-1], value, jnp.float32) for name, value in medians.items()}
            values = Latent(values=values, conditions=conditions)
        axes = 3 if self.kind == "series" else 2
        if values.values.ndim != axes or values.values.shape[-1] != self.latent_size:
            shape = "[B, M, D]" if self.kind == "series" else "[B, D]"
            raise ValueError(
                f"latents: must be {shape} with D = {self.latent_size} for this {self.kind} space (got {values.values.shape})"
            )
        return values


def _check_waves(waves: Array) -> Array:
    waves = jnp.asarray(waves, jnp.float32)
    if waves.ndim != 2:
        raise ValueError(f"waves: must be [B, T], sounds and samples (got {waves.shape})")
    return waves


# These are functions of the module, so that spaces with equal settings share their compilations.
_analyze = jax.jit(lambda representation, waves, lengths: representation.analyze(waves, lengths), static_argnums=0)
_synthesize = jax.jit(lambda representation, features, key: representation.synthesize(features, key), static_argnums=0)
_encode = jax.jit(lambda space, features: space.model.embed(space.variables, features))
_classify = jax.jit(lambda space, features: space.model.apply(space.variables, features, method="classify"))


@jax.jit
def _decode(space: TimbreSpace, latent: Latent, key: Array | None) -> Features:
    keys: dict[str, Any] = {"key": key} if space.model.stochastic_decoder else {}
    return cast(Features, space.model.apply(space.variables, latent, method="decode", **keys))
