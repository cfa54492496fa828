"""States of several runs on the devices; one program takes a step of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from timbre_jax.data.example_source import ExampleSource
from timbre_jax.training.distributed.sharding import AXIS, data_mesh
from timbre_jax.training.programs import Programs
from timbre_jax.training.step import Batch
from timbre_jax.training.validation import mean_metrics
from timbre_jax.types import Array


class VectorizedStates:
    """States of several runs in numbered slots, which are split over the devices.

    Each device computes its states with `vmap`, or a single state with the step itself. Devices do not communicate.

    Args:
      programs: functions of the runs; `step` and `score` are used.
      devices: devices that share the states.
      at_once: number of states on each device.

    Attributes:
      width: number of slots.
    """

    def __init__(self, programs: Programs, devices: Sequence[jax.Device], at_once: int):
        self.width = len(devices) * at_once
        mesh = data_mesh(list(devices))
        self._split, self._whole = NamedSharding(mesh, PartitionSpec(AXIS)), NamedSharding(mesh, PartitionSpec())
        self._states: Any = None

        def vectorized(function: Callable, shared: Sequence[bool]) -> Callable:
            """Returns a function of all slots; arguments are stacked, or `shared` by all slots."""
            if at_once > 1:
                several = jax.vmap(function, [None if each else 0 for each in shared])
            else:

                def several(*arguments):
                    first = [a if s else jax.tree.map(lambda x: x[0], a) for a, s in zip(arguments, shared, strict=True)]
                    return jax.tree.map(lambda x: x[None], function(*first))

            if len(devices) == 1:
                return several
            part = PartitionSpec(AXIS)
            parts = tuple(PartitionSpec() if each else part for each in shared)
            return jax.shard_map(several, mesh=mesh, in_specs=parts, out_specs=part, check_vma=False)

        def score(state, batch, key):
            return programs.score(state.variables(average=True), batch, key, state.hyper["kl_weight"])

        self._step = jax.jit(vectorized(programs.step, [False, False, False]), donate_argnums=0)
        self._score = jax.jit(vectorized(score, [False, True, False]))
        self._fill = jax.jit(self._copies, out_shardings=self._split)
        self._take = jax.jit(lambda states, i: jax.tree.map(lambda x: x[i], states), out_shardings=self._whole)
        self._put = jax.jit(
            lambda states, i, new: jax.tree.map(lambda x, y: x.at[i].set(y), states, new),
            donate_argnums=0,
            out_shardings=self._split,
        )

    def _copies(self, state: Any) -> Any:
        """Returns copies of a state for all slots."""
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (self.width, *x.shape)), state)

    def put(self, slot: int, state: Any) -> None:
        """Puts a state into a slot; the first state also fills all other slots."""
        state = jax.device_put(state, self._whole)
        self._states = self._fill(state) if self._states is None else self._put(self._states, slot, state)

    def take(self, slot: int) -> Any:
        """Returns the state in a slot, on the first device."""
        return jax.tree.map(lambda x: x.addressable_data(0), self._take(self._states, slot))

    def step(self, batches: Sequence[Batch | None], keys: Sequence[Array | None]) -> list[dict[str, Any]]:
        """Takes a step of all slots and returns their metrics without waiting.

        Args:
          batches: batch of each slot; None for an empty slot.
          keys: random key of each slot; None for an empty slot.
        """
        batches = _fill_missing(batches)
        stacked = {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
        self._states, metrics = self._step(self._states, jax.device_put(stacked, self._split), self._stacked(keys))
        values = _LazyMetrics(metrics)
        return [{name: _LazyValue(values, name, slot) for name in metrics} for slot in range(self.width)]

    def scores(self, keys: Sequence[Array | None], source: ExampleSource, *, batch_size: int) -> list[dict[str, float]]:
        """Returns the mean metrics of all states on a source.

        Args:
          keys: random keys of the evaluations; None for an empty slot.
          source: validation set.
          batch_size: number of examples that are evaluated at once.
        """
        stacked = self._stacked(keys)
        means = mean_metrics(
            lambda batch: self._score(self._states, jax.device_put(batch, self._whole), stacked), source, batch_size=batch_size
        )
        return [{name: values[slot] for name, values in means.items()} for slot in range(self.width)]

    def _stacked(self, keys: Sequence[Array | None]) -> Array:
        """Returns keys as one array that is split over the devices."""
        return jax.device_put(jnp.stack(_fill_missing(keys)), self._split)


def _fill_missing(values: Sequence[Any]) -> list[Any]:
    """Returns values with every None replaced by one of the others."""
    some = next(value for value in values if value is not None)
    return [some if value is None else value for value in values]


class _LazyMetrics:
    """Metrics of all slots, fetched from the device when one of them is first read."""

    def __init__(self, arrays: dict[str, Any]):
        self._arrays = arrays
        self._fetched = False

    def __getitem__(self, name: str) -> np.ndarray:
        if not self._fetched:
            self._arrays, self._fetched = jax.device_get(self._arrays), True
        return self._arrays[name]


class _LazyValue:
    """Metric of one slot, which NumPy and `jax.device_get` treat as an array."""

    def __init__(self, values: _LazyMetrics, name: str, slot: int):
        self._values, self._name, self._slot = values, name, slot

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self._values[self._name][self._slot], dtype)


class SingleState:
    """Single state with the interface of `VectorizedStates` and bit-exact results."""

    width = 1

    def __init__(self, programs: Programs):
        self._programs = programs
        self._state: Any = None

    def put(self, slot: int, state: Any) -> None:
        """Replaces the state."""
        self._state = state

    def take(self, slot: int) -> Any:
        """Returns the state."""
        return self._state

    def step(self, batches: Sequence[Batch | None], keys: Sequence[Array | None]) -> list[dict[str, Any]]:
        """Takes a step and returns its metrics without waiting."""
        (batch,) = map(self._programs.placement.train_batch, _fill_missing(batches))
        self._state, metrics = self._programs.train_step(self._state, batch, keys[0])
        return [metrics]
