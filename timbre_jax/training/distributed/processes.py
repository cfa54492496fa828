"""Runs on several processes: joins the processes and exchanges values between them.

Every process runs the same command and takes the same steps on its part of each batch. The main process (`is_main`) prints and
writes files; `share` and `largest` give all processes what one of them knows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from timbre_jax.training.distributed import failures
from timbre_jax.training.distributed.sharding import JitPlacement, data_mesh

HEARTBEAT_SECONDS = 30
"""Time without a heartbeat after which a process counts as dead, and the others end."""

_LAUNCHERS = {
    "SLURM_PROCID": ("SLURM_NTASKS", ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_LOCALID")),
    "OMPI_COMM_WORLD_RANK": ("OMPI_COMM_WORLD_SIZE", ("OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_LOCAL_RANK")),
}
"""Variable of a process's number: that of their count, and the others that JAX reads."""


def initialize(
    *,
    distributed: bool | None = None,
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout: int = 300,
) -> bool:
    """Joins this process to the others of its run. It must be called before JAX's devices are used.

    Args:
      distributed: True joins others, and JAX detects missing arguments (srun, mpirun, Cloud TPU, Kubernetes); None does so if
        an address is given or a launcher (srun, mpirun) started several processes; False does not.
      coordinator_address: HOST:PORT at which process 0 listens, the same for all.
      num_processes: number of processes.
      process_id: number of this process, from 0.
      timeout: seconds to wait for the others.

    Returns:
      Whether there are other processes. If they do not come in time, this one ends with one line and the code `failures.LOST`.

    Raises:
      ValueError: the arguments do not fit together. One line.
    """
    given = {"coordinator_address": coordinator_address, "num_processes": num_processes, "process_id": process_id}
    missing = [name for name, value in given.items() if value in (None, "")]
    if distributed is None and len(missing) == 3 and _unseen_launcher():
        raise ValueError(
            "mpirun started several processes in a way that JAX does not detect (Open MPI 5): give --coordinator_address, "
            "--num_processes and --process_id, start with srun, or train alone with --nodistributed"
        )
    if distributed is False or (distributed is None and len(missing) == 3 and launched_processes() <= 1):
        if distributed is False and len(missing) < 3:
            raise ValueError("--nodistributed is for one process: leave out the address and number of others")
        return False
    if missing and launched_processes() <= 1 and not distributed:
        raise ValueError(f"several processes need {' and '.join(f'--{name}' for name in missing)} too")
    if process_id is not None and num_processes is not None and not 0 <= process_id < num_processes:
        raise ValueError(f"--process_id={process_id} must be at least 0 and less than --num_processes={num_processes}")
    if coordinator_address and not coordinator_address.rpartition(":")[2].isdigit():
        raise ValueError(f"--coordinator_address={coordinator_address} must be HOST:PORT")
    # It would catch SIGTERM, and keep it from whoever trains (`interrupt.StopSignals`).
    jax.config.update("jax_enable_preemption_service", False)
    where = f" at {coordinator_address}" if coordinator_address else ""
    failed = f"the processes of this run did not meet{where} within {timeout} s: check that all were started"
    failures.report_abort(f"{failed}, and the address" if where else failed)
    try:
        jax.distributed.initialize(
            coordinator_address=coordinator_address or None,
            num_processes=num_processes,
            process_id=process_id,
            # With all three said, nothing is left to detect: every process uses all devices that it sees.
            cluster_detection_method=None if missing else "deactivate",
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except ValueError as error:  # nothing was detected
        raise ValueError(
            f"--distributed: no launcher was found ({error}); start with srun or mpirun, or give --coordinator_address, "
            "--num_processes and --process_id"
        ) from None
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ValueError(f"{failed} ({(lines or [type(error).__name__])[0][:160]})") from None
    if jax.process_count() == 1:
        return False
    failures.report_abort()
    # Who meets for the first time waits for half a minute only; later, programs and features take some processes longer.
    barrier("start")
    largest(0)
    placement = JitPlacement(data_mesh())
    ones = placement.train_batch({"ones": np.ones(jax.local_device_count(), np.float32)})
    jax.block_until_ready(placement.compile_eval(lambda batch: batch["ones"].sum())(ones))
    return True


def launched_processes() -> int:
    """Returns how many processes srun or mpirun started together, 1 without them.

    A batch script of Slurm without srun is one process, however many tasks its job has.
    """
    for mine, (count, others) in _LAUNCHERS.items():
        if all(name in os.environ for name in (mine, count, *others)):
            return int(os.environ[count])
    return 1


def _unseen_launcher() -> bool:
    """Returns whether mpirun started several processes that JAX does not detect; each would train alone in the same folder."""
    return launched_processes() <= 1 and int(os.environ.get("OMPI_COMM_WORLD_SIZE", "1")) > 1


def is_main() -> bool:
    """Returns whether this process, the first of a run or the only one, writes files and prints."""
    return jax.process_index() == 0


def barrier(name: str, *, timeout: float = 86400.0) -> None:
    """Waits until all processes are here; the devices continue their work.

    Raises:
      RuntimeError: `timeout` seconds have passed, or a process is dead.
    """
    if jax.process_count() > 1:
        from jax._src.distributed import global_state  # JAX shows only a barrier of devices, which wait half an hour at most.

        client: Any = global_state.client
        client.wait_at_barrier(f"timbre_jax/{name}", int(1000 * timeout))


def main_first(make: Callable[[], Any]) -> Any:
    """Calls a function on the main process first, so that the others find the files that it made, and returns its result."""
    if not is_main():
        barrier("main first")
        return make()
    result = make()
    barrier("main first")
    return result


def share(value: Any = None) -> Any:
    """Returns the main process's value, JSON data, on all processes. All call it at the same place."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    text = np.frombuffer(json.dumps(value).encode() if is_main() else b"", np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    text = text if is_main() else np.zeros(size, np.uint8)
    return json.loads(multihost_utils.broadcast_one_to_all(text).tobytes())


def same(tree: Any) -> Any:
    """Returns the main process's arrays, of equal shapes on all processes, as NumPy arrays. All call it."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(jax.tree.map(np.asarray, tree))


def largest(*values: int) -> list[int]:
    """Returns the largest of the processes' values, int32 each. All call it at the same place."""
    if jax.process_count() == 1:
        return list(values)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(np.array(values, np.int32)).max(0).tolist()
