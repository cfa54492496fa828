"""Arguments and launchers of several processes, which test_devices and test_kill start."""

import jax
import pytest

from tests.helpers.processes import run
from timbre_jax.training.distributed import failures, processes

SRUN = {
    "SLURM_JOB_ID": "77", "SLURM_STEP_NODELIST": "node[3-4]", "SLURM_NTASKS": "4", "SLURM_PROCID": "1", "SLURM_LOCALID": "1",
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for names in processes._LAUNCHERS.items():
        for name in (names[0], names[1][0], *names[1][1]):
            monkeypatch.delenv(name, raising=False)


def test_single_process_needs_no_coordinator():
    assert processes.initialize() is False
    assert processes.initialize(distributed=False) is False
    assert not jax.distributed.is_initialized()
    assert processes.is_main()
    assert processes.broadcast({"a": [1, None]}) == {"a": [1, None]}
    processes.barrier("nobody else")


def test_launched_processes_are_counted(monkeypatch):
    for name, value in SRUN.items():
        monkeypatch.setenv(name, value)
    assert processes.launched_processes() == 4
    assert processes.initialize(distributed=False) is False
    # A batch script without srun is one process.
    monkeypatch.delenv("SLURM_STEP_NODELIST")
    assert processes.launched_processes() == 1
    assert processes.initialize() is False


def test_undetected_launcher_is_refused(monkeypatch):
    # Open MPI 5: without an error, every process would train separately in the same folder.
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    with pytest.raises(ValueError, match="several processes that JAX cannot detect"):
        processes.initialize()
    assert processes.initialize(distributed=False) is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_processes": 2}, "--coordinator_address and --process_id: missing"),
        ({"coordinator_address": "here:1234", "num_processes": 2}, "--process_id: missing"),
        ({"coordinator_address": "here:1234", "num_processes": 2, "process_id": 2}, "less than --num_processes=2"),
        ({"coordinator_address": "here", "num_processes": 2, "process_id": 0}, "=here: must be HOST:PORT"),
        ({"distributed": False, "num_processes": 2}, "--nodistributed: trains in one process"),
    ],
)
def test_inconsistent_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        processes.initialize(**arguments)


ALONE = """
from timbre_jax.training.distributed.processes import initialize
try:
    initialize(distributed=True)
except ValueError as error:
    print(error)
initialize(coordinator_address="127.0.0.1:9", num_processes=2, process_id=1, timeout=3)
"""


@pytest.mark.slow
def test_missing_processes_end_run_with_message():
    done = run("-c", ALONE)
    assert done.returncode == failures.LOST_EXIT_CODE
    assert "--distributed: JAX detected no launcher" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("error: the processes of this run did not connect at 127.0.0.1:9 within 3 s")
