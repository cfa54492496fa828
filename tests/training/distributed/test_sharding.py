"""Placements: equal results on one and two devices, with jit and pmap."""

import jax
import numpy as np
import pytest

from tests.helpers.processes import run
from tests.helpers.runs import assert_close_runs, small_config, small_sources
from timbre_jax.training.config import resolve
from timbre_jax.training.distributed.sharding import PmapPlacement, data_mesh, make_placement
from timbre_jax.training.loop import train_and_evaluate
from timbre_jax.training.setup import check_batch_size


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("one")
    train_and_evaluate(small_config(steps=20), workdir, sources=small_sources(), progress=False)
    return workdir


TWO_DEVICES = """
import sys
from tests.helpers.runs import small_config, small_sources
from timbre_jax.training.loop import train_and_evaluate
for parallel, steps in (("jit", 20), ("pmap", 10)):
    workdir = f"{sys.argv[1]}/{parallel}"
    train_and_evaluate(small_config(steps=steps), workdir, sources=small_sources(), parallel=parallel, progress=False)
"""


@pytest.fixture(scope="module")
def two_devices(tmp_path_factory):
    """Returns a folder with runs on two devices: jit/ of 20 steps and pmap/ of 10."""
    folder = tmp_path_factory.mktemp("two")
    done = run("-c", TWO_DEVICES, folder, devices=2)
    assert done.returncode == 0, done.stderr
    return folder


def test_two_devices_equal_one_device(one_device, two_devices):
    assert_close_runs(one_device, two_devices / "jit")


@pytest.mark.slow
def test_pmap_run_is_resumed_on_one_device(one_device, two_devices):
    train_and_evaluate(small_config(steps=20), two_devices / "pmap", sources=small_sources(), progress=False)
    assert_close_runs(one_device, two_devices / "pmap")


def test_parameters_are_created_on_mesh():
    placement = make_placement("jit")
    state = placement.compile_eval(lambda key: {"w": jax.random.normal(key, (3,))})(jax.random.key(0))
    assert state["w"].sharding == placement.replicated


def test_pmap_placement_replicates_and_unreplicates():
    placement = PmapPlacement(data_mesh())
    state = {"w": np.arange(3.0, dtype=np.float32), "step": np.int32(4)}
    replicated = placement.replicate(state)
    assert replicated["w"].shape == (placement.mesh.size, 3)
    np.testing.assert_array_equal(placement.unreplicate(replicated)["w"], state["w"])


def test_unknown_placement_and_indivisible_batches_are_refused(tmp_path):
    with pytest.raises(ValueError, match="parallel='xmap': must be 'jit' or 'pmap'"):
        make_placement("xmap")
    with pytest.raises(ValueError, match=r"batch_size=16: must be a multiple of 1 devices times config.train.accumulate=3"):
        train_and_evaluate(small_config(accumulate=3), tmp_path, sources=small_sources(), progress=False)
    with pytest.raises(ValueError, match="batch_size=16: must be a multiple of 3 devices"):
        check_batch_size(resolve(small_config()), small_sources(), 3)
