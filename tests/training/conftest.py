"""Fixtures of the tests of training."""

from __future__ import annotations

import pytest

from tests.helpers.runs import small_config, small_sources
from tests.helpers.shared_programs import shared_programs  # noqa: F401
from timbre_jax.training.loop import train_and_evaluate


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory):
    """Returns the folder, which tests do not change, and the result of a run of 40 steps."""
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, train_and_evaluate(small_config(), workdir, sources=small_sources(), progress=False)
