"""Dense VAE in a PCA basis (configurations `notes_best` and `library_best`)."""

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

_INPUT_DEVIATION = 4.0
"""Standard deviation of the largest component at the encoder's input, so that rounding loses few of the small components."""


class Residual(nn.Module):
    """Residual block x + W2 gelu(W1 norm(x)), the feed-forward block of a transformer."""

    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Returns x [B, C] after the block."""
        y = nn.LayerNorm()(x)
        y = nn.gelu(nn.Dense(self.width)(y))
        return x + nn.Dense(x.shape[-1], kernel_init=nn.initializers.zeros)(y)


class Stack(nn.Module):
    """Dense layer, `depth` residual blocks, normalization and dense layer.

    Attributes:
      width: units of the hidden layers.
      depth: number of residual blocks.
      out: number of outputs.
      init_scale: factor of the initial weights of the last layer.
    """

    width: int
    depth: int
    out: int
    init_scale: float = 1.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Returns outputs [B, out] of x [B, C]."""
        x = nn.Dense(self.width)(x)
        for _ in range(self.depth):
            x = Residual(self.width)(x)
        kernel_init = nn.initializers.variance_scaling(self.init_scale**2, "fan_in", "truncated_normal")
        return nn.Dense(self.out, kernel_init=kernel_init)(nn.gelu(nn.LayerNorm()(x)))


class DenseVAE(TimbreModel):
    """VAE of dense layers on coordinates in a PCA basis of the training features.

    A basis of a few hundred components contains all but 1e-4 of the variance of note features. It keeps the networks small,
    and their output as smooth in time as the training features.

    The likelihood is a Gaussian with one learned variance (sigma-VAE: Rybkin et al. 2021), so that the weight of the KL needs
    no tuning. Squared errors, including those of the basis, are weighted by `feature_weights`. With those of
    `LogMel.band_bins`, a mel band counts as much as the STFT bins that it covers, as in a spectral distance.

    `embed` refines the mean of the encoder by `refine_steps` Levenberg-Marquardt steps on the squared error in the basis
    (`refine`). Like the loss, this error includes the silence after the end of a sound.

    With `linear_paths`, a matrix in parallel with each network maps coordinates to latents and back. Both are initialized as a
    PCA with D components, so that training starts from the best linear model. This suits the many latents of a library of
    diverse sounds (`library_best`); with eight latents the networks alone score better.

    Attributes:
      basis_size: number of components of the basis.
      width: units of the hidden layers of both networks.
      depth: number of residual blocks of both networks; may be 0.
      linear_paths: whether linear maps are added to the networks.
      feature_weights: weights of the F features in the squared error, in any unit; () for equal weights.
      silence_threshold: decoded values below it become 0, the silence of a logarithmic scale; 0 disables it.
      refine_steps: number of refinement steps of `embed`; 0 disables the refinement.
      refine_prior_weight: weight of |z|^2 relative to the squared error in the refinement.
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
        """Creates the layers."""
        size = self.feature_shape[0] * self.feature_shape[1]
        self.basis_mean = self.variable("basis", "mean", jnp.zeros, self.feature_shape)
        self.basis_components = self.variable("basis", "components", jnp.zeros, (self.basis_size, size))
        self.basis_scale = self.variable("basis", "scale", jnp.ones, (self.basis_size,))
        init_scale = 0.1 if self.linear_paths else 1.0
        self.encoder = Stack(self.width, self.depth, 2 * self.latent_size, init_scale)
        self.decoder = Stack(self.width, self.depth, self.basis_size, init_scale)
        if self.linear_paths:
            shape = (self.basis_size, self.latent_size)
            self.linear_encoder = self.param("linear_encoder", lambda key: jnp.eye(*shape))
            self.linear_decoder = self.param("linear_decoder", lambda key: jnp.eye(*reversed(shape)) / _INPUT_DEVIATION)
        self.log_sigma = self.param("log_sigma", nn.initializers.constant(-2.5), ())

    def _weight_roots(self) -> Array:
        """Returns the square roots of the normalized feature weights, [F] or a scalar."""
        if not self.feature_weights:
            return jnp.float32(1.0)
        if len(self.feature_weights) != self.feature_shape[1]:
            raise ValueError(
                f"model 'dense_vae': feature_weights must have one weight per feature (got {len(self.feature_weights)}, "
                f"expected {self.feature_shape[1]})"
            )
        weights = np.asarray(self.feature_weights, np.float64)
        return jnp.asarray(np.sqrt(weights / weights.mean()), jnp.float32)

    def _coordinates(self, values: Array) -> tuple[Array, Array]:
        """Returns coordinates [B, basis_size] and the squared error [B] outside of the basis."""
        centered = ((values - self.basis_mean.value) * self._weight_roots()).reshape(values.shape[0], -1)
        coordinates = jnp.matmul(centered, self.basis_components.value.T, precision="highest")
        # The components are orthonormal, so the squared norm is the sum of both parts; rounding could make the rest negative.
        rest = jnp.sum(jnp.square(centered), -1) - jnp.sum(jnp.square(coordinates), -1)
        return coordinates, jnp.maximum(rest, 0.0)

    def _posterior(self, coordinates: Array) -> tuple[Array, Array]:
        coordinates = _INPUT_DEVIATION * coordinates / self.basis_scale.value[0]
        mean, log_variance = jnp.split(self.encoder(coordinates), 2, axis=-1)
        if self.linear_paths:
            mean = mean + coordinates @ self.linear_encoder
            log_variance = log_variance - 2.0
        return mean, jnp.clip(log_variance - 2.0, -12.0, 4.0)

    def posterior(self, features: Features, *, train: bool = False) -> Posterior:
        """Returns the posterior q(z | x) of features [B, N, F]."""
        mean, log_variance = self._posterior(self._coordinates(features.values)[0])
        return Posterior(mean, log_variance, features.mask, features.conditions, features.rate)

    def _decode_coordinates(self, z: Array) -> Array:
        """Decodes latents [B, D] to coordinates [B, basis_size]."""
        coordinates = self.decoder(z)
        if self.linear_paths:
            coordinates = coordinates + z @ self.linear_decoder
        return coordinates * self.basis_scale.value[0]

    def raw(self, z: Array) -> Array:
        """Decodes latents [B, D] to features [B, N, F] before they are clipped to [0, 1]."""
        values = self._decode_coordinates(z) @ self.basis_components.value
        return values.reshape(-1, *self.feature_shape) / self._weight_roots() + self.basis_mean.value

    def decode(self, latent: Latent, *, train: bool = False) -> Features:
        """Returns the mean of p(x | z), features [B, N, F]."""
        values = jnp.clip(self.raw(latent.values), 0.0, 1.0)
        if self.silence_threshold:
            values = jnp.where(values < self.silence_threshold, 0.0, values)
        return latent_features(values, latent)

    def loss(
        self, features: Features, keys: Array, *, kl_weight: Array | float = 1.0, train: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        """Returns -log p(x | z) + kl_weight * KL, see `TimbreModel.loss`.

        The squared error is computed in the orthonormal basis, without decoding the features.
        """
        coordinates, rest = self._coordinates(features.values)
        posterior = Posterior(*self._posterior(coordinates))
        error = rest + jnp.sum(jnp.square(self._decode_coordinates(posterior.sample(keys).values) - coordinates), -1)
        size = features.values.shape[1] * features.values.shape[2]
        constant = size * (self.log_sigma + 0.5 * math.log(2.0 * math.pi))
        reconstruction, kl = 0.5 * error * jnp.exp(-2.0 * self.log_sigma) + constant, posterior.kl()
        return reconstruction + kl_weight * kl, {"reconstruction": reconstruction, "kl": kl, "mse": error / size}

    def embed(self, variables: Variables, features: Features) -> Latent:
        """Returns the mean of the encoder after `refine_steps` refinement steps. Deterministic."""
        latent = super().embed(variables, features)
        if self.refine_steps == 0:
            return latent
        values = refine(
            lambda z: self.apply(variables, z, method="_decode_coordinates"),
            self.apply(variables, features.values, method="_coordinates")[0],
            latent.values,
            steps=self.refine_steps,
            prior_weight=self.refine_prior_weight,
        )
        return latent.replace(values=jax.lax.stop_gradient(values))

    def initialize(self, variables: Variables, batches: Callable[[], Iterable[Features]]) -> Variables:
        """Returns variables with the PCA basis of the training features.

        Raises:
          ValueError: the number of sounds does not exceed that of the components.
        """
        count = sum(len(batch.values) for batch in batches())
        if count <= self.basis_size:
            raise ValueError(
                f"model 'dense_vae': basis_size={self.basis_size} needs more than {self.basis_size} training sounds "
                f"(got {count}); use more sounds or a smaller config.model.basis_size"
            )
        roots = np.asarray(self._weight_roots())

        def weighted() -> Iterable[np.ndarray]:
            return (np.asarray(batch.values) * roots for batch in batches())

        # parent=None keeps linen from registering the PCA as a submodule.
        fitted = PCA(feature_shape=self.feature_shape, latent_size=self.basis_size, parent=None).fit(weighted)["params"]
        basis = {**{key: fitted[key] for key in ("components", "scale")}, "mean": fitted["mean"] / roots}
        return {**variables, "basis": basis}
