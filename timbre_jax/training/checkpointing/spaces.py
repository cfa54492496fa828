"""Timbre spaces from trained variables and the statistics of a training set."""

from __future__ import annotations

import jax
import numpy as np

from timbre_jax.data.example_source import ExampleSource, Positions, batches, evenly_spaced
from timbre_jax.models.base import TimbreModel, Variables
from timbre_jax.representations.base import Representation
from timbre_jax.space import TimbreSpace
from timbre_jax.training.precision import cast
from timbre_jax.training.step import batch_features


def make_space(
    model: TimbreModel,
    variables: Variables,
    representation: Representation,
    source: ExampleSource,
    *,
    batch_size: int,
    examples: int = 0,
) -> TimbreSpace:
    """Returns a space with the statistics of its latents over a training set.

    The space is in float32 for every training precision, and on the first device of this process.

    Args:
      model: model of the space.
      variables: trained variables of the model.
      representation: representation of the space.
      source: training set.
      batch_size: number of examples that are encoded at once.
      examples: number of evenly spaced examples to compute the statistics from; 0 uses all.
    """
    with jax.enable_x64(False):
        variables = jax.device_put(cast(jax.device_get(variables), np.float32), jax.local_devices()[0])
        space = TimbreSpace(variables=variables, statistics={}, model=model, representation=representation)
        positions = evenly_spaced(len(source), examples)
        return space.replace(statistics=latent_statistics(space, source, positions, batch_size=batch_size))


def latent_statistics(
    space: TimbreSpace, source: ExampleSource, positions: Positions, *, batch_size: int
) -> dict[str, np.ndarray]:
    """Returns the distribution of every latent and the median of every condition.

    Args:
      space: space whose encoder is used.
      source: examples.
      positions: positions of the examples to encode.
      batch_size: number of examples that are encoded at once.

    Returns:
      "latent_mean", "latent_std", "latent_low" (1st percentile) and "latent_high" (99th percentile), float32 [D], over the
      sounds of a static space or the unmasked latents of a series space; and "condition_NAME", the median of each condition,
      float32 [], which the space uses for latents without conditions.
    """
    latents: list[np.ndarray] = []
    conditions: dict[str, list[np.ndarray]] = {}
    for batch in batches(source, batch_size, positions):
        count = len(batch["index"])
        # The last batch is padded with its last example, so that one shape is compiled.
        rows = np.minimum(np.arange(batch_size), count - 1)
        latent = space.encode(batch_features({name: value[rows] for name, value in batch.items()}))
        values, series = np.asarray(latent.values)[:count], latent.values.ndim == 3
        valid = np.asarray(latent.mask)[:count] > 0 if series else np.ones(count, bool)
        for name, array in latent.conditions.items():
            condition = np.asarray(array)[:count]
            if condition.ndim == 1:
                conditions.setdefault(name, []).append(condition)
            elif series and condition.shape == valid.shape:
                conditions.setdefault(name, []).append(condition[valid])
        latents.append(values[valid] if series else values)
    every = np.concatenate(latents).astype(np.float64)
    low, high = np.percentile(every, [1.0, 99.0], axis=0)
    statistics = {"latent_mean": every.mean(0), "latent_std": every.std(0), "latent_low": low, "latent_high": high}
    statistics |= {f"condition_{name}": np.median(np.concatenate(parts)) for name, parts in conditions.items()}
    return {name: np.asarray(value, np.float32) for name, value in statistics.items()}
