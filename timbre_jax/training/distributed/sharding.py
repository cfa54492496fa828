"""Where states and batches lie: data parallelism over a one-axis mesh of all devices, by `jit` or by `pmap`."""

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
    """A mesh with the one axis "data" over all devices, or over those given.

    Those of a process are neighbors, in the order of the processes: the processes' parts of a batch one after another are then
    the batch that one process would have, in its order.
    """
    devices = jax.devices() if devices is None else devices
    devices = sorted(devices, key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


class JitPlacement:
    """`jit` over the mesh: the state a copy on every device, batches cut along their first axis. The compiler adds the sums.

    Attributes:
      axis_name: axis over which `make_train_step` averages, or None.
    """

    axis_name: str | None = None

    def __init__(self, mesh: Mesh):
        self.mesh = mesh
        self.replicated = NamedSharding(mesh, PartitionSpec())
        self.split = NamedSharding(mesh, PartitionSpec(AXIS))

    def compile_train(self, step: Callable) -> Callable:
        """Compiles the training step; it donates the state that goes in."""
        return jax.jit(self._with_mesh(step), donate_argnums=0, out_shardings=self.replicated)

    def compile_eval(self, step: Callable) -> Callable:
        """Compiles the evaluation step, or any pure function; its outputs are replicated."""
        return jax.jit(self._with_mesh(step), out_shardings=self.replicated)

    def _with_mesh(self, function: Callable) -> Callable:
        """Returns the function traced with the mesh in context, so that it knows over how many devices a batch is split."""

        @functools.wraps(function)
        def traced(*arguments):
            with jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh):
                return function(*arguments)

        return traced

    def train_batch(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """This process's part of a batch, on its devices."""
        return {name: jax.make_array_from_process_local_data(self.split, value) for name, value in batch.items()}

    eval_batch = train_batch

    def unreplicate(self, state: Any) -> Any:
        """Returns the state as one logical copy, which is saved and evaluated."""
        return state

    def replicate(self, state: Any) -> Any:
        """Returns a logical copy as the training step takes it; reverses `unreplicate`."""
        return state

    def template(self, abstract: Any) -> Any:
        """Shapes with shardings, to read a checkpoint into."""
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.replicated), abstract)


class PmapPlacement(JitPlacement):
    """`pmap`, for comparison: the state has a leading device axis, the step averages over "data" by itself.

    Evaluation and checkpoints are those of `JitPlacement`. One process.
    """

    axis_name = AXIS

    def compile_train(self, step: Callable) -> Callable:
        compiled = jax.pmap(step, axis_name=AXIS, donate_argnums=0, in_axes=(0, 0, None), devices=list(self.mesh.devices.flat))

        def run(state, batch, key):
            state, metrics = compiled(state, batch, key)
            return state, {name: value[0] for name, value in metrics.items()}

        return run

    def train_batch(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        count = self.mesh.size
        return {name: value.reshape(count, value.shape[0] // count, *value.shape[1:]) for name, value in batch.items()}

    def unreplicate(self, state: Any) -> Any:
        return jax.device_put(jax.tree.map(lambda x: x[0], state), self.replicated)

    def replicate(self, state: Any) -> Any:
        count = self.mesh.size
        stacked = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), state)
        return jax.device_put(stacked, self.split)


def make_placement(parallel: str, mesh: Mesh | None = None) -> JitPlacement:
    """The placement of that name: "jit" or "pmap".

    Raises:
      ValueError: another name, or `pmap` with several processes.
    """
    mesh = data_mesh() if mesh is None else mesh
    if parallel == "jit":
        return JitPlacement(mesh)
    if parallel == "pmap":
        if jax.process_count() > 1:
            raise ValueError("parallel='pmap' runs in one process; use 'jit' with several")
        return PmapPlacement(mesh)
    raise ValueError(f"parallel must be 'jit' or 'pmap', not {parallel!r}")
