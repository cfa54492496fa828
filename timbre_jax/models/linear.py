"""Baselines with the interface of a model: PCA and the mean of the training features."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from timbre_jax.models.base import TimbreModel, Variables, latent_features
from timbre_jax.types import Features, Latent, Posterior


class MeanImage(TimbreModel):
    """Baseline that decodes the mean of the training features; its one latent is 0."""

    latent_size: int = 1
    trained_by: ClassVar[str] = "fit"

    def setup(self):
        """Creates the layers."""
        self.mean = self.param("mean", nn.initializers.zeros, self.feature_shape)

    def posterior(self, features: Features, *, train: bool = False) -> Posterior:
        """Returns the posterior q(z | x) of features [B, N, F]."""
        zeros = jnp.zeros((features.values.shape[0], self.latent_size), features.values.dtype)
        return Posterior(zeros, jnp.full_like(zeros, -jnp.inf), features.mask, features.conditions, features.rate)

    def decode(self, latent: Latent, *, train: bool = False) -> Features:
        """Returns the mean of p(x | z), features [B, N, F]."""
        values = jnp.broadcast_to(self.mean, (latent.values.shape[0], *self.feature_shape))
        return latent_features(values, latent)

    def fit(self, batches: Callable[[], Iterable[np.ndarray]]) -> Variables:
        """Returns variables fitted to batches of feature values [B, N, F], which are read once."""
        mean, _ = _mean(batches())
        return {"params": {"mean": jnp.asarray(mean.reshape(self.feature_shape), jnp.float32)}}


class PCA(TimbreModel):
    """Principal component analysis with latents of unit variance on the training set.

    The linear model of least squared error for its number of latents. Whitening makes perturbations in standard deviations
    comparable to those of a VAE.
    """

    trained_by: ClassVar[str] = "fit"

    def setup(self):
        """Creates the layers."""
        size = self.feature_shape[0] * self.feature_shape[1]
        self.mean = self.param("mean", nn.initializers.zeros, self.feature_shape)
        self.components = self.param("components", nn.initializers.orthogonal(), (self.latent_size, size))
        self.scale = self.param("scale", nn.initializers.ones, (self.latent_size,))

    def posterior(self, features: Features, *, train: bool = False) -> Posterior:
        """Returns the posterior q(z | x) of features [B, N, F]."""
        centered = (features.values - self.mean).reshape(features.values.shape[0], -1)
        mean = jnp.matmul(centered, self.components.T, precision="highest") / self.scale
        return Posterior(mean, jnp.full_like(mean, -jnp.inf), features.mask, features.conditions, features.rate)

    def decode(self, latent: Latent, *, train: bool = False) -> Features:
        """Returns the mean of p(x | z), features [B, N, F]."""
        values = jnp.matmul(latent.values * self.scale, self.components, precision="highest")
        return latent_features(values.reshape(-1, *self.feature_shape) + self.mean, latent)

    def fit(self, batches: Callable[[], Iterable[np.ndarray]]) -> Variables:
        """Returns variables fitted to batches of feature values [B, N, F].

        Reads the batches several times, so that memory does not grow with their number. Decomposes the covariance if N * F is
        at most 4,096, else uses subspace iteration, whose memory is proportional to the number of latents.

        Raises:
          ValueError: the number of sounds does not exceed that of the latents.
        """
        mean, count = _mean(batches())
        if count <= self.latent_size:
            raise ValueError(f"model 'pca': {self.latent_size} latents need more than {self.latent_size} sounds (got {count})")
        decompose = _decompose_covariance if mean.size <= 4096 else _iterate_subspace
        variance, components = decompose(batches, mean, count, self.latent_size)
        # The sign of an eigenvector is arbitrary; a positive largest entry makes runs comparable.
        largest = np.take_along_axis(components, np.abs(components).argmax(1)[:, None], 1)
        components = components * np.sign(largest)
        scale = np.sqrt(np.maximum(variance, 1e-12))
        return {
            "params": {
                "mean": jnp.asarray(mean.reshape(self.feature_shape), jnp.float32),
                "components": jnp.asarray(components, jnp.float32),
                "scale": jnp.asarray(scale, jnp.float32),
            }
        }


def _mean(batches: Iterable[np.ndarray]) -> tuple[np.ndarray, int]:
    """Returns the mean [N * F] and the number of the sounds in batches."""
    total, count = 0.0, 0
    for batch in batches:
        batch = np.asarray(batch, np.float64).reshape(len(batch), -1)
        total, count = total + batch.sum(0), count + len(batch)
    if count == 0:
        raise ValueError("training split: contains no sounds to fit the model to")
    return total / count, count


def _centered(batches: Callable[[], Iterable[np.ndarray]], mean: np.ndarray) -> Iterable[np.ndarray]:
    """Yields batches [B, N * F] minus the mean."""
    for batch in batches():
        yield np.asarray(batch, np.float32).reshape(len(batch), -1) - mean.astype(np.float32)


def _decompose_covariance(batches, mean: np.ndarray, count: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the k largest variances in descending order and their components [k, N * F]."""
    from scipy.linalg import eigh
    from scipy.sparse.linalg import eigsh

    size = mean.size
    covariance = np.zeros((size, size), np.float64)
    for x in _centered(batches, mean):
        covariance += x.T @ x
    if 8 * k < size:
        # For few components Lanczos takes a fraction of a second, LAPACK many seconds. The fixed start makes it repeatable.
        variance, vectors = eigsh(covariance / count, k, which="LA", v0=np.random.default_rng(0).standard_normal(size))
        order = np.argsort(variance)
        variance, vectors = variance[order], vectors[:, order]
    else:
        variance, vectors = eigh(covariance / count, subset_by_index=[size - k, size - 1])
    return variance[::-1], vectors[:, ::-1].T


def _iterate_subspace(batches, mean: np.ndarray, count: int, k: int, *, extra: int = 24, passes: int = 7):
    """Computes the result of `_decompose_covariance` by randomized subspace iteration.

    Multiplies a random basis of k + `extra` columns repeatedly by the covariance, which is never formed, and orthonormalizes
    it (Halko, Martinsson & Tropp 2011, algorithm 4.4). Each pass reads the batches once.
    """
    width = min(k + extra, count, mean.size)
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((mean.size, width)))[0].astype(np.float32)
    for _ in range(passes):
        image = np.zeros(basis.shape, np.float64)
        for x in _centered(batches, mean):
            image += x.T @ (x @ basis)
        basis = np.linalg.qr(image)[0].astype(np.float32)
    inner = np.zeros((width, width), np.float64)
    for x in _centered(batches, mean):
        y = (x @ basis).astype(np.float64)
        inner += y.T @ y
    variance, vectors = np.linalg.eigh(inner / count)
    return variance[::-1][:k], (basis @ vectors[:, ::-1][:, :k]).T
