"""VAE with flows for sounds of variable length, on a logarithmic time axis."""

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
    """Returns the edges of logarithmic time bins, [columns + 1] in frames.

    The first bins are one frame wide; the width of later bins grows in proportion to time. This keeps the resolution of onsets
    and covers long decays with few bins.

    Args:
      columns: number of bins.
      longest: end of the last bin in frames.

    Raises:
      ValueError: there are fewer than two columns or no frames.
    """
    if columns < 2 or longest < 1:
        raise ValueError(
            f"logarithmic time axis: needs at least 2 columns and 1 frame (got columns={columns}, longest={longest})"
        )
    if longest <= columns:
        return np.linspace(0.0, longest, columns + 1)
    # edge(i) = k (exp(i / k) - 1) has slope 1 at the start. Bisection finds k.
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
    """Returns the overlap of each bin with each frame, [columns, frames] in frames."""
    edges, start = bin_edges(columns, longest), np.arange(frames)
    overlap = np.minimum(edges[1:, None], start + 1) - np.maximum(edges[:-1, None], start)
    return np.maximum(overlap, 0.0).astype(np.float32)


@functools.lru_cache(maxsize=64)
def from_bins(frames: int, columns: int, longest: int) -> np.ndarray:
    """Returns the weights [frames, columns] of linear interpolation between bin centers."""
    edges = bin_edges(columns, longest)
    middles = 0.5 * (edges[:-1] + edges[1:])
    return linear_weights(np.interp(np.arange(frames) + 0.5, middles, np.arange(columns)), columns)


class VariableLengthVAE(FlowVAE):
    """`FlowVAE` for any number of frames, on images with a logarithmic time axis.

    The frames of a sound are averaged, without padding, into `columns` time bins, one frame wide at the onset and wider later
    (see `bin_edges`). A hit of 8 ms and a cymbal of 40 s become images of the same size with the same resolution at the onset.
    Decoding interpolates between the bins. The network is that of `FlowVAE` and also predicts the logarithm of the length from
    the latent.

    Latents with a mask are decoded to the length of their mask, latents without one (a map point) to `feature_shape[0]`
    frames with a mask of the predicted length.

    The loss is that of `FlowVAE` over all bins, where those after the end are silent, plus `length_weight` times the negative
    log-likelihood of log(frames) under a Gaussian with one learned sigma.

    Attributes:
      columns: number of time bins.
      longest: end of the last bin in frames; later frames are ignored and decoded like the last bin.
      length_weight: weight of the length in the loss. One number among thousands of pixels needs a weight above 1.
    """

    nonnegative_fields: ClassVar[tuple[str, ...]] = (*FlowVAE.nonnegative_fields, "length_weight")

    columns: int = 128
    longest: int = 5000
    length_weight: float = 20.0

    def setup(self):
        """Creates the layers."""
        super().setup()
        self.length = nn.Sequential([nn.Dense(64), nn.elu, nn.Dense(1)])
        self.length_log_sigma = self.param("length_log_sigma", nn.initializers.zeros, ())

    @property
    def image_size(self) -> tuple[int, int]:
        """Rows (bins) and columns (time bins) of the images that the network encodes."""
        return self.feature_shape[1], self.columns

    def to_images(self, features: Features) -> Array:
        """Returns the means of the frames in each bin, [B, F, columns]; 0 in bins after the end."""
        weights = to_bins(features.values.shape[1], self.columns, self.longest)
        total = jnp.einsum("cn,bnf->bfc", weights, features.values * features.mask[..., None], precision="highest")
        # Dividing by the part within the sound keeps the level of the bin that contains the end.
        share = jnp.einsum("cn,bn->bc", weights, features.mask, precision="highest")
        return total / jnp.maximum(share, 1e-3)[:, None]

    def log_length(self, z: Array) -> Array:
        """Predicts the logarithm of the number of frames, [B], from latents [B, D]."""
        return self.length(z)[:, 0] + math.log(50.0)

    def decode(self, latent: Latent, *, train: bool = False) -> Features:
        """Returns the mean of p(x | z), features [B, N, F]."""
        images = nn.sigmoid(self.raw(latent.values))
        if latent.mask is None:
            frames = self.feature_shape[0]
            length = jnp.clip(jnp.exp(self.log_length(latent.values)), 1.0, frames)
            mask = (jnp.arange(frames) < jnp.round(length)[:, None]).astype(images.dtype)
        else:
            mask, frames = latent.mask, latent.mask.shape[1]
        values = jnp.einsum("nc,bcf->bnf", from_bins(frames, self.columns, self.longest), images)
        return Features(values=values * mask[..., None], mask=mask, conditions=latent.conditions, rate=latent.rate)

    def add_latent_loss(
        self, total: Array, metrics: dict[str, Array], z: Array, features: Features
    ) -> tuple[Array, dict[str, Array]]:
        """Adds the loss of the length and "length_error", the absolute error of log(frames)."""
        target, predicted = jnp.log(jnp.maximum(jnp.sum(features.mask, 1), 1.0)), self.log_length(z)
        cost = gaussian_nll(predicted[:, None], jnp.maximum(self.length_log_sigma, -4.0), target[:, None])
        return total + self.length_weight * cost, {**metrics, "length_error": jnp.abs(predicted - target)}

    def make_training_layers(self, features: Features) -> None:
        """Calls the layers that only `loss` uses."""
        super().make_training_layers(features)
        self.log_length(jnp.zeros((1, self.latent_size)))
