"""Records that every part of the library passes on, `Features`, `Posterior` and `Latent`, and operations on their frames.

Axes are named throughout the library: B sounds, T samples, N frames (or time steps of a latent series), F features,
D latent dimensions. Time comes before channels everywhere.
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
    """What a representation says of a batch of sounds.

    Attributes:
      values: [B, N, F] float32, in the representation's normalized units (usually [0, 1]).
      mask: [B, N] float32, 1 where a frame lies within the sound's real length, 0 in the padding.
      conditions: what a model sets aside and the way back to sound needs (level, gain, loudness), by name; each [B] or
        [B, N].
      rate: frames a second.
    """

    values: Array
    mask: Array
    conditions: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    rate: float = flax.struct.field(pytree_node=False, default=0.0)


class Latent(flax.struct.PyTreeNode):
    """Points of a timbre space.

    Attributes:
      values: [B, D] in a static space (one point a sound) or [B, N, D] in a series space (one point a frame).
      mask: [B, N] float32 of the features that the points came from: the way back restores the real length with it.
      conditions: as in `Features`.
      codes: [B, N] int32 where the space is discrete ([B, N, Q] with Q residual codebooks), else None.
      rate: points a second of a series; frames a second of the features in a static space.
    """

    values: Array
    mask: Array | None = None
    conditions: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    codes: Array | None = None
    rate: float = flax.struct.field(pytree_node=False, default=0.0)


class Posterior(flax.struct.PyTreeNode):
    """Diagonal Gaussian q(z | x) over `Latent.values`, and what goes along with it unchanged.

    Attributes:
      mean, log_variance: [B, D] or [B, N, D]. A deterministic model has log_variance = -inf.
      mask, conditions, codes, rate: as in `Latent`.
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
        """The most probable latent: the mean. Deterministic."""
        return self._latent(self.mean)

    def sample(self, keys: Array) -> Latent:
        """z = mean + exp(log_variance / 2) * eps, with one key per sound: keys [B], so that a sound's noise is its own.

        Reparameterized (Kingma & Welling 2013, eq. 4).
        """
        noise = jax.vmap(lambda key: jax.random.normal(key, self.mean.shape[1:], jnp.float32))(keys)
        return self._latent(self.mean + jnp.exp(0.5 * self.log_variance) * noise)

    def kl(self) -> Array:
        """KL(q || N(0, I)) of each sound in nats, [B]; frames of a series outside the mask do not count.

        0.5 * sum(mean^2 + variance - 1 - log_variance) (Kingma & Welling 2013, appendix B).
        """
        terms = 0.5 * (jnp.square(self.mean) + jnp.exp(self.log_variance) - 1.0 - self.log_variance)
        if terms.ndim == 3 and self.mask is not None:
            terms = terms * self.mask[..., None]
        return jnp.sum(terms, axis=tuple(range(1, terms.ndim)))


def count_real_frames(latent: Latent) -> np.ndarray:
    """Returns the number of latents [B] int of each series within its sound's real length, at least 1."""
    return np.maximum(np.sum(np.asarray(frame_mask(latent)) > 0, axis=1), 1)


# Operations on frames of features [B, N, F] or of series of latents [B, N, D]. Arrays with a time axis, [B, N, ...], change
# along it; those of whole sounds, [B], stay. Numpy arrays stay numpy arrays: jax would compile anew for every length.

Record = TypeVar("Record", Features, Latent)


def frame_mask(record: Features | Latent) -> Array | np.ndarray:
    """Returns the mask [B, N]; ones if the record has none."""
    values = record.values
    return _module(values).ones(values.shape[:2], np.float32) if record.mask is None else record.mask


def slice_frames(record: Record, start: int, stop: int | None = None) -> Record:
    """Returns the frames start..stop - 1 of every sound."""
    return jax.tree.map(lambda x: x[:, start:stop] if np.ndim(x) > 1 else x, record)


def pad_frames(record: Record, total: int, *, before: int = 0) -> Record:
    """Pads every sound with frames outside the mask.

    Args:
      record: features or a series of latents.
      total: frames of the result.
      before: how many of the new frames come first; the others follow.

    Returns:
      The record with values, codes and mask of 0 in the new frames, and the first and last values of the conditions.
    """
    width = (before, total - before - record.values.shape[1])
    module = _module(record.values)

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
    """Concatenates blocks of the same sounds in time; conditions that a block lacks are left out."""
    parts = [part for part in records if part.values.shape[1]] or records[:1]
    names = sorted(set.intersection(*(set(part.conditions) for part in parts)))
    rate, module = parts[0].rate, _module(*(part.values for part in parts))
    parts = [part.replace(conditions={name: part.conditions[name] for name in names}, rate=rate) for part in parts]
    return jax.tree.map(lambda *x: module.concatenate(x, axis=1) if np.ndim(x[0]) > 1 else x[0], *parts)


def _module(*arrays: Array | np.ndarray) -> Any:
    return jnp if any(isinstance(x, jax.Array) for x in arrays) else np
