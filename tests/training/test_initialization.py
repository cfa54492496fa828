"""Initialization of a model from the training set."""

import jax
import numpy as np

from tests.helpers.runs import small_config, small_sources
from timbre_jax.data.example_source import evenly_spaced
from timbre_jax.training.config import resolve
from timbre_jax.training.distributed.sharding import make_placement
from timbre_jax.training.initialization import initialization_features
from timbre_jax.training.programs import Programs
from timbre_jax.training.setup import build_model


def test_initialization_uses_limited_number_of_examples():
    # Two readings of 12 of the 96 examples, evenly spaced; the second reading is augmented.
    config = small_config(steps=1, initialize_examples=24, initialize_readings=2)
    config["augment"] = {"name": "harmonic"}
    config, sources = resolve(config), small_sources(train=96)
    programs = Programs(config, build_model(config, sources), sources.representation, make_placement("jit"), 1)

    def values():
        features = initialization_features(programs, sources, config.train, jax.random.key(0))
        return np.concatenate([part.values for part in features])

    first, again = values(), values()
    plain = np.stack([example["values"] for example in sources.train])[evenly_spaced(96, 12)]
    assert first.shape == (24, *plain.shape[1:])
    np.testing.assert_array_equal(first[:12], plain)
    assert not np.array_equal(first[12:], plain)
    np.testing.assert_array_equal(again, first)
    config.train.initialize_examples = 0
    assert len(values()) == 2 * 96
