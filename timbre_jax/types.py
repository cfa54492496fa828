"""Data types that the whole library shares: features, latents and posteriors.

The library uses the same axis names everywhere: B sounds, T samples, N frames (or time steps of a latent series), F features
and D latent dimensions. The time axis comes before the channel axis.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array | np.ndarray


class Features(flax.struct.PyTreeNode):
    """Features of a batch of sounds, as a representation computes them.

    Attributes:
      values: [B, N, F] float32, in the normalized units of the representation (usually [0, 1]).
      mask: [B, N] float32, 1 for frames within the sound, 0 for padding.
      conditions: quantities that the values do not contain and synthesis needs (level, gain, loudness), by name; each
        [B] or [B, N].
      rate: frames per second.
    """

    values: Array
    mask: Array
    conditions: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    rate: float = flax.struct.field(pytree_node=False, default=0.0)


class Latent(flax.struct.PyTreeNode):
    """Latents of a batch of sounds: points or series of points in a timbre space.

    Attributes:
      values: [B, D] in a static space (one latent per sound), [B, N, D] in a series space (one latent per time step).
      mask: [B, N] float32, the mask of the encoded features, from which decoding restores the length of each sound; None if
        the latents do not come from sounds.
      conditions: as in `Features`.
      codes: [B, N] int32 in a discrete space ([B, N, Q] with Q residual codebooks), else None.
      rate: latents per second in a series space, frames per second of the features in a static space.
    """

    values: Array
    mask: Array | None = None
    conditions: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    codes: Array | None = None
    rate: float = flax.struct.field(pytree_node=False, default=0.0)


class Posterior(flax.struct.PyTreeNode):
    """Diagonal Gaussian posterior q(z | x) over `Latent.values`.

    Attributes:
      mean: [B, D] or [B, N, D].
      log_variance: as `mean`; -inf for a deterministic encoder.
      mask: as in `Latent`.
      conditions: as in `Latent`.
      rate: as in `Latent`.
      codes: as in `Latent`.
    """

    mean: Array
    log_variance: Array
    mask: Array | None = None
    conditions: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    rate: float = flax.struct.field(pytree_node=False, default=0.0)
    codes: Array | None = None

    def _latent(self, values: Array) -> Latent:
        return Latent(values=values, mask=self.mask, conditions=self.conditions, codes=self.codes, rate=self.rate)

    def mode(self) -> Latent:
        """Returns the most probable latent, the mean."""
        return self._latent(self.mean)

    def sample(self, keys: Array) -> Latent:
        """Samples z = mean + exp(log_variance / 2) * eps (Kingma & Welling 2013, eq. 4).

        Args:
          keys: [B], one key per sound, so that the noise of a sound does not depend on its batch.

        Returns:
          One latent per sound, differentiable in mean and log-variance.
        """
        noise = jax.vmap(lambda key: jax.random.normal(key, self.mean.shape[1:], jnp.float32))(keys)
        return self._latent(self.mean + jnp.exp(0.5 * self.log_variance) * noise)

    def kl(self) -> Array:
        """Returns KL(q || N(0, I)) of each sound in nats, [B].

        0.5 * sum(mean^2 + variance - 1 - log_variance) (Kingma & Welling 2013, appendix B), without the padding of a series.
        """
        terms = 0.5 * (jnp.square(self.mean) + jnp.exp(self.log_variance) - 1.0 - self.log_variance)
        if terms.ndim == 3 and self.mask is not None:
            terms = terms * self.mask[..., None]
        return jnp.sum(terms, axis=tuple(range(1, terms.ndim)))


def count_real_frames(latent: Latent) -> np.ndarray:
    """Returns the number of unmasked latents of each series, [B] int, at least 1."""
    return np.maximum(np.sum(np.asarray(frame_mask(latent)) > 0, axis=1), 1)


# Operations on the frames of features [B, N, F] or latent series [B, N, D]. They change arrays with a time axis, [B, N, ...],
# and keep those of whole sounds, [B]. Numpy arrays stay numpy arrays, because JAX would compile once for every length.

Record = TypeVar("Record", Features, Latent)


def frame_mask(record: Features | Latent) -> Array | np.ndarray:
    """Returns the mask [B, N], ones if the record has none."""
    values = record.values
    return _array_module(values).ones(values.shape[:2], np.float32) if record.mask is None else record.mask


def slice_frames(record: Record, start: int, stop: int | None = None) -> Record:
    """Returns the frames from start to stop - 1 of every sound."""
    return jax.tree.map(lambda x: x[:, start:stop] if np.ndim(x) > 1 else x, record)


def pad_frames(record: Record, total: int, *, before: int = 0) -> Record:
    """Pads every sound with frames outside the mask.

    Args:
      record: features or latent series.
      total: number of frames of the result.
      before: number of frames to insert at the start; the others are appended.

    Returns:
      The padded record. In the new frames, values, codes and mask are 0 and conditions repeat their first or last value.
    """
    width = (before, total - before - record.values.shape[1])
    module = _array_module(record.values)

    def padded(x, mode="constant"):
        return module.pad(x, ((0, 0), width, *((0, 0),) * (np.ndim(x) - 2)), mode=mode)

    changes = {
        "values": padded(record.values),
        "mask": padded(frame_mask(record)),
        "conditions": {name: padded(x, "edge") if np.ndim(x) > 1 else x for name, x in record.conditions.items()},
    }
    if isinstance(record, Latent) and record.codes is not None:
        changes["codes"] = padded(record.codes)
    return record.replace(**changes)


def concatenate_frames(records: Sequence[Record]) -> Record:
    """Concatenates blocks of the same sounds in time, with their common conditions."""
    parts = [part for part in records if part.values.shape[1]] or records[:1]
    names = sorted(set.intersection(*(set(part.conditions) for part in parts)))
    rate, module = parts[0].rate, _array_module(*(part.values for part in parts))
    parts = [part.replace(conditions={name: part.conditions[name] for name in names}, rate=rate) for part in parts]
    return jax.tree.map(lambda *x: module.concatenate(x, axis=1) if np.ndim(x[0]) > 1 else x[0], *parts)


def _array_module(*arrays: Array | np.ndarray) -> Any:
    return jnp if any(isinstance(x, jax.Array) for x in arrays) else np
