"""Small store, and configurations of small models, for tests of launches."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.notes import ListedSource
from timbre_jax.data.prepare.build import build_store

FITTED = "config.model = model_section('pca', latent_size=4)"
TRAINED = """config.model = model_section('conv_vae', latent_size=3, channels=(4,))
    config.train.log_every = 5
    config.train.eval_every = 100
    config.train.checkpoint_every = 10
    config.train.average_decay = 0.9"""

_FILE = """
from timbre_jax.training.config import default_config, model_section


def get_config():
    config = default_config()
    config.data.in_memory = True
    config.train.batch_size = 16
    {}
    return config
"""


def small_notes(path: Path) -> Path:
    """Makes a store of 40 training, 8 validation and 10 test notes."""
    build_store(ListedSource(counts=(("train", 40), ("valid", 8), ("test", 10))), path, workers=1, progress=False)
    return path


def config_file(path: Path, model: str) -> Path:
    """Writes a configuration file of a model, FITTED or TRAINED."""
    path.write_text(_FILE.format(model))
    return path
