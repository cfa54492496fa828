"""Notes with known factors and spaces with known latents, to test analysis methods."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from timbre_jax.models import make_model
from timbre_jax.models.base import TimbreModel
from timbre_jax.representations.harmonic_tracks import HarmonicTracks
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features, Posterior

FACTORS = ("pitch", "level", "brightness", "decay")
"""Factors in the order of their effect on the features, largest first."""


@dataclasses.dataclass(frozen=True)
class Planted:
    """Features [M], independent standard normal factors [M, 4] and instruments [M] of notes."""

    representation: HarmonicTracks
    features: Features
    factors: np.ndarray
    instruments: np.ndarray


def small_tracks(frames: int = 24) -> HarmonicTracks:
    """Returns harmonic tracks of a short sound with 7 harmonics."""
    return HarmonicTracks(length=172 * frames, n_frames=frames)


def planted_notes(count: int = 120, *, frames: int = 24, seed: int = 0) -> Planted:
    """Returns notes whose pitch, level, brightness and decay move the features independently.

    Pitch moves the f0 row only, level all harmonics equally; brightness tilts the harmonics over their number, decay over time.
    The four directions are orthogonal, with mean square effects in the ratio 16 : 9 : 4 : 1.
    """
    representation = small_tracks(frames)
    factors = np.random.default_rng(seed).standard_normal((count, 4))
    # Decorrelated and of unit variance in the sample, so that the planted directions are exactly its principal directions.
    factors -= factors.mean(0)
    factors = np.linalg.qr(factors)[0] * np.sqrt(count)
    factors = np.clip(factors, -4.0, 4.0)
    tilt = np.linspace(1, -1, 7) / np.sqrt(np.mean(np.linspace(1, -1, 7) ** 2))
    time = np.linspace(1, -1, frames) / np.sqrt(np.mean(np.linspace(1, -1, frames) ** 2))
    pitch, level, brightness, decay = (factors[:, i, None, None] for i in range(4))
    # There is one row of f0 and seven of amplitudes; a factor of sqrt(7) makes their squared effects comparable.
    f0 = 0.5 + 0.012 * 4 * np.sqrt(7) * pitch[..., 0] * np.ones((1, frames))
    amplitude = 0.5 + 0.012 * (3 * level - 2 * brightness * tilt + decay * time[:, None])
    values = np.concatenate([f0[..., None], amplitude + np.zeros((count, frames, 7))], axis=-1).astype(np.float32)
    features = Features(values=values, mask=np.ones((count, frames), np.float32), rate=representation.rate)
    return Planted(representation, features, factors, np.arange(count) % 12)


def fitted_space(planted: Planted, name: str = "pca", **settings) -> TimbreSpace:
    """Returns the space of a model fitted to the notes, with statistics as after training."""
    model = make_model(name, feature_shape=planted.representation.feature_shape, **settings)
    variables = model.fit(lambda: [planted.features.values])
    return with_statistics(model, variables, planted)


def with_statistics(model, variables, planted: Planted) -> TimbreSpace:
    """Returns the space of a model, with statistics of its latents of the notes."""
    blank = jnp.zeros(model.latent_size)
    space = TimbreSpace(variables, {"latent_mean": blank}, model, planted.representation)
    latents = np.asarray(space.encode(planted.features).values)
    low, high = np.percentile(latents, [1, 99], axis=0)
    statistics = {"latent_mean": latents.mean(0), "latent_std": latents.std(0), "latent_low": low, "latent_high": high}
    return space.replace(statistics={key: jnp.asarray(value, jnp.float32) for key, value in statistics.items()})


class HandMade(TimbreModel):
    """Linear model with given encoder and decoder."""

    def setup(self):
        size = self.feature_shape[0] * self.feature_shape[1]
        self.mean = self.param("mean", nn.initializers.zeros, self.feature_shape)
        self.decoder = self.param("decoder", nn.initializers.zeros, (self.latent_size, size))
        self.encoder = self.param("encoder", nn.initializers.zeros, (self.latent_size, size))

    def posterior(self, features, *, train=False):
        centered = (features.values - self.mean).reshape(features.values.shape[0], -1)
        mean = centered @ self.encoder.T
        return Posterior(mean, jnp.full_like(mean, -jnp.inf), features.mask, features.conditions, features.rate)

    def decode(self, latent, *, train=False):
        values = (latent.values @ self.decoder).reshape(-1, *self.feature_shape) + self.mean
        return Features(values=values, mask=jnp.ones(values.shape[:2]), conditions=latent.conditions, rate=latent.rate)


def hand_made_space(planted: Planted, effects: np.ndarray) -> TimbreSpace:
    """Returns a linear space with D latents for given directions [D, N, F] of the features.

    The encoder is the pseudo-inverse of the decoder. A direction of zeros is a latent that the decoder ignores; its encoder is
    random, so that the latent varies like the others.
    """
    size = len(effects)
    flat = np.asarray(effects, np.float32).reshape(size, -1)
    dummy = np.flatnonzero(np.all(flat == 0, axis=1))
    model = HandMade(feature_shape=planted.representation.feature_shape, latent_size=size)
    readers = np.linalg.pinv(flat).T
    readers[dummy] = np.random.default_rng(1).standard_normal((len(dummy), flat.shape[1])) * 0.1
    mean = np.asarray(planted.features.values).mean(0)
    params = {"mean": jnp.asarray(mean), "decoder": jnp.asarray(flat), "encoder": jnp.asarray(readers, jnp.float32)}
    return with_statistics(model, {"params": params}, planted)
