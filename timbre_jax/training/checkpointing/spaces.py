"""Spaces from trained variables, with the statistics of their training set."""

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
    """Returns a space with the statistics of the latents of a source, or of `examples` of it, evenly spaced (0 is all).

    It is in float32, whatever precision it was trained in, and on one device of this process.
    """
    with jax.enable_x64(False):
        variables = jax.device_put(cast(jax.device_get(variables), np.float32), jax.local_devices()[0])
        space = TimbreSpace(variables=variables, statistics={}, model=model, representation=representation)
        positions = evenly_spaced(len(source), examples)
        return space.replace(statistics=latent_statistics(space, source, positions, batch_size=batch_size))


def latent_statistics(
    space: TimbreSpace, source: ExampleSource, positions: Positions, *, batch_size: int
) -> dict[str, np.ndarray]:
    """Returns mean, standard deviation, 1st and 99th percentile of every latent, and the medians of the conditions.

    They are taken over the sounds of a static space, or over the latents within the mask of a series. "condition_NAME" is the
    median of a condition, which a latent without conditions is given. Only latents and conditions are kept in memory.
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
