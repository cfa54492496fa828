"""The convolutional VAE of Natsiou, O'Leary & Longo 2023."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from timbre_jax.models.base import LARGEST_LOG_VARIANCE, TimbreModel, latent_features
from timbre_jax.models.layers.likelihoods import make_head
from timbre_jax.models.ops.convolution import Conv3x3
from timbre_jax.types import Array, Features, Latent, Posterior


class Encoder(nn.Module):
    """Stride-2 convolutions, flatten, two dense layers: [B, H, W] to mean and log-variance [B, D]."""

    latent_size: int
    channels: tuple[int, ...]

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Array]:
        x = image[..., None]
        for features in self.channels:
            x = nn.relu(Conv3x3(features, "down")(x))
        x = x.reshape(x.shape[0], -1)
        return nn.Dense(self.latent_size, name="mean")(x), nn.Dense(self.latent_size, name="log_variance")(x)


class Decoder(nn.Module):
    """The encoder mirrored: dense, stride-2 transposed convolutions, one 3x3 convolution to a single channel."""

    image_shape: tuple[int, int]
    channels: tuple[int, ...]

    @nn.compact
    def __call__(self, z: Array) -> Array:
        factor = 2 ** len(self.channels)
        height, width = (size // factor for size in self.image_shape)
        x = nn.Dense(height * width * self.channels[-1])(z)
        x = nn.relu(x).reshape(-1, height, width, self.channels[-1])
        for features in reversed(self.channels):
            x = nn.relu(Conv3x3(features, "up")(x))
        return Conv3x3(1, "same")(x)[..., 0]


class ConvVAE(TimbreModel):
    """q(z | x) = N(mean(x), diag(exp(log_variance(x)))), p(z) = N(0, I), p(x | z) by the likelihood head.

    Loss: -log p(x | z) + kl_weight * KL(q || p), one sample of z a sound, summed over pixels (Kingma & Welling 2013, eq. 10).

    The paper (Natsiou, O'Leary & Longo 2023, section 3.2 and Fig. 3) says: encoder and decoder of two 2-D convolutional layers
    each, 32 filters, kernel 3, stride 2, same padding, ReLU; two dense layers for mean and variance; 8 latents; binary
    cross-entropy. Inferred here: 372 frames (373 do not halve twice); ReLU after the decoder's dense layer; a last 3x3
    convolution to one channel, as in the usual Keras example (177,169 parameters in all); cross-entropy summed over pixels
    (its mean, with a summed KL, collapses). The text's "softmax" output is read as a sigmoid: over the one channel softmax
    would be the constant 1, over two classes it is the sigmoid, and over rows or frames its output sums to 1, which features
    in [0, 1] do not.

    Features [B, N, F] are seen as pictures of F rows and N columns; both are padded with zeros to multiples of 2^layers inside,
    and cropped on the way out, so any number of harmonics or frames will do.

    `embed` is the posterior's mean.

    Attributes:
      channels: filters of the layers.
      likelihood: "bernoulli" (the paper's), "gaussian" or "gaussian_rows" (`heads`).
    """

    channels: tuple[int, ...] = (32, 32)
    likelihood: str = "bernoulli"

    def setup(self):
        self.encoder = Encoder(self.latent_size, self.channels)
        self.decoder = Decoder(self._padded(), self.channels)
        self.head = make_head(self.likelihood, n_features=self.feature_shape[1])

    def _padded(self) -> tuple[int, int]:
        factor = 2 ** len(self.channels)
        frames, rows = (-(-size // factor) * factor for size in self.feature_shape)
        return rows, frames

    def posterior(self, features: Features, *, train: bool = False) -> Posterior:
        frames, rows = self.feature_shape
        height, width = self._padded()
        padding = ((0, 0), (0, height - rows), (0, width - frames))
        image = jnp.pad(features.values.transpose(0, 2, 1), padding)
        mean, log_variance = self.encoder(image)
        log_variance = jnp.clip(log_variance, -LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)
        return Posterior(mean, log_variance, features.mask, features.conditions, features.rate)

    def raw(self, z: Array) -> Array:
        """Latents [B, D] to what the head takes, [B, N, F]."""
        frames, rows = self.feature_shape
        return self.decoder(z)[:, :rows, :frames].transpose(0, 2, 1)

    def decode(self, latent: Latent, *, train: bool = False) -> Features:
        return latent_features(self.head.mean(self.raw(latent.values)), latent)

    def loss(
        self, features: Features, keys: Array, *, kl_weight: Array | float = 1.0, train: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        posterior = self.posterior(features, train=train)
        raw = self.raw(posterior.sample(keys).values)
        reconstruction, kl = self.head.nll(raw, features.values), posterior.kl()
        mse = jnp.mean(jnp.square(self.head.mean(raw) - features.values), axis=(1, 2))
        return reconstruction + kl_weight * kl, {"reconstruction": reconstruction, "kl": kl, "mse": mse}

    def make_training_layers(self, features: Features) -> None:
        self.head.nll(features.values, features.values)
