"""Decoder of a space as a differentiable function to images on the common scale of scores."""

from __future__ import annotations

from typing import cast

from timbre_jax.metrics.reconstruction import common_values
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Features, Latent


def decoded_images(space: TimbreSpace, latent: Latent) -> Array:
    """Decodes latents to images [B, N, F] on the common scale, inside a jitted function."""
    features = cast(Features, space.model.apply(space.variables, latent, method="decode"))
    return common_values(space.representation, features.values)
