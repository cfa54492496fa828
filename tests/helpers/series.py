"""Series spaces with known latents."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from timbre_jax.models.base import TimbreModel
from timbre_jax.representations.log_mel import LogMel
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features, Latent, Posterior

FRAMES = 40


class FrameLinear(TimbreModel):
    """Linear model of pairs of frames, latent = (pair - mean) @ basis^T, with stride 2."""

    kind = "series"
    stride: int = 2

    def setup(self):
        width = self.stride * self.feature_shape[1]
        self.mean = self.param("mean", nn.initializers.zeros, (width,))
        self.basis = self.param("basis", nn.initializers.zeros, (self.latent_size, width))

    def _folded(self, series):
        batch, count = series.shape[:2]
        padded = jnp.pad(series, ((0, 0), (0, -count % self.stride), *((0, 0),) * (series.ndim - 2)))
        return padded.reshape(batch, -1, self.stride * (series.shape[2] if series.ndim > 2 else 1))

    def posterior(self, features, *, train=False):
        mean = (self._folded(features.values) - self.mean) @ self.basis.T
        conditions = {k: self._folded(v).mean(-1) if jnp.ndim(v) == 2 else v for k, v in features.conditions.items()}
        mask, rate = self._folded(features.mask).max(-1), features.rate / self.stride
        return Posterior(mean, jnp.full_like(mean, -jnp.inf), mask, conditions, rate)

    def decode(self, latent, *, train=False):
        values = latent.values @ self.basis + self.mean
        values = values.reshape(values.shape[0], -1, self.feature_shape[1])
        mask = jnp.ones(latent.values.shape[:2]) if latent.mask is None else latent.mask
        conditions = {k: jnp.repeat(v, self.stride, 1) if jnp.ndim(v) == 2 else v for k, v in latent.conditions.items()}
        return Features(values, jnp.repeat(mask, self.stride, 1), conditions, latent.rate * self.stride)


def small_mel(frames: int = FRAMES) -> LogMel:
    """Returns log-mels of 24 bands with loudness, at 16 kHz with hop 128."""
    return LogMel(
        length=128 * frames, n_frames=0, n_mels=24, n_fft=512, window_length=512, fmin=40.0, reference="fixed",
        range_db=100.0, loudness=True, iterations=4, nnls_iterations=10,
    )  # fmt: skip


def linear_space(size: int = 4, *, frames: int = FRAMES, seed: int = 0) -> TimbreSpace:
    """Returns a series space on `small_mel` with a random orthonormal basis."""
    representation = small_mel(frames)
    model = FrameLinear(feature_shape=representation.feature_shape, latent_size=size)
    generator = np.random.default_rng(seed)
    basis = np.linalg.qr(generator.standard_normal((2 * 24, size)))[0].T
    params = {"mean": jnp.full((48,), 0.5), "basis": jnp.asarray(basis, jnp.float32)}
    statistics = {
        "latent_mean": jnp.zeros(size), "latent_std": jnp.ones(size), "latent_low": jnp.full(size, -2.0),
        "latent_high": jnp.full(size, 2.0), "condition_loudness": jnp.float32(-20.0),
    }  # fmt: skip
    return TimbreSpace(variables={"params": params}, statistics=statistics, model=model, representation=representation)


def tilted_space() -> TimbreSpace:
    """Returns a `linear_space` whose latents tilt and bulge the spectrum.

    The first latent moves the centroid from about 0.5 to 7 kHz.
    """
    space = linear_space(2)
    bands = np.linspace(-1, 1, 24)
    tilt, bulge = np.tile(bands, 2), np.tile(bands**2 - np.mean(bands**2), 2)
    basis = np.stack([tilt / np.linalg.norm(tilt), bulge / np.linalg.norm(bulge)])
    return space.replace(variables={"params": {"mean": jnp.full((48,), 0.6), "basis": jnp.asarray(basis, jnp.float32)}})


def random_series(batch: int = 2, count: int = 12, size: int = 3, *, seed: int = 0, rate: float = 50.0) -> Latent:
    """Returns random latent series with a loudness and a full mask."""
    generator = np.random.default_rng(seed)
    return Latent(
        values=generator.standard_normal((batch, count, size)).astype(np.float32),
        mask=np.ones((batch, count), np.float32),
        conditions={"loudness": (-40 + 5 * generator.standard_normal((batch, count))).astype(np.float32)},
        rate=rate,
    )
