"""A small store and a configuration of a model that is fitted in a moment, for launches of the real programs."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def notes(tmp_path_factory):
    """A store of 40 notes to train on, 8 to validate and 10 to test."""
    from tests.helpers.launches import small_notes

    return small_notes(tmp_path_factory.mktemp("launch") / "notes")


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    """A configuration file."""
    from tests.helpers.launches import FITTED, config_file

    return config_file(tmp_path_factory.mktemp("config") / "small.py", FITTED)
