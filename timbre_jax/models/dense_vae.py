"""A dense VAE in a fixed basis of the training features: `notes_best`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.models.base import TimbreModel, Variables, latent_features
from timbre_jax.models.layers.refinement import refine
from timbre_jax.models.linear import PCA
from timbre_jax.types import Array, Features, Latent, Posterior

_SPREAD = 4.0
"""Standard deviation of the largest component as the encoder sees it: most of the others are not then lost in rounding."""


class Residual(nn.Module):
    """x + W2 gelu(W1 norm(x)): the transformer's feed-forward block."""

    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = nn.LayerNorm()(x)
        y = nn.gelu(nn.Dense(self.width)(y))
        return x + nn.Dense(x.shape[-1], kernel_init=nn.initializers.zeros)(y)


class Stack(nn.Module):
    """Dense, `depth` residual blocks, norm, dense; `gain` is the size of the output at first, beside that of the input."""

    width: int
    depth: int
    out: int
    gain: float = 1.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.Dense(self.width)(x)
        for _ in range(self.depth):
            x = Residual(self.width)(x)
        kernel_init = nn.initializers.variance_scaling(self.gain**2, "fan_in", "truncated_normal")
        return nn.Dense(self.out, kernel_init=kernel_init)(nn.gelu(nn.LayerNorm()(x)))


class DenseVAE(TimbreModel):
    """VAE whose encoder reads, and whose decoder writes, coordinates of a PCA basis of the training features.

    The basis has `basis_size` components (a few hundred hold all but 1e-4 of the variance), so that the network is small
    and its output smooth in time where notes are. The decoder gets the D latents and nothing else.

    The likelihood is a Gaussian with one learned variance (sigma-VAE: Rybkin et al. 2021), so that the balance of
    reconstruction and KL needs no tuning; `kl_weight` of the training still multiplies the KL.

    Squared errors, the basis' included, count each feature with its weight: with `LogMel.band_bins`, a mel band counts as much
    as the part of the spectrum that it stands for, as in a spectral distance.

    `embed` is the encoder's mean refined by `refine_steps` Levenberg-Marquardt steps (see `refine`) on the squared error in
    the basis: of the whole picture, the silence after a sound's end included, as in the loss.

    With `linear_paths`, a matrix beside each stack carries the coordinates to the latents and back. Both begin as those of a PCA
    with D components: training starts from the best linear model, and the stacks learn what it cannot say. It is for latents
    as many as a library of unlike sounds needs (`library_best`); for eight the stacks alone do better.

    Attributes:
      basis_size: components of the fixed basis.
      width, depth: of both stacks.
      linear_paths: linear paths, see above.
      feature_weights: of the F features in the squared error, of any scale; () weighs all alike.
      silence_threshold: decoded values under it are 0, which is silence where 0 is the floor of a logarithmic scale; 0 gates nothing.
      refine_steps: 0 leaves the encoder's guess.
      refine_prior_weight: weight of |z|^2 against the squared error in the refinement.
    """

    initializes_from_data: ClassVar[bool] = True
    nonnegative_fields: ClassVar[tuple[str, ...]] = ("depth", "silence_threshold", "refine_steps", "refine_prior_weight")

    basis_size: int = 256
    width: int = 512
    depth: int = 2
    linear_paths: bool = False
    feature_weights: tuple[float, ...] = ()
    silence_threshold: float = 0.0
    refine_steps: int = 3
    refine_prior_weight: float = 1e-3

    def setup(self):
        size = self.feature_shape[0] * self.feature_shape[1]
        self.basis_mean = self.variable("basis", "mean", jnp.zeros, self.feature_shape)
        self.basis_components = self.variable("basis", "components", jnp.zeros, (self.basis_size, size))
        self.basis_scale = self.variable("basis", "scale", jnp.ones, (self.basis_size,))
        gain = 0.1 if self.linear_paths else 1.0
        self.encoder = Stack(self.width, self.depth, 2 * self.latent_size, gain)
        self.decoder = Stack(self.width, self.depth, self.basis_size, gain)
        if self.linear_paths:
            shape = (self.basis_size, self.latent_size)
            self.linear_encoder = self.param("linear_encoder", lambda key: jnp.eye(*shape))
            self.linear_decoder = self.param("linear_decoder", lambda key: jnp.eye(*reversed(shape)) / _SPREAD)
        self.log_sigma = self.param("log_sigma", nn.initializers.constant(-2.5), ())

    def _roots(self) -> Array:
        """Square roots of the features' weights, whose mean is 1: [F], or a scalar."""
        if not self.feature_weights:
            return jnp.float32(1.0)
        if len(self.feature_weights) != self.feature_shape[1]:
            raise ValueError(f"model dense_vae has {len(self.feature_weights)} weights for {self.feature_shape[1]} features")
        weights = np.asarray(self.feature_weights, np.float64)
        return jnp.asarray(np.sqrt(weights / weights.mean()), jnp.float32)

    def _coordinates(self, values: Array) -> tuple[Array, Array]:
        """Coordinates [B, basis_size] of features in the basis, and the squared error [B] of what it cannot say."""
        centered = ((values - self.basis_mean.value) * self._roots()).reshape(values.shape[0], -1)
        coordinates = jnp.matmul(centered, self.basis_components.value.T, precision="highest")
        # The components are orthonormal, so the squared norm splits (up to rounding, which must not make it negative).
        rest = jnp.sum(jnp.square(centered), -1) - jnp.sum(jnp.square(coordinates), -1)
        return coordinates, jnp.maximum(rest, 0.0)

    def _posterior(self, coordinates: Array) -> tuple[Array, Array]:
        coordinates = _SPREAD * coordinates / self.basis_scale.value[0]
        mean, log_variance = jnp.split(self.encoder(coordinates), 2, axis=-1)
        if self.linear_paths:
            mean = mean + coordinates @ self.linear_encoder
            log_variance = log_variance - 2.0
        return mean, jnp.clip(log_variance - 2.0, -12.0, 4.0)

    def posterior(self, features: Features, *, train: bool = False) -> Posterior:
        mean, log_variance = self._posterior(self._coordinates(features.values)[0])
        return Posterior(mean, log_variance, features.mask, features.conditions, features.rate)

    def _drawn(self, z: Array) -> Array:
        """Latents [B, D] to coordinates [B, basis_size]."""
        drawn = self.decoder(z)
        if self.linear_paths:
            drawn = drawn + z @ self.linear_decoder
        return drawn * self.basis_scale.value[0]

    def raw(self, z: Array) -> Array:
        """Latents [B, D] to features [B, N, F] before they are clipped to [0, 1]."""
        values = self._drawn(z) @ self.basis_components.value
        return values.reshape(-1, *self.feature_shape) / self._roots() + self.basis_mean.value

    def decode(self, latent: Latent, *, train: bool = False) -> Features:
        values = jnp.clip(self.raw(latent.values), 0.0, 1.0)
        if self.silence_threshold:
            values = jnp.where(values < self.silence_threshold, 0.0, values)
        return latent_features(values, latent)

    def loss(
        self, features: Features, keys: Array, *, kl_weight: Array | float = 1.0, train: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        """-log p(x | z) + kl_weight * KL, one sample of z a sound, p a Gaussian of the one learned variance.

        The squared error is taken in the basis, which is orthonormal: the picture itself is never made.
        """
        coordinates, rest = self._coordinates(features.values)
        posterior = Posterior(*self._posterior(coordinates))
        error = rest + jnp.sum(jnp.square(self._drawn(posterior.sample(keys).values) - coordinates), -1)
        size = features.values.shape[1] * features.values.shape[2]
        constant = size * (self.log_sigma + 0.5 * math.log(2.0 * math.pi))
        reconstruction, kl = 0.5 * error * jnp.exp(-2.0 * self.log_sigma) + constant, posterior.kl()
        return reconstruction + kl_weight * kl, {"reconstruction": reconstruction, "kl": kl, "mse": error / size}

    def embed(self, variables: Variables, features: Features) -> Latent:
        """The encoder's mean, refined by `refine_steps` Levenberg-Marquardt steps on the decoder. Deterministic."""
        latent = super().embed(variables, features)
        if self.refine_steps == 0:
            return latent
        values = refine(
            lambda z: self.apply(variables, z, method="_drawn"),
            self.apply(variables, features.values, method="_coordinates")[0],
            latent.values,
            steps=self.refine_steps,
            prior_weight=self.refine_prior_weight,
        )
        return latent.replace(values=jax.lax.stop_gradient(values))

    def initialize(self, variables: Variables, batches: Callable[[], Iterable[Features]]) -> Variables:
        """Variables with the basis of the training features: a PCA of batches of them, read several times.

        Raises:
          ValueError: not more sounds than the basis has components.
        """
        count = sum(len(batch.values) for batch in batches())
        if count <= self.basis_size:
            raise ValueError(
                f"model dense_vae with basis_size={self.basis_size} needs more than {self.basis_size} sounds to train on, and "
                f"the training set has {count}: use more sounds or a smaller config.model.basis_size"
            )
        roots = np.asarray(self._roots())

        def weighted() -> Iterable[np.ndarray]:
            return (np.asarray(batch.values) * roots for batch in batches())

        # parent=None: a module of its own, not one inside this.
        fitted = PCA(feature_shape=self.feature_shape, latent_size=self.basis_size, parent=None).fit(weighted)["params"]
        basis = {**{key: fitted[key] for key in ("components", "scale")}, "mean": fitted["mean"] / roots}
        return {**variables, "basis": basis}
