import json

import pytest

from timbre_jax.checkpoint import model_name, model_settings
from timbre_jax.models import MODELS, make_model


@pytest.mark.parametrize("name", sorted(MODELS))
def test_settings_come_back_through_json(name):
    model = make_model(name, feature_shape=(20, 3), latent_size=5)
    settings = json.loads(json.dumps(model_settings(model)))
    again = make_model(model_name(model), **settings)
    assert again == model
    assert hash(again) == hash(model)


def test_unknown_names_are_told_with_those_there_are():
    with pytest.raises(ValueError, match=r"no model 'conv_vea'; there are .*conv_vae"):
        make_model("conv_vea")
    with pytest.raises(ValueError, match="'pca' has no setting 'width'; it has feature_shape, latent_size"):
        make_model("pca", width=3)
