"""Initial state of a run: parameters, and what a model fits to the training set before the first step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from timbre_jax.data.datasets import Sources
from timbre_jax.data.example_source import batches, evenly_spaced
from timbre_jax.models.base import TimbreModel
from timbre_jax.training.distributed import processes
from timbre_jax.training.programs import Programs
from timbre_jax.training.state import TrainState
from timbre_jax.training.step import batch_features, example_keys
from timbre_jax.types import Array, Features


def initial_state(
    programs: Programs, model: TimbreModel, sources: Sources, train: Any, key: jax.Array, hyper: dict[str, float]
) -> TrainState:
    """Returns the state before the first step, as one logical copy on the devices.

    Args:
      programs: compiled functions of the run.
      model: to train.
      sources: training set, for a model that fits a basis or a codebook to it.
      train: section of the configuration.
      key: of the parameters and of the augmentation.
      hyper: hyper-parameters, see `TrainState.hyper`.
    """
    state = programs.create(key, hyper)
    if model.initializes_from_data:
        # Every process computes it; the main one's result counts, because machines may differ in rounding.
        variables = model.initialize(
            jax.device_get(state.variables()), lambda: initialization_features(programs, sources, train, key)
        )
        variables = jax.device_put(processes.same(variables), programs.placement.replicated)
        params = variables.pop("params")
        state = state.replace(params=params, average=jax.tree.map(lambda x: x.copy(), params), mutable=variables)
    return programs.in_precision(state)


def initialization_features(programs: Programs, sources: Sources, train: Any, key: Array) -> Iterator[Features]:
    """Yields the features that a model is initialized from: the training set, then augmented readings of it.

    Every call yields the same, since a model reads them several times. All readings together have at most
    `initialize_examples` examples, evenly spaced.
    """
    key = jax.random.fold_in(key, 1)
    augment = programs.augment and jax.jit(programs.augment)
    readings = train.initialize_readings if augment else 1
    positions = evenly_spaced(len(sources.train), -(-train.initialize_examples // readings))
    for reading in range(readings):
        for batch in batches(sources.train, train.batch_size, positions):
            features = batch_features(batch)
            if reading and augment:
                keys = example_keys(jax.random.fold_in(key, reading), batch["index"])[:, 0]
                features = features.replace(values=np.asarray(augment(keys, batch["values"], batch["mask"])))
            yield features
