"""The convolutional VAE of Natsiou, O'Leary & Longo 2023."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from timbre_jax.models.base import TimbreModel, latent_features
from timbre_jax.models.layers.likelihoods import make_head
from timbre_jax.models.ops.convolution import Conv3x3, computed_in
from timbre_jax.types import Array, Features, Latent, Posterior


class Encoder(nn.Module):
    """Stride-2 convolutions, flatten, two dense layers: [B, H, W] to mean and log-variance [B, D]."""

    latent_size: int
    channels: tuple[int, ...]
    dtype: str

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Array]:
        dtype = computed_in(self.dtype, image)
        x = image[..., None].astype(dtype)
        for features in self.channels:
            x = nn.relu(Conv3x3(features, "down", dtype=self.dtype)(x))
        x = x.reshape(x.shape[0], -1)
        mean = nn.Dense(self.latent_size, dtype=dtype, name="mean")(x)
        log_variance = nn.Dense(self.latent_size, dtype=dtype, name="log_variance")(x)
        return mean.astype(image.dtype), log_variance.astype(image.dtype)


class Decoder(nn.Module):
    """The encoder mirrored: dense, stride-2 transposed convolutions, one 3x3 convolution to a single channel."""

    image_shape: tuple[int, int]
    channels: tuple[int, ...]
    dtype: str

    @nn.compact
    def __call__(self, z: Array) -> Array:
        factor = 2 ** len(self.channels)
        height, width = (size // factor for size in self.image_shape)
        dtype = computed_in(self.dtype, z)
        x = nn.Dense(height * width * self.channels[-1], dtype=dtype)(z.astype(dtype))
        x = nn.relu(x).reshape(-1, height, width, self.channels[-1])
        for features in reversed(self.channels):
            x = nn.relu(Conv3x3(features, "up", dtype=self.dtype)(x))
        return Conv3x3(1, "same", dtype=self.dtype)(x)[..., 0].astype(z.dtype)


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
      dtype: of the computation; parameters, latents and losses stay float32.
    """

    channels: tuple[int, ...] = (32, 32)
    likelihood: str = "bernoulli"
    dtype: str = "float32"

    def setup(self):
        self.encoder = Encoder(self.latent_size, self.channels, self.dtype)
        self.decoder = Decoder(self._padded(), self.channels, self.dtype)
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
        # Beyond e^20 the sample overflows; no trained posterior comes near.
        log_variance = jnp.clip(log_variance, -20.0, 20.0)
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

    def __call__(self, features: Features, *, train: bool = False) -> Features:
        # The head's parameters are used only by the likelihood: touch them, so that they are made.
        latent = self.posterior(features, train=train).mode()
        if self.is_initializing():
            self.head.nll(self.raw(latent.values), features.values)
        return self.decode(latent, train=train)
