"""Initial state of a run: random parameters and variables from the training set."""

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
      model: model to train.
      sources: training set, from which some models compute a basis or a codebook.
      train: section `train` of the configuration.
      key: random key of the parameters and the augmentation.
      hyper: hyper-parameters (`TrainState.hyper`).
    """
    state = programs.create(key, hyper)
    if model.initializes_from_data:
        # All processes use the main process's result, because rounding may differ between machines.
        variables = model.initialize(
            jax.device_get(state.variables()), lambda: initialization_features(programs, sources, train, key)
        )
        variables = jax.device_put(processes.broadcast_arrays(variables), programs.placement.replicated)
        params = variables.pop("params")
        state = state.replace(params=params, average=jax.tree.map(lambda x: x.copy(), params), mutable=variables)
    return programs.in_precision(state)


def initialization_features(programs: Programs, sources: Sources, train: Any, key: Array) -> Iterator[Features]:
    """Yields the features from which a model is initialized.

    These are evenly spaced examples of the training set, followed by augmented copies of them if `initialize_readings` is
    greater than 1; at most `initialize_examples` in total. Every call yields the same features, because a model may iterate
    over them several times.
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
