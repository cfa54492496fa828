"""Convolutional VAE of Natsiou, O'Leary & Longo 2023."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from timbre_jax.models.base import LARGEST_LOG_VARIANCE, TimbreModel, latent_features
from timbre_jax.models.layers.likelihoods import make_head
from timbre_jax.models.ops.convolution import Conv3x3
from timbre_jax.types import Array, Features, Latent, Posterior


class Encoder(nn.Module):
    """Strided convolutions and dense layers, [B, H, W] to mean and log-variance [B, D]."""

    latent_size: int
    channels: tuple[int, ...]

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Array]:
        """Returns mean and log-variance [B, D] of images [B, H, W]."""
        x = image[..., None]
        for features in self.channels:
            x = nn.relu(Conv3x3(features, "down")(x))
        x = x.reshape(x.shape[0], -1)
        return nn.Dense(self.latent_size, name="mean")(x), nn.Dense(self.latent_size, name="log_variance")(x)


class Decoder(nn.Module):
    """Dense layer and transposed convolutions, [B, D] to [B, H, W]."""

    image_shape: tuple[int, int]
    channels: tuple[int, ...]

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Returns images [B, H, W] of latents [B, D]."""
        factor = 2 ** len(self.channels)
        height, width = (size // factor for size in self.image_shape)
        x = nn.Dense(height * width * self.channels[-1])(z)
        x = nn.relu(x).reshape(-1, height, width, self.channels[-1])
        for features in reversed(self.channels):
            x = nn.relu(Conv3x3(features, "up")(x))
        return Conv3x3(1, "same")(x)[..., 0]


class ConvVAE(TimbreModel):
    """Convolutional VAE of Natsiou, O'Leary & Longo 2023 (section 3.2, Fig. 3).

    q(z | x) = N(mean(x), diag(exp(log_variance(x)))) and p(z) = N(0, I). The loss is -log p(x | z) + kl_weight * KL(q || p),
    summed over features, with one sample of z per sound (Kingma & Welling 2013, eq. 10).

    From the paper: encoder and decoder of two 2-D convolutions each (32 filters, kernel 3, stride 2, same padding, ReLU), two
    dense layers for mean and variance, 8 latents, binary cross-entropy. Inferred: 372 frames, because 373 cannot be halved
    twice; ReLU after the dense layer of the decoder; a final 3x3 convolution to one channel, as in the Keras example of a
    convolutional VAE (177,169 parameters in total); cross-entropy summed over features, because its mean with a summed KL
    collapses; a sigmoid where the text says "softmax" output. A softmax over the one channel would be constant, and over rows
    or frames it would sum to 1, which features in [0, 1] do not.

    The network treats features [B, N, F] as images of F rows and N columns. It pads both sides with zeros to multiples of
    2^layers and crops its output, so that any number of harmonics and frames is possible.

    Attributes:
      channels: number of filters of each convolution of the encoder; the decoder mirrors them.
      likelihood: "bernoulli" (the paper's), "gaussian" or "gaussian_rows", see `make_head`.
    """

    channels: tuple[int, ...] = (32, 32)
    likelihood: str = "bernoulli"

    def setup(self):
        """Creates the layers."""
        self.encoder = Encoder(self.latent_size, self.channels)
        self.decoder = Decoder(self._image_shape(), self.channels)
        self.head = make_head(self.likelihood, n_features=self.feature_shape[1])

    def _image_shape(self) -> tuple[int, int]:
        """Returns rows and columns of the padded image."""
        factor = 2 ** len(self.channels)
        frames, rows = (-(-size // factor) * factor for size in self.feature_shape)
        return rows, frames

    def posterior(self, features: Features, *, train: bool = False) -> Posterior:
        """Returns the posterior q(z | x) of features [B, N, F]."""
        frames, rows = self.feature_shape
        height, width = self._image_shape()
        padding = ((0, 0), (0, height - rows), (0, width - frames))
        image = jnp.pad(features.values.transpose(0, 2, 1), padding)
        mean, log_variance = self.encoder(image)
        log_variance = jnp.clip(log_variance, -LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)
        return Posterior(mean, log_variance, features.mask, features.conditions, features.rate)

    def raw(self, z: Array) -> Array:
        """Maps latents [B, D] to the input of the likelihood head, [B, N, F]."""
        frames, rows = self.feature_shape
        return self.decoder(z)[:, :rows, :frames].transpose(0, 2, 1)

    def decode(self, latent: Latent, *, train: bool = False) -> Features:
        """Returns the mean of p(x | z), features [B, N, F]."""
        return latent_features(self.head.mean(self.raw(latent.values)), latent)

    def loss(
        self, features: Features, keys: Array, *, kl_weight: Array | float = 1.0, train: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        """Returns the loss and its metrics, see `TimbreModel.loss`."""
        posterior = self.posterior(features, train=train)
        raw = self.raw(posterior.sample(keys).values)
        reconstruction, kl = self.head.nll(raw, features.values), posterior.kl()
        mse = jnp.mean(jnp.square(self.head.mean(raw) - features.values), axis=(1, 2))
        return reconstruction + kl_weight * kl, {"reconstruction": reconstruction, "kl": kl, "mse": mse}

    def make_training_layers(self, features: Features) -> None:
        """Calls the layers that only `loss` uses."""
        self.head.nll(features.values, features.values)
