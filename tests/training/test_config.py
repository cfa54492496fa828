"""A run that goes on is checked against the configuration that lies in its folder as JSON."""

from __future__ import annotations

import json

import pytest

from experiments.configs import rebnord2022
from timbre_jax.training.config import check_same, flatten, resolve


def test_a_saved_configuration_is_the_same_again():
    """JSON has no tuples: neither those of a field nor those within them make another run."""
    config = resolve(rebnord2022.get_config())
    assert config.model["pools"][0] == (4, 4)
    saved = json.loads(json.dumps(config.to_dict()))
    check_same(saved, config, "run")
    assert flatten(saved) == flatten(config)


def test_another_configuration_is_another_run():
    config = resolve(rebnord2022.get_config())
    saved = json.loads(json.dumps(config.to_dict()))
    saved["model"]["pools"][0] = [2, 4]
    with pytest.raises(ValueError, match=r"another configuration \(model\.pools: .*resume with the same, or use another"):
        check_same(saved, config, "run")
    harmless = json.loads(json.dumps(config.to_dict())) | {"train": {**config.train.to_dict(), "steps": 7}}
    check_same(harmless, config, "run")


def test_a_run_of_a_version_with_fewer_settings_goes_on_at_their_defaults():
    config = resolve(rebnord2022.get_config())
    saved = json.loads(json.dumps(config.to_dict()))
    del saved["representation"]["loudness"]
    check_same(saved, config, "run")
    config.representation.loudness = True
    with pytest.raises(ValueError, match=r"representation\.loudness: False -> True"):
        check_same(saved, config, "run")
