"""Gradient sensitivity: the decoder's Jacobian, one column norm for each latent."""

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
    """Attributes:
    norms: [M, D], root mean square over frames and rows of d x / d z_d at each note, in feature units (common scale)
      for one unit of the latent.
    scaled: [M, D], norms times the latent's training standard deviation: the change that one deviation would make.
    """

    norms: np.ndarray
    scaled: np.ndarray

    def table(self, groups: np.ndarray | None = None) -> Table:
        """One row a latent, with intervals over groups (instruments)."""
        plain, scaled = mean_interval(self.norms, groups), mean_interval(self.scaled, groups)
        rows = tuple((d, plain.value_low_high(d)[0], *scaled.value_low_high(d)) for d in range(self.norms.shape[1]))
        columns = ("latent", "per_unit", "per_deviation", "per_deviation_low", "per_deviation_high")
        return Table("sensitivity", columns, rows, "Root mean square change of the features, by the decoder's Jacobian.")


def sensitivity(space: TimbreSpace, features: Features, *, batch_size: int | None = None) -> Sensitivity:
    """Jacobian column norms at every note's latent, exact (D products of the Jacobian with a vector a note).

    Gradient-based investigation of every latent (Nguyen et al. 2019), here of the output and not of a loss, so that it
    says how much each direction moves the sound, whichever way.
    """
    notes = encode_features(space, features, batch_size=batch_size)
    directions = np.eye(space.latent_size, dtype=np.float32)

    def norms_of(some: Latent) -> np.ndarray:
        # Direction after direction, from outside: convolutions inside vmap or scan are many times slower on a CPU.
        return np.stack([np.asarray(_column_norm(space, some, direction)) for direction in directions], axis=1)

    norms = map_batches(norms_of, notes, batch_size=batch_size).astype(np.float64)
    return Sensitivity(norms, norms * np.asarray(space.statistics["latent_std"], np.float64))


@jax.jit
def _column_norm(space: TimbreSpace, notes: Latent, direction: Array) -> Array:
    def decode(values: Array) -> Array:
        return decoded_images(space, notes.replace(values=values))

    # J v as the transposition of u -> J^T u: layers whose gradient is their own (custom_vjp) cannot be differentiated forwards.
    decoded, pull = jax.vjp(decode, notes.values)
    _, push = jax.vjp(lambda cotangent: pull(cotangent)[0], jnp.zeros_like(decoded))
    (change,) = push(jnp.broadcast_to(direction, notes.values.shape))
    return jnp.sqrt(jnp.mean(jnp.square(change), axis=(1, 2)))
