"""Convolutional VAE with autoregressive flows (SampleVAE: Frenzel 2019; Rebnord 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from timbre_jax.flows.masked_autoregressive import FlowChain
from timbre_jax.flows.posterior import FlowPosterior
from timbre_jax.models.base import LARGEST_LOG_VARIANCE, TimbreModel, latent_features
from timbre_jax.models.layers.class_heads import Classes, ClassHeads, class_losses
from timbre_jax.models.layers.likelihoods import bernoulli_nll
from timbre_jax.models.ops.activation import elu
from timbre_jax.models.ops.pooling import pooled_conv
from timbre_jax.models.ops.resize import resized_conv
from timbre_jax.types import Array, Features, Latent


def pooled_sizes(size: tuple[int, int], pools: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    """Returns the image size before the first pool and after each one (stride 2, no padding).

    Args:
      size: height and width of the input.
      pools: height and width of the window of each pool.

    Raises:
      ValueError: the image is smaller than a window.
    """
    sizes = [size]
    for window in pools:
        height, width = ((side - part) // 2 + 1 for side, part in zip(sizes[-1], window, strict=True))
        if min(height, width) < 1:
            raise ValueError(
                f"features of {size[0]} bins x {size[1]} frames: too small for {len(pools)} pools; use a longer "
                "representation or fewer model.pools and model.channels"
            )
        sizes.append((height, width))
    return sizes


class Encoder(nn.Module):
    """Blocks of convolution, max pooling and ELU, [B, H, W] to flat features [B, C]."""

    channels: tuple[int, ...]
    pools: tuple[tuple[int, int], ...]

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """Returns flat features [B, C] of images [B, H, W]."""
        x = image[..., None]
        for i, (features, window) in enumerate(zip(self.channels, self.pools, strict=True)):
            kernel = self.param(f"kernel_{i}", nn.initializers.lecun_normal(), (3, 3, x.shape[-1], features))
            # Without the barrier XLA recomputes the exponential for each of the neighbors that read it.
            x = jax.lax.optimization_barrier(elu(pooled_conv(x, kernel, window)))
        return x.reshape(x.shape[0], -1)


class Decoder(nn.Module):
    """Dense layer, bilinear resizing and convolutions, [B, D] to logits [B, H, W].

    The transposed convolutions of stride 1 are stored as the equivalent convolutions, with flipped kernels.
    """

    channels: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    dropout: float
    resizing: str

    @nn.compact
    def __call__(self, z: Array, keys: Array | None = None) -> Array:
        """Returns logits [B, H, W] of latents [B, D]; keys [B] enable dropout."""
        *larger, (height, width) = self.sizes
        x = nn.elu(nn.Dense(height * width * self.channels[-1], name="dense")(z))
        x = dropout(x, keys, self.dropout).reshape(-1, height, width, self.channels[-1])
        for i, (features, size) in enumerate(zip((*self.channels[-2::-1], 1), larger[::-1], strict=True)):
            kernel = self.param(f"kernel_{i}", nn.initializers.lecun_normal(), (3, 3, x.shape[-1], features))
            x = resized_conv(jax.lax.optimization_barrier(elu(x)) if i else x, kernel, size, self.resizing)
        return x[..., 0]


def dropout(x: Array, keys: Array | None, rate: float) -> Array:
    """Applies dropout to x [B, C] with one key per sound; returns x unchanged without keys."""
    if keys is None or rate == 0.0:
        return x
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, jnp.float32(1.0 - rate), x.shape[1:]))(keys)
    return jnp.where(kept, x / (1.0 - rate), 0.0)


class FlowVAE(TimbreModel):
    """Convolutional VAE whose posterior is a Gaussian transformed by flows.

    The flows depend on the input; p(z) = N(0, I). The network is that of Rebnord 2022 (section 7.2.1), based on SampleVAE. The
    encoder has four blocks of 3x3 convolution without bias, max pooling of stride 2 and ELU (128 x 250 -> 63 x 124 -> 31 x 62
    -> 15 x 30 -> 7 x 15, 32 channels), a dense layer of 512 with ELU and dropout, and dense layers for mean and log-variance of
    z_0. Gated masked autoregressive flows with the flat features as context follow. The decoder mirrors the encoder: dense
    layer, ELU, dropout, four times bilinear resizing and 3x3 transposed convolution without bias, sigmoid.

    The thesis names the layers; details are those of SampleVAE's code (maxfrenzel/SampleVAE): kept share .75 in dropout
    (params.json at 4b1a20d), dropout after ELU (model_iaf.py at 734e6b8; the thesis text has the opposite order), cross-entropy
    summed over pixels. Ours: lecun-normal kernels (SampleVAE: Xavier), half-pixel centers in resizing (SampleVAE:
    resizing="corner"), one dense layer per label set (SampleVAE: hidden layers with dropout).

    The loss is the cross-entropy summed over features + kl_weight * (the KL estimate of one sample, see `FlowPosterior`) +
    class_weight * (cross-entropy of the classes, if any).

    The losses of the thesis exploded. In the textbook form of this loss, parameters of three times their initial size suffice:
    the logarithm of a gate's sigmoid is -inf once it underflows, exp(log-variance) overflows, and the gradient becomes NaN.
    Here log sigma is a log-sigmoid and the log-variance is bounded. Loss and gradient stay finite but can be very large, so
    clip the gradient (as the configuration `rebnord2022` does).

    The network treats features [B, N, F] as images of F rows and N columns. `embed` returns the mean of z_0 after the flows.

    Attributes:
      flows: number of flows; 0 for a Gaussian posterior.
      flow_hidden: hidden units per dimension of a flow.
      flow_init_scale: factor of the initial output weights of the flows (`MaskedAutoregressiveFlow`). At 1, 20 flows of 64
        dimensions amplify their input: the loss reached 2.5 million within 60 steps, in spite of gradient clipping.
      channels: output channels of the blocks.
      pools: pooling windows of the blocks, (rows, columns), each 2 or 4.
      hidden: units of the dense layer.
      dropout: share of the dense layers' outputs that training drops.
      resizing: "half_pixel" or "corner", see `interpolation`.
      classes: label sets that the model predicts from the dense layer, see `Classes`; set from `data.labels` in training.
      class_weight: weight of their cross-entropy in the loss.
    """

    labels_setting: ClassVar[str | None] = "classes"
    nonnegative_fields: ClassVar[tuple[str, ...]] = ("flows", "dropout", "class_weight")

    feature_shape: tuple[int, int] = (250, 128)
    latent_size: int = 64
    flows: int = 10
    flow_hidden: int = 64
    flow_init_scale: float = 1.0
    channels: tuple[int, ...] = (32, 64, 32, 32)
    pools: tuple[tuple[int, int], ...] = ((4, 4), (2, 2), (2, 4), (2, 2))
    hidden: int = 512
    dropout: float = 0.25
    resizing: str = "half_pixel"
    classes: Classes = ()
    class_weight: float = 1.0

    def setup(self):
        """Creates the layers."""
        if len(self.channels) != len(self.pools):
            raise ValueError(
                "model.channels: must have as many entries as model.pools "
                f"(got {len(self.channels)}, expected {len(self.pools)})"
            )
        sizes = tuple(pooled_sizes(self.image_size, self.pools))
        self.encoder = Encoder(self.channels, self.pools)
        self.dense = nn.Dense(self.hidden)
        self.mean, self.log_variance = nn.Dense(self.latent_size), nn.Dense(self.latent_size)
        self.flow = FlowChain(self.latent_size, self.flows, hidden=self.flow_hidden, init_scale=self.flow_init_scale)
        self.decoder = Decoder(self.channels, sizes, self.dropout, self.resizing)
        self.heads = ClassHeads(self.classes)

    @property
    def image_size(self) -> tuple[int, int]:
        """Rows (bins) and columns (time steps) of the images that the network encodes."""
        return self.feature_shape[1], self.feature_shape[0]

    def to_images(self, features: Features) -> Array:
        """Returns features [B, N, F] as the images [B, F, N] that the network encodes."""
        return features.values.transpose(0, 2, 1)

    def _encode(self, images: Array, keys: Array | None = None) -> tuple[Array, Array]:
        """Returns dense layer [B, hidden] and flat features [B, C] of images [B, H, W]."""
        flat = self.encoder(images)
        return dropout(nn.elu(self.dense(flat)), keys, self.dropout), flat

    def _posterior(self, hidden: Array, context: Array, features: Features) -> FlowPosterior:
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        if self.is_initializing():
            self.flow(mean, context)
        flow, variables = self.flow.unbind()
        return FlowPosterior(
            mean=mean,
            log_variance=jnp.clip(log_variance, -LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE),
            mask=features.mask,
            conditions=features.conditions,
            rate=features.rate,
            context=context,
            variables=variables,
            flow=flow,
        )

    def posterior(self, features: Features, *, train: bool = False) -> FlowPosterior:
        """Returns the posterior q(z | x) of features [B, N, F]."""
        return self._posterior(*self._encode(self.to_images(features)), features)

    def raw(self, z: Array, keys: Array | None = None) -> Array:
        """Decodes latents [B, D] to logits [B, N, F]."""
        return self.decoder(z, keys).transpose(0, 2, 1)

    def decode(self, latent: Latent, *, train: bool = False) -> Features:
        """Returns the mean of p(x | z), features [B, N, F]."""
        return latent_features(nn.sigmoid(self.raw(latent.values)), latent)

    def classify(self, features: Features) -> dict[str, Array]:
        """Returns the probabilities [B, K] of the labels of each label set in `classes`."""
        hidden, _ = self._encode(self.to_images(features))
        return {name: nn.softmax(logits) for name, logits in self.heads(hidden).items()}

    def loss(
        self,
        features: Features,
        keys: Array,
        *,
        kl_weight: Array | float = 1.0,
        train: bool = False,
        labels: Mapping[str, Array] | None = None,
    ) -> tuple[Array, dict[str, Array]]:
        """Returns the loss and its metrics, see `TimbreModel.loss`.

        `labels` is {name: [B] int32}, -1 for unlabeled sounds.
        """
        images = self.to_images(features)
        keys = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
        hidden, flat = self._encode(images, keys[:, 1] if train else None)
        posterior = self._posterior(hidden, flat, features)
        latent, kl = posterior.sample_with_kl(keys[:, 0])
        raw = self.raw(latent.values, keys[:, 2] if train else None)
        target = images.transpose(0, 2, 1)
        reconstruction = bernoulli_nll(raw, target)
        mse = jnp.mean(jnp.square(nn.sigmoid(raw) - target), axis=(1, 2))
        total, metrics = reconstruction + kl_weight * kl, {"reconstruction": reconstruction, "kl": kl, "mse": mse}
        if self.classes and labels:
            cost, accuracies = class_losses(self.heads(hidden), labels)
            total, metrics = total + self.class_weight * cost, {**metrics, "classes": cost, **accuracies}
        return self.add_latent_loss(total, metrics, latent.values, features)

    def add_latent_loss(
        self, total: Array, metrics: dict[str, Array], z: Array, features: Features
    ) -> tuple[Array, dict[str, Array]]:
        """Adds losses of further predictions from the latents z [B, D] in subclasses; none here."""
        return total, metrics

    def make_training_layers(self, features: Features) -> None:
        """Calls the layers that only `loss` uses."""
        self.heads(self._encode(self.to_images(features))[0])
