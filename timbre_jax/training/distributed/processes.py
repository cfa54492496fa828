"""Runs on several processes: joins the processes and exchanges values between them.

Every process runs the same command and takes the same steps on its part of each batch. The main process (`is_main`) prints and
writes files. `broadcast` and `maximum` exchange values.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from timbre_jax.documents import reason
from timbre_jax.training.distributed import failures
from timbre_jax.training.distributed.sharding import JitPlacement, data_mesh

HEARTBEAT_SECONDS = 30
"""Time without a heartbeat after which a process is considered dead and the others end."""

_LAUNCHERS = {
    "SLURM_PROCID": ("SLURM_NTASKS", ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_LOCALID")),
    "OMPI_COMM_WORLD_RANK": ("OMPI_COMM_WORLD_SIZE", ("OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_LOCAL_RANK")),
}
"""{variable of the process number: (variable of the number of processes, other variables that JAX reads)}."""


def initialize(
    *,
    distributed: bool | None = None,
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout: int = 300,
) -> bool:
    """Joins the other processes of the run; must be called before JAX uses its devices.

    Args:
      distributed: True joins other processes, where JAX detects missing arguments (srun, mpirun, Cloud TPU, Kubernetes); False
        does not. None joins them if an address is given, or if srun or mpirun started several processes.
      coordinator_address: HOST:PORT on which process 0 listens, the same for all processes.
      num_processes: number of processes.
      process_id: number of this process, from 0.
      timeout: time in seconds to wait for the other processes. After it, this process ends with one line and the exit code
        `failures.LOST_EXIT_CODE`.

    Returns:
      Whether there are several processes.

    Raises:
      ValueError: the arguments are inconsistent, or no launcher was detected.
    """
    arguments = {"coordinator_address": coordinator_address, "num_processes": num_processes, "process_id": process_id}
    missing = [name for name, value in arguments.items() if value in (None, "")]
    if distributed is None and len(missing) == 3 and _undetected_launcher():
        raise ValueError(
            "mpirun started several processes that JAX cannot detect (Open MPI 5): give --coordinator_address, "
            "--num_processes and --process_id, start them with srun, or train alone with --nodistributed"
        )
    if distributed is False or (distributed is None and len(missing) == 3 and launched_processes() <= 1):
        if distributed is False and len(missing) < 3:
            raise ValueError("--nodistributed: trains in one process; omit the address and number of processes")
        return False
    if missing and launched_processes() <= 1 and not distributed:
        raise ValueError(
            f"{' and '.join(f'--{name}' for name in missing)}: missing; several processes need all three arguments"
        )
    if process_id is not None and num_processes is not None and not 0 <= process_id < num_processes:
        raise ValueError(f"--process_id={process_id}: must be at least 0 and less than --num_processes={num_processes}")
    if coordinator_address and not coordinator_address.rpartition(":")[2].isdigit():
        raise ValueError(f"--coordinator_address={coordinator_address}: must be HOST:PORT")
    # This service would catch SIGTERM, which `interrupt.StopSignals` handles.
    jax.config.update("jax_enable_preemption_service", False)
    where = f" at {coordinator_address}" if coordinator_address else ""
    failed = f"the processes of this run did not connect{where} within {timeout} s; check that all were started"
    failures.report_abort(f"{failed}, and the address" if where else failed)
    try:
        jax.distributed.initialize(
            coordinator_address=coordinator_address or None,
            num_processes=num_processes,
            process_id=process_id,
            # If all three arguments are given, nothing is detected and every process uses all of its visible devices.
            cluster_detection_method=None if missing else "deactivate",
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except ValueError as error:  # no launcher was detected
        raise ValueError(
            f"--distributed: JAX detected no launcher ({error}); start with srun or mpirun, or give --coordinator_address, "
            "--num_processes and --process_id"
        ) from None
    except RuntimeError as error:
        raise ValueError(f"{failed} ({reason(error)})") from None
    if jax.process_count() == 1:
        return False
    failures.report_abort()
    # Collectives connect the processes at their first use and wait for half a minute only. Connected now, processes may later
    # take different times to compile programs and load features.
    barrier("start")
    maximum(0)
    placement = JitPlacement(data_mesh())
    ones = placement.train_batch({"ones": np.ones(jax.local_device_count(), np.float32)})
    jax.block_until_ready(placement.compile_eval(lambda batch: batch["ones"].sum())(ones))
    return True


def launched_processes() -> int:
    """Returns the number of processes that srun or mpirun started together, 1 without them.

    A Slurm batch script that does not use srun is one process, regardless of the number of tasks of its job.
    """
    for number, (count, others) in _LAUNCHERS.items():
        if all(name in os.environ for name in (number, count, *others)):
            return int(os.environ[count])
    return 1


def _undetected_launcher() -> bool:
    """Returns whether mpirun started several processes that JAX cannot detect."""
    return launched_processes() <= 1 and int(os.environ.get("OMPI_COMM_WORLD_SIZE", "1")) > 1


def is_main() -> bool:
    """Returns whether this is the main process, which prints and writes files."""
    return jax.process_index() == 0


def barrier(name: str, *, timeout: float = 86400.0) -> None:
    """Waits until all processes call this; the devices continue to compute.

    Args:
      name: name of the barrier, the same on all processes.
      timeout: time limit in seconds.

    Raises:
      RuntimeError: the time limit is exceeded, or a process is dead.
    """
    if jax.process_count() > 1:
        from jax._src.distributed import global_state  # the public barriers occupy the devices and time out

        client: Any = global_state.client
        client.wait_at_barrier(f"timbre_jax/{name}", int(1000 * timeout))


def main_first(make: Callable[[], Any]) -> Any:
    """Returns a function's result; the other processes wait for files of the main process."""
    if not is_main():
        barrier("main first")
        return make()
    result = make()
    barrier("main first")
    return result


def broadcast(value: Any = None) -> Any:
    """Returns the main process's JSON data on all processes; all must call this."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    text = np.frombuffer(json.dumps(value).encode() if is_main() else b"", np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    text = text if is_main() else np.zeros(size, np.uint8)
    return json.loads(multihost_utils.broadcast_one_to_all(text).tobytes())


def broadcast_arrays(tree: Any) -> Any:
    """Returns the main process's arrays on all processes; all must call this."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(jax.tree.map(np.asarray, tree))


def maximum(*values: int) -> list[int]:
    """Returns the maximum of each int32 value over all processes; all must call this."""
    if jax.process_count() == 1:
        return list(values)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(np.array(values, np.int32)).max(0).tolist()
