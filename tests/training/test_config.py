"""Comparison of a configuration with the saved configuration of a run."""

from __future__ import annotations

import json

import pytest

from experiments.configs import rebnord2022
from timbre_jax.training.config import check_unchanged, flatten, model_section, resolve


@pytest.fixture
def config():
    return resolve(rebnord2022.get_config())


@pytest.fixture
def saved(config):
    """Returns the configuration after a round trip through JSON."""
    return json.loads(json.dumps(config.to_dict()))


def test_configuration_equals_its_saved_json(config, saved):
    # JSON turns tuples into lists, also nested ones.
    assert config.model["pools"][0] == (4, 4)
    check_unchanged(saved, config, "run")
    assert flatten(saved) == flatten(config)


def test_changed_configuration_is_refused(config, saved):
    saved["model"]["pools"][0] = [2, 4]
    with pytest.raises(ValueError, match=r"another configuration \(model\.pools: .*resume it with the same, or use another"):
        check_unchanged(saved, config, "run")


def test_number_of_steps_may_change(config, saved):
    saved["train"]["steps"] = 7
    check_unchanged(saved, config, "run")


def test_run_without_new_settings_is_resumed_with_their_defaults(config, saved):
    del saved["representation"]["loudness"]
    check_unchanged(saved, config, "run")
    config.representation.loudness = True
    with pytest.raises(ValueError, match=r"representation\.loudness: False -> True"):
        check_unchanged(saved, config, "run")


def test_number_of_steps_may_not_change_if_loss_depends_on_it():
    config = resolve({"model": model_section("frame_vae"), "train": {"steps": 60}})
    saved = json.loads(json.dumps(config.to_dict()))
    config.train.steps = 80
    with pytest.raises(ValueError, match=r"train\.steps: 60 -> 80"):
        check_unchanged(saved, config, "run")
