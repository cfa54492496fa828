"""Signals of all tests, and one small store of notes with runs on it that tests of several rooms share."""

from __future__ import annotations

import signal

import pytest

# Run in the background of a shell, this process ignores Ctrl-C, and so would every program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
    from tests.helpers.small_analysis import begun_series

    return begun_series(small_store, tmp_path_factory.mktemp("runs") / "continuous", "continuous")


@pytest.fixture(scope="session")
def discrete_run(small_store, tmp_path_factory):
    from tests.helpers.small_analysis import begun_series

    return begun_series(small_store, tmp_path_factory.mktemp("runs") / "discrete", "discrete")
