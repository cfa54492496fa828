"""Fixtures of launch tests: a small store and the configuration of a closed-form model."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def notes(tmp_path_factory):
    """Returns a store of 40 training, 8 validation and 10 test notes."""
    from tests.helpers.launches import small_notes

    return small_notes(tmp_path_factory.mktemp("launch") / "notes")


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    """Returns a configuration file."""
    from tests.helpers.launches import FITTED, config_file

    return config_file(tmp_path_factory.mktemp("config") / "small.py", FITTED)
