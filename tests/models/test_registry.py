import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.documents import model_document
from timbre_jax.models import MODELS, RENAMED, make_model
from timbre_jax.types import Features


@pytest.mark.parametrize("name", sorted(MODELS))
def test_settings_come_back_through_json(name):
    model = make_model(name, feature_shape=(20, 3), latent_size=5)
    again = make_model(**json.loads(json.dumps(model_document(model))))
    assert again == model
    assert hash(again) == hash(model)


def test_runs_of_version_0_1_have_a_dtype():
    assert make_model("conv_vae", dtype="float32") == make_model("conv_vae")
    with pytest.raises(ValueError, match="'conv_vae' has no setting 'dtype'"):
        make_model("conv_vae", dtype="bfloat16")


def test_unknown_names_are_told_with_those_there_are():
    with pytest.raises(ValueError, match=r"no model 'conv_vea'; there are .*conv_vae"):
        make_model("conv_vea")
    with pytest.raises(ValueError, match="'pca' has no setting 'width'; it has feature_shape, latent_size"):
        make_model("pca", width=3)


@pytest.mark.parametrize("name", RENAMED)
def test_replaced_names_are_refused_with_the_new_name(name):
    assert RENAMED[name] in MODELS
    with pytest.raises(ValueError, match=f"model '{name}' is now '{RENAMED[name]}': rename it"):
        make_model(name)


@pytest.mark.parametrize(
    ("name", "setting", "value", "message"),
    [
        ("pca", "latent_size", 0, "'pca': latent_size must be more than 0, not 0"),
        ("dense_vae", "width", -4, "width must be more than 0, not -4"),
        ("dense_vae", "refine_steps", -1, "refine_steps must not be negative, not -1"),
        ("dense_vae", "latent_size", "8", "latent_size must be int like 8, not '8'"),
        ("dense_vae", "latent_size", 8.0, "latent_size must be int like 8, not 8.0"),
        ("conv_vae", "channels", [32, 0], r"channels must be more than 0, not \(32, 0\)"),
        ("conv_vae", "channels", 32, r"channels must be tuple like \(32, 32\), not 32"),
        ("conv_vae", "likelihood", 3, "likelihood must be str like 'bernoulli', not 3"),
    ],
)
def test_values_that_make_no_sense_are_told(name, setting, value, message):
    with pytest.raises(ValueError, match=message) as error:
        make_model(name, **{setting: value})
    assert "\n" not in str(error.value)


def test_what_may_be_turned_off_may_be_0():
    assert make_model("dense_vae", refine_steps=0, refine_prior=0.0, depth=0).refine_steps == 0


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("conv_vae", {"channels": (4, 4)}),
        ("dense_vae", {"basis_size": 12, "width": 32, "depth": 1}),
        ("flow_vae", {"channels": (4,), "pools": ((2, 2),), "hidden": 8, "flows": 2}),
    ],
)
def test_a_sounds_loss_does_not_depend_on_its_batch(name, settings):
    model = make_model(name, feature_shape=(10, 4), latent_size=3, **settings)
    x = Features(values=jax.random.uniform(jax.random.key(0), (6, 10, 4)), mask=jnp.ones((6, 10)))
    variables, keys = jax.jit(model.init)(jax.random.key(1), x), jax.random.split(jax.random.key(2), 6)
    loss = jax.jit(lambda x, keys: model.apply(variables, x, keys, train=True, method="loss")[0])
    order = np.array([4, 0, 2])
    np.testing.assert_allclose(loss(jax.tree.map(lambda a: a[order], x), keys[order]), loss(x, keys)[order], rtol=1e-5)
