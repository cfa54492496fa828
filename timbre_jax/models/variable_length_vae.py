"""VAE with flows for sounds of variable length: time is logarithmic, and the length of a sound is predicted."""

from __future__ import annotations

import functools
import math
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from timbre_jax.models.flow_vae import FlowVAE
from timbre_jax.models.layers.likelihoods import gaussian_nll
from timbre_jax.models.ops.resize import linear_weights
from timbre_jax.types import Array, Features, Latent


@functools.lru_cache(maxsize=64)
def bin_edges(columns: int, longest: int) -> np.ndarray:
    """Edges [columns + 1] in frames of time bins that are one frame wide at first and then grow by a constant factor, so that
    the last ends at `longest`. A bin at frame n is about n / k wide: onsets stay sharp, long decays take few bins.

    Raises:
      ValueError: fewer than two columns, or no frames.
    """
    if columns < 2 or longest < 1:
        raise ValueError(f"a logarithmic time axis needs 2 columns and a frame, not {columns} and {longest}")
    if longest <= columns:
        return np.linspace(0.0, longest, columns + 1)
    # edge(i) = k (exp(i / k) - 1): slope 1 at the start. k by bisection.
    low, high = columns / 50.0, 1e6
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle * math.expm1(columns / middle) > longest:
            low = middle
        else:
            high = middle
    return high * np.expm1(np.arange(columns + 1) / high)


@functools.lru_cache(maxsize=64)
def to_bins(frames: int, columns: int, longest: int) -> np.ndarray:
    """[columns, frames]: what part of each bin every frame takes, in frames; frames beyond the last edge belong to none."""
    edges, start = bin_edges(columns, longest), np.arange(frames)
    overlap = np.minimum(edges[1:, None], start + 1) - np.maximum(edges[:-1, None], start)
    return np.maximum(overlap, 0.0).astype(np.float32)


@functools.lru_cache(maxsize=64)
def from_bins(frames: int, columns: int, longest: int) -> np.ndarray:
    """[frames, columns]: linear interpolation between the middles of the bins; beyond the last its value goes on."""
    edges = bin_edges(columns, longest)
    middles = 0.5 * (edges[:-1] + edges[1:])
    return linear_weights(np.interp(np.arange(frames) + 0.5, middles, np.arange(columns)), columns)


class VariableLengthVAE(FlowVAE):
    """`FlowVAE` on pictures whose time axis is logarithmic: any number of frames goes in and comes out.

    Frames [B, N, F] are averaged, within a sound's real length alone, into `columns` bins of time, one frame wide at first and
    wider and wider up to `longest` frames (see `bin_edges`): a hit of 8 ms and a cymbal of 40 s become pictures of one size,
    with the same resolution at their onsets, whatever N the batch was padded to. The network is `FlowVAE`'s. It also predicts
    the logarithm of the length from the latent. The way back interpolates between the bins.

    `decode` keeps the length of a latent that has a mask: its N, silence beyond. Bare latents (a point of a map) become
    `feature_shape[0]` frames, with the mask of the predicted length.

    Loss: cross-entropy over all bins of the picture, those after the end being silence, as in `FlowVAE`; plus the negative
    log-likelihood of log(frames), a Gaussian of one learned sigma, times `length_weight`.

    Attributes:
      columns: bins of time.
      longest: frames that the bins reach; what lies beyond is not seen, and comes back as the last bin.
      length_weight: of the length in the loss, in pixels' nats: one number against thousands of pixels needs more than 1.
    """

    nonnegative_fields: ClassVar[tuple[str, ...]] = (*FlowVAE.nonnegative_fields, "length_weight")

    columns: int = 128
    longest: int = 5000
    length_weight: float = 20.0

    def setup(self):
        super().setup()
        self.length = nn.Sequential([nn.Dense(64), nn.elu, nn.Dense(1)])
        self.length_log_sigma = self.param("length_log_sigma", nn.initializers.zeros, ())

    @property
    def picture_size(self) -> tuple[int, int]:
        return self.feature_shape[1], self.columns

    def picture(self, features: Features) -> Array:
        """Features of any N to pictures [B, F, columns]: means of the frames within the mask; 0 where there are none."""
        weights = to_bins(features.values.shape[1], self.columns, self.longest)
        total = jnp.einsum("cn,bnf->bfc", weights, features.values * features.mask[..., None], precision="highest")
        # Over the part of a bin within the sound: a bin that the end cuts is not quieter for it.
        share = jnp.einsum("cn,bn->bc", weights, features.mask, precision="highest")
        return total / jnp.maximum(share, 1e-3)[:, None]

    def log_length(self, z: Array) -> Array:
        """The predicted logarithm of the number of frames, [B], of latents [B, D]."""
        return self.length(z)[:, 0] + math.log(50.0)

    def decode(self, latent: Latent, *, train: bool = False) -> Features:
        pictures = nn.sigmoid(self.raw(latent.values))
        if latent.mask is None:
            frames = self.feature_shape[0]
            length = jnp.clip(jnp.exp(self.log_length(latent.values)), 1.0, frames)
            mask = (jnp.arange(frames) < jnp.round(length)[:, None]).astype(pictures.dtype)
        else:
            mask, frames = latent.mask, latent.mask.shape[1]
        values = jnp.einsum("nc,bcf->bnf", from_bins(frames, self.columns, self.longest), pictures)
        return Features(values=values * mask[..., None], mask=mask, conditions=latent.conditions, rate=latent.rate)

    def with_latent_loss(
        self, total: Array, metrics: dict[str, Array], z: Array, features: Features
    ) -> tuple[Array, dict[str, Array]]:
        """Adds the loss of the length; "length_error" is the distance of log(frames)."""
        target, guess = jnp.log(jnp.maximum(jnp.sum(features.mask, 1), 1.0)), self.log_length(z)
        cost = gaussian_nll(guess[:, None], jnp.maximum(self.length_log_sigma, -4.0), target[:, None])
        return total + self.length_weight * cost, {**metrics, "length_error": jnp.abs(guess - target)}

    def make_training_layers(self, features: Features) -> None:
        super().make_training_layers(features)
        self.log_length(jnp.zeros((1, self.latent_size)))
