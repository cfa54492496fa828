"""A small store and a configuration of a model that is fitted in a moment, for launches of the real programs."""

from __future__ import annotations

import pytest

CONFIG = """
from timbre_jax.training.config import default_config, model_section


def get_config():
    config = default_config()
    config.model = model_section("pca", latent_size=4)
    config.data.in_memory = True
    config.train.batch_size = 16
    return config
"""


@pytest.fixture(scope="session")
def notes(tmp_path_factory):
    """A store of 40 notes to train on, 8 to validate and 10 to test."""
    from tests.helpers.notes import ListedSource
    from timbre_jax.data.build import build_store

    path = tmp_path_factory.mktemp("launch") / "notes"
    build_store(ListedSource(counts=(("train", 40), ("valid", 8), ("test", 10))), path, workers=1, progress=False)
    return path


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    """A configuration file."""
    path = tmp_path_factory.mktemp("config") / "small.py"
    path.write_text(CONFIG)
    return path
