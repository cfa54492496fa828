"""From trained variables to a `TimbreSpace` with the statistics of its training set."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from timbre_jax.data.example_source import ExampleSource, batches
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
    """A space with the statistics of the latents of a source, or of `examples` of it, evenly spread (0 is all).

    It is of float32, whatever the variables were trained in, and of this process alone.
    """
    with jax.enable_x64(False):
        return _make_space(model, variables, representation, source, batch_size, examples)


def _make_space(model, variables, representation, source, batch_size, examples) -> TimbreSpace:
    variables = jax.device_put(cast(jax.device_get(variables), np.float32), jax.local_devices()[0])
    space = TimbreSpace(variables=variables, statistics={}, model=model, representation=representation)
    positions: Sequence[int] = range(len(source))
    if 0 < examples < len(source):
        positions = np.linspace(0, len(source) - 1, examples).round().astype(int)
    return space.replace(statistics=latent_statistics(space, source, positions, batch_size=batch_size))


def latent_statistics(
    space: TimbreSpace, source: ExampleSource, positions: Sequence[int], *, batch_size: int
) -> dict[str, np.ndarray]:
    """Mean, standard deviation, 1st and 99th percentile of every latent, float32 [D] each, and medians of the conditions.

    Over sounds in a static space, over the latents within the mask in a series. "condition_NAME" is the median over sounds,
    or over the latents of a series, of a condition: what a latent without conditions is given. Only latents and conditions
    are kept in memory.
    """
    latents, conditions = [], {}
    for batch in batches(source, batch_size, positions):
        count = len(batch["index"])
        # One shape, so that it is compiled once: the last batch is filled up with its first example.
        rows = np.minimum(np.arange(batch_size), count - 1)
        latent = space.encode(batch_features({name: value[rows] for name, value in batch.items()}))
        values, series = np.asarray(latent.values)[:count], latent.values.ndim == 3
        heard = np.asarray(latent.mask)[:count] > 0 if series else None
        for name, value in latent.conditions.items():
            value = np.asarray(value)[:count]
            if value.ndim == 1:
                conditions.setdefault(name, []).append(value)
            elif series and value.shape == heard.shape:
                conditions.setdefault(name, []).append(value[heard])
        latents.append(values[heard] if series else values)
    values = np.concatenate(latents).astype(np.float64)
    low, high = np.percentile(values, [1.0, 99.0], axis=0)
    statistics = {"latent_mean": values.mean(0), "latent_std": values.std(0), "latent_low": low, "latent_high": high}
    statistics |= {f"condition_{name}": np.median(np.concatenate(value)) for name, value in conditions.items()}
    return {name: np.asarray(value, np.float32) for name, value in statistics.items()}
