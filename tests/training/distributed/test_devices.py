"""Compares runs on one device, eight devices and two processes of two devices (float64).

The models of `run_devices.py` have batch statistics, adversaries, neighbors within a batch, dropout and flows.
"""

import jax
import numpy as np
import pytest

from tests.helpers.processes import run, start_together
from tests.helpers.runs import last_checkpoint, metric_lines

PROGRAM, FLOAT64 = "tests/training/distributed/run_devices.py", "precision='float64'"
ENVIRONMENT = {
    "JAX_ENABLE_X64": "1",
    # Compilation takes most of the time, so optimizations are turned off.
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
}


def devices_run(model, workdir, *options, devices):
    done = run(PROGRAM, model, workdir, FLOAT64, *options, devices=devices, **ENVIRONMENT)
    assert done.stdout.splitlines()[-1:] == ["finished 50"], done.stderr


def two_processes(model, workdir, *, devices):
    for process in start_together(2, PROGRAM, model, workdir, FLOAT64, devices=devices, **ENVIRONMENT):
        out, err = process.communicate(timeout=600)
        assert out.splitlines()[-1:] == ["finished 50"], err


def losses_and_variables(workdir):
    """Returns all losses, and the last parameters and statistics as one vector."""
    with jax.enable_x64(True):
        arrays, _ = last_checkpoint(workdir)
    kept = [name for name in sorted(arrays) if name.startswith(("['state']['params']", "['state']['mutable']"))]
    assert {arrays[name].dtype for name in kept} == {np.dtype(np.float64)}
    losses = [line["loss"] for line in metric_lines(workdir)]
    return np.array(losses), np.concatenate([np.ravel(arrays[name]) for name in kept])


def assert_equal_runs(a, b, *, tolerance):
    (losses_a, values_a), (losses_b, values_b) = losses_and_variables(a), losses_and_variables(b)
    assert len(losses_a) == 52  # 50 steps, 2 evaluations
    np.testing.assert_allclose(losses_b, losses_a, rtol=tolerance)
    assert np.linalg.norm(values_b - values_a) <= tolerance * np.linalg.norm(values_a)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "parallel"), [("frame_vae", ("jit", "pmap")), ("flow_vae", ("jit",))])
def test_several_devices_and_processes_equal_one_device(model, parallel, tmp_path):
    devices_run(model, tmp_path / "one", devices=1)
    two_processes(model, tmp_path / "processes", devices=2)
    assert_equal_runs(tmp_path / "one", tmp_path / "processes", tolerance=1e-9)
    for placement in parallel:
        devices_run(model, tmp_path / placement, f"--parallel={placement}", devices=8)
        assert_equal_runs(tmp_path / "one", tmp_path / placement, tolerance=1e-9)
