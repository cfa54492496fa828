"""The states of several runs on the device, side by side: one program takes a step of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from timbre_jax.records import Array
from timbre_jax.training.sharding import AXIS, data_mesh
from timbre_jax.training.step import Batch


class Slots:
    """`width` states, stacked along a first axis that is cut into the devices' parts.

    A device computes its part by `vmap`, or, where that is one state, by the very step. Devices need nothing of one another.

    Args:
      step: (state, batch, key) -> (state, metrics), as `make_train_step` gives it.
      devices: that share the slots.
      at_once: states that each of them computes at once.
    """

    def __init__(self, step: Callable, devices: Sequence[jax.Device], at_once: int):
        self.width = len(devices) * at_once
        mesh = data_mesh(list(devices))
        self._split, self._whole = NamedSharding(mesh, PartitionSpec(AXIS)), NamedSharding(mesh, PartitionSpec())
        self._states: Any = None

        def one(states, batches, keys):
            first = jax.tree.map(lambda x: x[0], (states, batches, keys))
            return jax.tree.map(lambda x: x[None], step(*first))

        several = jax.vmap(step) if at_once > 1 else one
        if len(devices) > 1:
            part = PartitionSpec(AXIS)
            several = jax.shard_map(several, mesh=mesh, in_specs=part, out_specs=part, check_vma=False)
        self._step = jax.jit(several, donate_argnums=0)
        self._fill = jax.jit(self._copies, out_shardings=self._split)
        self._take = jax.jit(lambda states, i: jax.tree.map(lambda x: x[i], states), out_shardings=self._whole)
        self._put = jax.jit(
            lambda states, i, new: jax.tree.map(lambda x, y: x.at[i].set(y), states, new),
            donate_argnums=0,
            out_shardings=self._split,
        )

    def _copies(self, state: Any) -> Any:
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (self.width, *x.shape)), state)

    def put(self, slot: int, state: Any) -> None:
        """Lays a state into a slot. The first one fills all others too, so that they have something to compute."""
        state = jax.device_put(state, self._whole)
        self._states = self._fill(state) if self._states is None else self._put(self._states, slot, state)

    def take(self, slot: int) -> Any:
        """The state in a slot, on the first device."""
        return jax.tree.map(lambda x: x.addressable_data(0), self._take(self._states, slot))

    def step(self, batches: Sequence[Batch | None], keys: Sequence[Array | None]) -> list[dict[str, Any]]:
        """One step of every slot; None stands for an empty one. The metrics of each, which are not waited for."""
        some = next(i for i, batch in enumerate(batches) if batch is not None)
        batches = [batches[some] if batch is None else batch for batch in batches]
        keys = [keys[some] if key is None else key for key in keys]
        stacked = {name: np.stack([batch[name] for batch in batches]) for name in batches[some]}
        stacked = jax.device_put(stacked, self._split)
        self._states, metrics = self._step(self._states, stacked, jax.device_put(jnp.stack(keys), self._split))
        rows = _Rows(metrics)
        return [{name: _Entry(rows, name, slot) for name in metrics} for slot in range(self.width)]


class _Rows:
    """Metrics of all slots, fetched from the device once, when the first of them is asked for."""

    def __init__(self, arrays: dict[str, Array]):
        self._arrays = arrays
        self._fetched = False

    def __getitem__(self, name: str) -> np.ndarray:
        if not self._fetched:
            self._arrays, self._fetched = jax.device_get(self._arrays), True
        return self._arrays[name]


class _Entry:
    """One number of the rows; `jax.device_get` and NumPy take it for an array."""

    def __init__(self, rows: _Rows, name: str, slot: int):
        self._rows, self._name, self._slot = rows, name, slot

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self._rows[self._name][self._slot], dtype)


class OneSlot:
    """As `Slots`, for one state: the run's own program, so the numbers are those of the run alone, to the bit."""

    width = 1

    def __init__(self, programs: Any):
        self._programs = programs
        self._state: Any = None

    def put(self, slot: int, state: Any) -> None:
        """As `Slots.put`."""
        self._state = state

    def take(self, slot: int) -> Any:
        """As `Slots.take`."""
        return self._state

    def step(self, batches: Sequence[Batch | None], keys: Sequence[Array | None]) -> list[dict[str, Any]]:
        """As `Slots.step`."""
        batch = self._programs.placement.train_batch(batches[0])
        self._state, metrics = self._programs.train_step(self._state, batch, keys[0])
        return [metrics]
