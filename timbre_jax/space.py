"""`TimbreSpace`: a representation and a model with their parameters. What a checkpoint loads into, and the one thing that
analyzes, generation, maps, metrics, interfaces and exports take."""

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
    """An immutable pytree: variables and fitted statistics are leaves, the model and the representation are static.

    Attributes:
      variables: of the model.
      statistics: fitted on the training set: "latent_mean", "latent_std" [D], and "latent_low", "latent_high" [D], the
        1st and 99th percentile of every latent; "condition_NAME" [], the median of a condition.
      model, representation: settings only, hashable.
    """

    variables: Variables
    statistics: Mapping[str, Array]
    model: TimbreModel = flax.struct.field(pytree_node=False)
    representation: Representation = flax.struct.field(pytree_node=False)

    @property
    def kind(self) -> str:
        """ "static": a latent a sound; "series": a latent a frame."""
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
            advice = "; timbre_jax.held_space makes it static" if kind == "static" else ""
            raise ValueError(f"this needs a {kind} space ({latents[kind]}), got a {self.kind} one{advice}")
        if discrete is not None and self.model.is_discrete != discrete:
            needed, actual = ("codes", "continuous latents") if discrete else ("continuous latents", "codes")
            raise ValueError(f"this needs a space of {needed}, got one of {actual}")

    @property
    def latent_size(self) -> int:
        """D."""
        return self.model.latent_size

    @property
    def latent_rate(self) -> float:
        """Latents per second of a series space."""
        return float(self.representation.rate) / self.model.stride

    @property
    def sample_rate(self) -> int:
        """Of the waves that go in and come out, in Hz."""
        return self.representation.sample_rate

    def analyze(self, waves: Array, lengths: Array | None = None) -> Features:
        """Waves [B, T] in [-1, 1] to features [B, N, F]; `lengths` [B] in samples where sounds are padded."""
        return _analyze(self.representation, _waves(waves), lengths)

    def encode(self, features: Features) -> Latent:
        """Features to the one latent that stands for each sound (`embed` of the model says which)."""
        return _encode(self, features)

    def embed(self, waves: Array, lengths: Array | None = None) -> Latent:
        """Waves [B, T] to latents: analyze + posterior + mode. Deterministic: needs no key."""
        return self.encode(self.analyze(waves, lengths))

    def decode(self, latent: Latent | Array, key: Array | None = None) -> Features:
        """Latents, or their bare values [B, D], to features [B, N, F].

        `key`: of a model with a `stochastic_decoder`; None is a fixed one, and the same latents give the same sound.
        """
        return _decode(self, self.latent(latent), key)

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """The labels of each kind of class that the model predicts; empty for a model without class heads."""
        return dict(self.model.classes)

    def classify(self, sounds: Features | Latent | Array) -> dict[str, Array]:
        """Probabilities [B, K] of the labels of each kind in `classes`.

        Args:
          sounds: features; or latents (or their bare values), which are decoded first.

        Raises:
          ValueError: the model has no class heads.
        """
        if not self.classes:
            raise ValueError("this space predicts no classes: train one with config.data.labels, ('family',) for instance")
        return _classify(self, sounds if isinstance(sounds, Features) else self.decode(sounds))

    def synthesize(self, features: Features, key: Array | None = None) -> Array:
        """Features to waves [B, T]; `key` where noise or phase is drawn."""
        return _synthesize(self.representation, features, key)

    def render(self, latent: Latent | Array, key: Array | None = None) -> Array:
        """Latents, or their bare values, to waves [B, T]: decode + synthesize, both with `key`."""
        return self.synthesize(self.decode(latent, key), key)

    def reconstruct(self, waves: Array, key: Array | None = None, lengths: Array | None = None) -> Array:
        """Waves to waves through the latent."""
        return self.render(self.embed(waves, lengths), key)

    def latent(self, values: Latent | Array) -> Latent:
        """Bare values [B, D], or [B, M, D] of a series, as a `Latent` with the median conditions of the training set, constant
        over a series; a `Latent` as it is.

        Raises:
          ValueError: the last axis is not as long as the space has dimensions.
        """
        if not isinstance(values, Latent):
            values = jnp.asarray(values, jnp.float32)
            medians = {k.removeprefix("condition_"): v for k, v in self.statistics.items() if k.startswith("condition_")}
            conditions = {name: jnp.full(values.shape[:-1], value, jnp.float32) for name, value in medians.items()}
            values = Latent(values=values, conditions=conditions)
        axes = 3 if self.kind == "series" else 2
        if values.values.ndim != axes or values.values.shape[-1] != self.latent_size:
            shape = "[B, N, D]" if self.kind == "series" else "[B, D]"
            raise ValueError(
                f"latents of this {self.kind} space are {shape} with D = {self.latent_size}, not {values.values.shape}"
            )
        return values


def _waves(waves: Array) -> Array:
    waves = jnp.asarray(waves, jnp.float32)
    if waves.ndim != 2:
        raise ValueError(f"waves are [B, T] (sounds, samples), not {waves.shape}")
    return waves


# Compiled once for each space's settings and each shape; the static parts are hashable fields of the pytree.
_analyze = jax.jit(lambda representation, waves, lengths: representation.analyze(waves, lengths), static_argnums=0)
_synthesize = jax.jit(lambda representation, features, key: representation.synthesize(features, key), static_argnums=0)
_encode = jax.jit(lambda space, features: space.model.embed(space.variables, features))
_classify = jax.jit(lambda space, features: space.model.apply(space.variables, features, method="classify"))


@jax.jit
def _decode(space: TimbreSpace, latent: Latent, key: Array | None) -> Features:
    keys: dict[str, Any] = {"key": key} if space.model.stochastic_decoder else {}
    return cast(Features, space.model.apply(space.variables, latent, method="decode", **keys))
