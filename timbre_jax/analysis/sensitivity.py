"""Gradient sensitivity: norms of the columns of the Jacobian of the decoder."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.analysis.decoding import decoded_images
from timbre_jax.inference.batched import encode_features, map_batches
from timbre_jax.metrics.bootstrap import mean_interval
from timbre_jax.metrics.table import Table
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Features, Latent


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """Sensitivity of the decoded features to each of D latents, at M sounds.

    Attributes:
      norms: [M, D], root mean square of dx / dz_d over the features x, on the common scale, for one unit of the latent.
      scaled: [M, D], `norms` times the training standard deviation of the latent.
    """

    norms: np.ndarray
    scaled: np.ndarray

    def table(self, groups: np.ndarray | None = None) -> Table:
        """Returns the sensitivity to every latent with its interval over groups [M] (instruments)."""
        plain, scaled = mean_interval(self.norms, groups), mean_interval(self.scaled, groups)
        rows = tuple((d, plain.value_low_high(d)[0], *scaled.value_low_high(d)) for d in range(self.norms.shape[1]))
        columns = ("latent", "per_unit", "per_deviation", "per_deviation_low", "per_deviation_high")
        return Table(
            "sensitivity",
            columns,
            rows,
            "Root mean square change of the features by the Jacobian of the decoder; higher is more sensitive.",
        )


def sensitivity(space: TimbreSpace, features: Features, *, batch_size: int | None = None) -> Sensitivity:
    """Returns the exact norms of the Jacobian columns at the latent of every sound.

    The method follows the gradient-based investigation of Nguyen et al. 2019, with the gradient of the output instead of that
    of a loss: it measures the size of the change, not whether the change is an improvement.

    Args:
      space: a static space.
      features: features of M sounds in the representation of the space.
      batch_size: sounds decoded at once; None: `inference.batched.default_batch_size`.
    """
    latent = encode_features(space, features, batch_size=batch_size)
    directions = np.eye(space.latent_size, dtype=np.float32)

    def norms_of(batch: Latent) -> np.ndarray:
        # A Python loop over directions, because convolutions inside vmap or scan are many times slower on a CPU.
        return np.stack([np.asarray(_column_norm(space, batch, direction)) for direction in directions], axis=1)

    norms = map_batches(norms_of, latent, batch_size=batch_size).astype(np.float64)
    return Sensitivity(norms, norms * np.asarray(space.statistics["latent_std"], np.float64))


@jax.jit
def _column_norm(space: TimbreSpace, latent: Latent, direction: Array) -> Array:
    def decode(values: Array) -> Array:
        return decoded_images(space, latent.replace(values=values))

    # J v as the transpose of u -> J^T u, because layers with a custom_vjp have no forward-mode derivative.
    decoded, transposed = jax.vjp(decode, latent.values)
    _, jacobian_product = jax.vjp(lambda cotangent: transposed(cotangent)[0], jnp.zeros_like(decoded))
    (change,) = jacobian_product(jnp.broadcast_to(direction, latent.values.shape))
    return jnp.sqrt(jnp.mean(jnp.square(change), axis=(1, 2)))
