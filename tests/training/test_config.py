"""A run that goes on is checked against the configuration that lies in its folder as JSON."""

from __future__ import annotations

import json

import pytest

from experiments.configs import rebnord2022
from timbre_jax.training.config import check_same, flatten, model_section, resolve


@pytest.fixture
def config():
    return resolve(rebnord2022.get_config())


@pytest.fixture
def saved(config):
    """The configuration as JSON has it."""
    return json.loads(json.dumps(config.to_dict()))


def test_a_saved_configuration_is_the_same_again(config, saved):
    """JSON has no tuples: neither those of a field nor those within them make another run."""
    assert config.model["pools"][0] == (4, 4)
    check_same(saved, config, "run")
    assert flatten(saved) == flatten(config)


def test_another_configuration_is_another_run(config, saved):
    saved["model"]["pools"][0] = [2, 4]
    with pytest.raises(ValueError, match=r"another configuration \(model\.pools: .*resume with the same, or use another"):
        check_same(saved, config, "run")


def test_a_run_may_get_another_number_of_steps(config, saved):
    saved["train"]["steps"] = 7
    check_same(saved, config, "run")


def test_a_run_of_a_version_with_fewer_settings_goes_on_at_their_defaults(config, saved):
    del saved["representation"]["loudness"]
    check_same(saved, config, "run")
    config.representation.loudness = True
    with pytest.raises(ValueError, match=r"representation\.loudness: False -> True"):
        check_same(saved, config, "run")


def test_another_number_of_steps_is_another_run_of_a_model_that_uses_the_progress():
    config = resolve({"model": model_section("frame_vae"), "train": {"steps": 60}})
    saved = json.loads(json.dumps(config.to_dict()))
    config.train.steps = 80
    with pytest.raises(ValueError, match=r"train\.steps: 60 -> 80"):
        check_same(saved, config, "run")
