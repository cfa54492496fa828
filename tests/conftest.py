"""Hooks for all tests, and a small store with runs and a map that test files share."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys

import pytest

CLEAR_ABOVE_GB = 2.0

# A process in the background of a shell ignores Ctrl-C, and so would the programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Keeps the tests of a file on one worker, which shares fixtures and compiled programs."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path.name)))


def resident_gb() -> float:
    """Returns the resident memory of this process in GB; 0 if the system does not report it."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9
    except OSError:
        return 0.0


def pytest_runtest_teardown(item, nextitem):
    """Frees compiled programs between test files if memory is high.

    Otherwise `jit` keeps all of them: 5.6 GB per worker.
    """
    if nextitem is not None and nextitem.path == item.path:
        return
    jax = sys.modules.get("jax")
    if jax is None or resident_gb() < CLEAR_ABOVE_GB:
        return
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@pytest.fixture(scope="session")
def small_store(tmp_path_factory):
    from tests.helpers.small_analysis import make_store

    return make_store(tmp_path_factory.mktemp("notes"))


@pytest.fixture(scope="session")
def pca_run(small_store, tmp_path_factory):
    from tests.helpers.small_analysis import fit_run

    return fit_run(small_store, tmp_path_factory.mktemp("runs") / "pca3", latent_size=3)


@pytest.fixture(scope="session")
def mean_run(small_store, tmp_path_factory):
    from tests.helpers.small_analysis import fit_run

    return fit_run(small_store, tmp_path_factory.mktemp("runs") / "mean", "mean_image")


@pytest.fixture(scope="session")
def continuous_run(small_store, tmp_path_factory):
    from tests.helpers.small_analysis import untrained_series_run

    return untrained_series_run(small_store, tmp_path_factory.mktemp("runs") / "continuous", "continuous")


@pytest.fixture(scope="session")
def discrete_run(small_store, tmp_path_factory):
    from tests.helpers.small_analysis import untrained_series_run

    return untrained_series_run(small_store, tmp_path_factory.mktemp("runs") / "discrete", "discrete")


@pytest.fixture(scope="session")
def map_settings(pca_run, tmp_path_factory):
    """Returns the settings of a kernel map of all notes of the store."""
    from timbre_jax.maps.build import MapSettings

    return MapSettings(pca_run, tmp_path_factory.mktemp("map"), split="all", players=5, progress=False)


@pytest.fixture(scope="session")
def run_map(map_settings):
    """Returns the map of `map_settings`, with its files."""
    from timbre_jax.maps.build import make_map_of_run

    return make_map_of_run(map_settings)
