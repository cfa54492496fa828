"""The convolutional VAE with inverse autoregressive flows of SampleVAE (Frenzel 2019), as Rebnord 2022 used it."""

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
    """Height and width of the picture before the first pool and after each: stride 2, no padding.

    Raises:
      ValueError: it is smaller than a window.
    """
    sizes = [size]
    for window in pools:
        height, width = ((side - part) // 2 + 1 for side, part in zip(sizes[-1], window, strict=True))
        if min(height, width) < 1:
            raise ValueError(
                f"a picture of {size[0]} bins x {size[1]} frames is too small for {len(pools)} pools: use a longer "
                "representation, or fewer model.pools and model.channels"
            )
        sizes.append((height, width))
    return sizes


class Encoder(nn.Module):
    """Blocks of convolution, pool and ELU: pictures [B, H, W] to their features, flat [B, C]."""

    channels: tuple[int, ...]
    pools: tuple[tuple[int, int], ...]

    @nn.compact
    def __call__(self, picture: Array) -> Array:
        x = picture[..., None]
        for i, (features, window) in enumerate(zip(self.channels, self.pools, strict=True)):
            kernel = self.param(f"kernel_{i}", nn.initializers.lecun_normal(), (3, 3, x.shape[-1], features))
            # Else XLA takes the exponential anew for each of the neighbors that read it.
            x = jax.lax.optimization_barrier(elu(pooled_conv(x, kernel, window)))
        return x.reshape(x.shape[0], -1)


class Decoder(nn.Module):
    """The way back: dense, ELU, dropout, then bilinear resizing and a convolution, ELU between: [B, D] to logits [B, H, W].

    A transposed convolution of stride 1 is a convolution with the kernel turned round; so it is kept, turned.
    """

    channels: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    dropout: float
    resizing: str

    @nn.compact
    def __call__(self, z: Array, keys: Array | None = None) -> Array:
        *larger, (height, width) = self.sizes
        x = nn.elu(nn.Dense(height * width * self.channels[-1], name="dense")(z))
        x = dropout(x, keys, self.dropout).reshape(-1, height, width, self.channels[-1])
        for i, (features, size) in enumerate(zip((*self.channels[-2::-1], 1), larger[::-1], strict=True)):
            kernel = self.param(f"kernel_{i}", nn.initializers.lecun_normal(), (3, 3, x.shape[-1], features))
            x = resized_conv(jax.lax.optimization_barrier(elu(x)) if i else x, kernel, size, self.resizing)
        return x[..., 0]


def dropout(x: Array, keys: Array | None, rate: float) -> Array:
    """x [B, C] with a part `rate` of each sound's values, drawn from its own key, at 0 and the others larger; no keys: x."""
    if keys is None or rate == 0.0:
        return x
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, jnp.float32(1.0 - rate), x.shape[1:]))(keys)
    return jnp.where(kept, x / (1.0 - rate), 0.0)


class FlowVAE(TimbreModel):
    """q(z_K | x): a diagonal Gaussian z_0 made more flexible by flows that see the picture; p(z) = N(0, I).

    The thesis' network (Rebnord 2022, section 7.2.1; SampleVAE): four blocks of 3x3 convolution without bias, max pool of
    stride 2, ELU (128 x 250 -> 63 x 124 -> 31 x 62 -> 15 x 30 -> 7 x 15 with 32 channels); 512 ELU, dropout; mean and
    log-variance of z_0; `flows` gated masked autoregressive flows with the flat features as context (`flows`). The decoder
    mirrors it: dense, ELU, dropout, four times bilinear resizing and 3x3 transposed convolution without bias, sigmoid.
    Inferred: dropout stands after ELU (thesis: "dense layer with dropout .. passed through an activation"), lecun-normal
    kernels, resizing as of pixel centers (TensorFlow 1's own is resizing="corner").

    Loss: cross-entropy summed over pixels + kl_weight * (the KL's estimate of the one sample) (`FlowPosterior`), plus
    class_weight * cross-entropy of the classes where there are any.

    The thesis' losses exploded. In the plain form of this loss, parameters three times as large as at the start are enough:
    the logarithm of a gate's sigmoid is -inf where it has underflowed, and exp(log-variance) overflows; the gradient is then
    NaN for good (cross-entropy of probabilities, also suspected, stays finite). So log sigma is a log-sigmoid here and the
    log-variance is bounded. Loss and gradient can still be huge: clip the gradient (`rebnord2022` does).

    Features [B, N, F] are seen as pictures of F rows and N columns.

    `embed` is the flow of the mean of z_0: deterministic, no key.

    Attributes:
      flows: how many; 0 leaves the Gaussian.
      flow_hidden: units of the net of each dimension of a flow.
      flow_start: factor of the first weights of the flows' second layers (`MaskedAutoregressiveFlow`). At 1, 20 flows of 64
        dimensions multiply what goes through them: within 60 steps the loss was 2.5 million, and no clipping helped.
      channels, pools: of the blocks; windows have sides of 2 or 4, rows (bins) first.
      hidden: width of the dense layer.
      dropout: part of the hidden layer, and of the decoder's dense layer, that training leaves out; the thesis keeps .75.
      resizing: "half_pixel" or "corner" (`resize`).
      classes: kinds of class with their labels, predicted from the hidden layer; see `Classes`. `data.labels` of a training
        configuration fills it in.
      class_weight: of their cross-entropy in the loss.
    """

    labels_setting: ClassVar[str | None] = "classes"
    nonnegative_fields: ClassVar[tuple[str, ...]] = ("flows", "dropout", "class_weight")

    feature_shape: tuple[int, int] = (250, 128)
    latent_size: int = 64
    flows: int = 10
    flow_hidden: int = 64
    flow_start: float = 1.0
    channels: tuple[int, ...] = (32, 64, 32, 32)
    pools: tuple[tuple[int, int], ...] = ((4, 4), (2, 2), (2, 4), (2, 2))
    hidden: int = 512
    dropout: float = 0.25
    resizing: str = "half_pixel"
    classes: Classes = ()
    class_weight: float = 1.0

    def setup(self):
        if len(self.channels) != len(self.pools):
            raise ValueError(
                f"model.channels has {len(self.channels)} blocks, model.pools {len(self.pools)}: give as many of both"
            )
        sizes = tuple(pooled_sizes(self.picture_size, self.pools))
        self.encoder = Encoder(self.channels, self.pools)
        self.dense = nn.Dense(self.hidden)
        self.mean, self.log_variance = nn.Dense(self.latent_size), nn.Dense(self.latent_size)
        self.flow = FlowChain(self.latent_size, self.flows, hidden=self.flow_hidden, start=self.flow_start)
        self.decoder = Decoder(self.channels, sizes, self.dropout, self.resizing)
        self.heads = ClassHeads(self.classes)

    @property
    def picture_size(self) -> tuple[int, int]:
        """Rows (bins) and columns (frames) of what the network sees."""
        return self.feature_shape[1], self.feature_shape[0]

    def picture(self, features: Features) -> Array:
        """Features [B, N, F] as the network sees them, [B, F, N]."""
        return features.values.transpose(0, 2, 1)

    def _hidden(self, picture: Array, keys: Array | None = None) -> tuple[Array, Array]:
        """Pictures [B, H, W] to the hidden layer [B, hidden] and the flat features [B, C]."""
        flat = self.encoder(picture)
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
        return self._posterior(*self._hidden(self.picture(features)), features)

    def raw(self, z: Array, keys: Array | None = None) -> Array:
        """Latents [B, D] to logits [B, N, F]."""
        return self.decoder(z, keys).transpose(0, 2, 1)

    def decode(self, latent: Latent, *, train: bool = False) -> Features:
        return latent_features(nn.sigmoid(self.raw(latent.values)), latent)

    def classify(self, features: Features) -> dict[str, Array]:
        """Probabilities [B, K] of the labels of every kind of class in `classes`."""
        hidden, _ = self._hidden(self.picture(features))
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
        """As `TimbreModel.loss`; `labels` {name: [B] int32} of the classes, -1 where there is none."""
        picture = self.picture(features)
        keys = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
        hidden, flat = self._hidden(picture, keys[:, 1] if train else None)
        posterior = self._posterior(hidden, flat, features)
        latent, kl = posterior.sample_with_kl(keys[:, 0])
        raw = self.raw(latent.values, keys[:, 2] if train else None)
        target = picture.transpose(0, 2, 1)
        reconstruction = bernoulli_nll(raw, target)
        mse = jnp.mean(jnp.square(nn.sigmoid(raw) - target), axis=(1, 2))
        total, metrics = reconstruction + kl_weight * kl, {"reconstruction": reconstruction, "kl": kl, "mse": mse}
        if self.classes and labels:
            cost, accuracies = class_losses(self.heads(hidden), labels)
            total, metrics = total + self.class_weight * cost, {**metrics, "classes": cost, **accuracies}
        return self.with_latent_loss(total, metrics, latent.values, features)

    def with_latent_loss(
        self, total: Array, metrics: dict[str, Array], z: Array, features: Features
    ) -> tuple[Array, dict[str, Array]]:
        """The loss [B] and its metrics with what else the latents z [B, D] are to predict of the features: nothing here."""
        return total, metrics

    def make_training_layers(self, features: Features) -> None:
        self.heads(self._hidden(self.picture(features))[0])
