"""Placement of states and batches on devices: data parallelism with `jit` or `pmap`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"


def data_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """Returns a mesh with the single axis "data" over some devices, by default all.

    Devices are sorted by process, so that the concatenated parts of the processes are the batch of a single process.
    """
    devices = jax.devices() if devices is None else devices
    devices = sorted(devices, key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


class JitPlacement:
    """Placement for `jit`: replicated states, and batches that are split over the devices.

    Args:
      mesh: devices, see `data_mesh`.

    Attributes:
      axis_name: axis over which `make_train_step` averages, or None.
      replicated: sharding of states.
      split: sharding of batches.
    """

    axis_name: str | None = None

    def __init__(self, mesh: Mesh):
        self.mesh = mesh
        self.replicated = NamedSharding(mesh, PartitionSpec())
        self.split = NamedSharding(mesh, PartitionSpec(AXIS))

    def compile_train(self, step: Callable) -> Callable:
        """Compiles the training step; its input state is donated."""
        return jax.jit(self._with_mesh(step), donate_argnums=0, out_shardings=self.replicated)

    def compile_eval(self, step: Callable) -> Callable:
        """Compiles a pure function, such as the evaluation step, with replicated outputs."""
        return jax.jit(self._with_mesh(step), out_shardings=self.replicated)

    def _with_mesh(self, function: Callable) -> Callable:
        """Returns the function traced in the mesh's context, for ops that use the device count."""

        @functools.wraps(function)
        def traced(*arguments):
            with jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh):
                return function(*arguments)

        return traced

    def train_batch(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Returns this process's part of a batch on its devices."""
        return {name: jax.make_array_from_process_local_data(self.split, value) for name, value in batch.items()}

    eval_batch = train_batch

    def unreplicate(self, state: Any) -> Any:
        """Returns the state as one logical copy, for checkpoints and evaluations."""
        return state

    def replicate(self, state: Any) -> Any:
        """Returns a logical copy in the form of the training step; reverses `unreplicate`."""
        return state

    def template(self, abstract: Any) -> Any:
        """Returns shapes with shardings, as a template to read a checkpoint."""
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.replicated), abstract)


class PmapPlacement(JitPlacement):
    """Placement for `pmap` in one process: states have a leading device axis.

    Evaluations and checkpoints are those of `JitPlacement`.
    """

    axis_name = AXIS

    def compile_train(self, step: Callable) -> Callable:
        """Compiles the training step with `pmap`; its input state is donated."""
        compiled = jax.pmap(step, axis_name=AXIS, donate_argnums=0, in_axes=(0, 0, None), devices=list(self.mesh.devices.flat))

        def run(state, batch, key):
            state, metrics = compiled(state, batch, key)
            return state, {name: value[0] for name, value in metrics.items()}

        return run

    def train_batch(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a batch with a leading device axis."""
        count = self.mesh.size
        return {name: value.reshape(count, value.shape[0] // count, *value.shape[1:]) for name, value in batch.items()}

    def unreplicate(self, state: Any) -> Any:
        """Returns the copy of the first device."""
        return jax.device_put(jax.tree.map(lambda x: x[0], state), self.replicated)

    def replicate(self, state: Any) -> Any:
        """Returns copies for all devices, stacked along a leading axis."""
        count = self.mesh.size
        stacked = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), state)
        return jax.device_put(stacked, self.split)


def make_placement(parallel: str, mesh: Mesh | None = None) -> JitPlacement:
    """Returns the placement of a name.

    Args:
      parallel: "jit" or "pmap".
      mesh: devices; by default all.

    Raises:
      ValueError: the name is unknown, or "pmap" is used with several processes.
    """
    mesh = data_mesh() if mesh is None else mesh
    if parallel == "jit":
        return JitPlacement(mesh)
    if parallel == "pmap":
        if jax.process_count() > 1:
            raise ValueError("parallel='pmap': supports only one process; use 'jit'")
        return PmapPlacement(mesh)
    raise ValueError(f"parallel={parallel!r}: must be 'jit' or 'pmap'")
