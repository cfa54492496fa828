import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.documents import model_document
from timbre_jax.models import MODELS, RENAMED, make_model
from timbre_jax.types import Features


@pytest.mark.parametrize("name", sorted(MODELS))
def test_settings_survive_json(name):
    model = make_model(name, feature_shape=(20, 3), latent_size=5)
    again = make_model(**json.loads(json.dumps(model_document(model))))
    assert again == model
    assert hash(again) == hash(model)


def test_settings_of_version_0_1_are_accepted():
    assert make_model("frame_vae", given=["f0"], strided=1) == make_model(
        "frame_vae", decoder_conditions=("f0",), strided_layer=1
    )
    assert make_model("conv_vae", dtype="float32") == make_model("conv_vae")
    with pytest.raises(ValueError, match="'conv_vae': unknown setting 'dtype'"):
        make_model("conv_vae", dtype="bfloat16")


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'conv_vea': unknown name \(expected one of conv_vae"):
        make_model("conv_vea")
    with pytest.raises(ValueError, match=r"'pca': unknown setting 'width' \(expected one of feature_shape, latent_size\)"):
        make_model("pca", width=3)


@pytest.mark.parametrize("name", RENAMED)
def test_renamed_models_are_refused_with_the_new_name(name):
    assert RENAMED[name] in MODELS
    with pytest.raises(ValueError, match=f"model '{name}': renamed to '{RENAMED[name]}'"):
        make_model(name)


@pytest.mark.parametrize(
    ("name", "setting", "value", "message"),
    [
        ("pca", "latent_size", 0, r"'pca': latent_size must be positive \(got 0\)"),
        ("dense_vae", "width", -4, r"width must be positive \(got -4\)"),
        ("dense_vae", "refine_steps", -1, r"refine_steps must not be negative \(got -1\)"),
        ("dense_vae", "latent_size", "8", r"latent_size must be int like 8 \(got '8'\)"),
        ("dense_vae", "latent_size", 8.0, r"latent_size must be int like 8 \(got 8.0\)"),
        ("conv_vae", "channels", [32, 0], r"channels must be positive \(got \(32, 0\)\)"),
        ("conv_vae", "channels", 32, r"channels must be tuple like \(32, 32\) \(got 32\)"),
        ("conv_vae", "likelihood", 3, r"likelihood must be str like 'bernoulli' \(got 3\)"),
    ],
)
def test_values_out_of_range_or_of_another_type_are_refused(name, setting, value, message):
    with pytest.raises(ValueError, match=message) as error:
        make_model(name, **{setting: value})
    assert "\n" not in str(error.value)


def test_settings_that_disable_something_may_be_0():
    assert make_model("dense_vae", refine_steps=0, refine_prior_weight=0.0, depth=0).refine_steps == 0


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("conv_vae", {"channels": (4, 4)}),
        ("dense_vae", {"basis_size": 12, "width": 32, "depth": 1}),
        ("flow_vae", {"channels": (4,), "pools": ((2, 2),), "hidden": 8, "flows": 2}),
    ],
)
def test_loss_of_a_sound_does_not_depend_on_its_batch(name, settings):
    model = make_model(name, feature_shape=(10, 4), latent_size=3, **settings)
    x = Features(values=jax.random.uniform(jax.random.key(0), (6, 10, 4)), mask=jnp.ones((6, 10)))
    variables, keys = jax.jit(model.init)(jax.random.key(1), x), jax.random.split(jax.random.key(2), 6)
    loss = jax.jit(lambda x, keys: model.apply(variables, x, keys, train=True, method="loss")[0])
    order = np.array([4, 0, 2])
    np.testing.assert_allclose(loss(jax.tree.map(lambda a: a[order], x), keys[order]), loss(x, keys)[order], rtol=1e-5)
