"""Tests of FlowVAE: shapes, parameters, dropout, classes and stable training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.models import make_model
from timbre_jax.models.flow_vae import dropout, pooled_sizes
from timbre_jax.space import TimbreSpace
from timbre_jax.training.state import create_state, make_optimizer
from timbre_jax.training.step import make_train_step
from timbre_jax.types import Features

POOLS = ((4, 4), (2, 2), (2, 4), (2, 2))
SMALL = {"feature_shape": (40, 36), "latent_size": 6, "flows": 2, "channels": [4, 5, 3, 3], "hidden": 16}


def sounds(count=4, frames=40, seed=0):
    values = np.random.default_rng(seed).uniform(size=(count, frames, 36)).astype(np.float32)
    return Features(values=values, mask=np.ones(values.shape[:2], np.float32), conditions={"level_db": np.zeros(count)})


def test_pooled_sizes_are_those_of_the_thesis():
    assert pooled_sizes((128, 125), POOLS) == [(128, 125), (63, 61), (31, 30), (15, 14), (7, 7)]
    assert pooled_sizes((128, 250), POOLS) == [(128, 250), (63, 124), (31, 62), (15, 30), (7, 15)]
    with pytest.raises(ValueError, match="too small for 4 pools"):
        pooled_sizes((128, 8), POOLS)


@pytest.mark.parametrize(("frames", "context"), [(125, 1568), (250, 3360)])
def test_number_of_parameters_is_that_of_the_thesis(frames, context):
    """Counts convolutions, dense layers and 10 flows of 64 x context + 403,584."""
    model = make_model("flow_vae", feature_shape=(frames, 128))
    features = Features(values=jnp.zeros((1, frames, 128)), mask=jnp.ones((1, frames)))
    shapes = jax.eval_shape(model.init, jax.random.key(0), features)["params"]
    convolutions = 9 * (1 * 32 + 32 * 64 + 64 * 32 + 32 * 32)
    dense = (context + 1) * 512 + 2 * 513 * 64 + 65 * context
    flows = 10 * ((context + 1) * 64 + 403_584)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 2 * convolutions + dense + flows


def test_dropout_depends_on_the_key_of_the_sound_only():
    keys = jax.random.split(jax.random.key(0), 5)
    x = jnp.ones((5, 4000))
    dropped = dropout(x, keys, 0.25)
    np.testing.assert_array_equal(dropout(x[3:4], keys[3:4], 0.25)[0], dropped[3])
    assert float((dropped == 0).mean()) == pytest.approx(0.25, abs=0.02)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.02)
    np.testing.assert_array_equal(dropout(x, None, 0.25), x)


def test_space_with_class_heads_embeds_decodes_and_classifies():
    classes = [["family", ["kick", "snare", "tom"]], ["kit", ["a", "b"]]]
    model = make_model("flow_vae", classes=classes, **SMALL)
    features = sounds()
    variables = jax.jit(model.init)(jax.random.key(0), features)
    space = TimbreSpace(variables=variables, statistics={}, model=model, representation=None)
    latent = space.encode(features)
    np.testing.assert_array_equal(latent.values, space.encode(features).values)
    posterior = jax.jit(lambda v, x: model.apply(v, x, method="posterior"))(variables, features)
    flowed = posterior.flow.apply(posterior.variables, posterior.mean, posterior.context)[0]
    np.testing.assert_allclose(latent.values, flowed, atol=1e-6)
    decoded = space.decode(latent)
    assert decoded.values.shape == features.values.shape
    assert float(decoded.values.min()) > 0.0
    assert float(decoded.values.max()) < 1.0
    for probabilities in (space.classify(features), space.classify(latent), space.classify(latent.values)):
        assert {name: value.shape for name, value in probabilities.items()} == {"family": (4, 3), "kit": (4, 2)}
        np.testing.assert_allclose(probabilities["family"].sum(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(space.classify(latent)["kit"], space.classify(decoded)["kit"], atol=1e-6)
    assert space.classes == {"family": ("kick", "snare", "tom"), "kit": ("a", "b")}
    without = make_model("flow_vae", **SMALL)
    with pytest.raises(ValueError, match="predicts no classes"):
        TimbreSpace(variables={}, statistics={}, model=without, representation=None).classify(features)


def test_latents_without_conditions_get_the_medians():
    model = make_model("flow_vae", **SMALL)
    space = TimbreSpace(variables={}, statistics={"condition_level_db": -12.5}, model=model, representation=None)
    np.testing.assert_array_equal(space.latent(np.zeros((3, 6))).conditions["level_db"], [-12.5] * 3)


@pytest.mark.slow
def test_training_is_finite_from_extreme_parameters_and_learns_classes():
    """Trains from parameters at which exponentials of gates and variances overflow.

    The logarithm of a sigmoid, or exp of an unbounded log-variance, would make the gradient NaN in the first step.
    """
    model = make_model("flow_vae", classes=[["family", ["a", "b"]]], **SMALL)
    optimizer = make_optimizer(eps=1e-4)
    state = create_state(model, optimizer, jax.random.key(0), hyper={"learning_rate": 3e-3, "kl_weight": 1.0})
    step = jax.jit(make_train_step(model, optimizer, clip=1e4))
    random = np.random.default_rng(0)
    values = np.zeros((8, 40, 36), np.float32)
    for i in range(8):
        values[i, : 5 + 4 * i, 4 * (i % 2) : 8 + 4 * (i % 2)] = random.uniform(0.5, 1.0)
    batch = {
        "values": values,
        "mask": np.ones((8, 40), np.float32),
        "index": np.arange(8, dtype=np.int32),
        "label_family": np.array([0, 1, 0, 1, 0, 1, 0, -1], np.int32),
    }
    wild = state.replace(params=jax.tree.map(lambda p: 10.0 * p, state.params))
    for _ in range(3):
        wild, metrics = step(wild, batch, jax.random.key(1))
        assert all(np.isfinite(float(value)) for value in metrics.values()), metrics
    losses = []
    for _ in range(150):
        state, metrics = step(state, batch, jax.random.key(1))
        losses.append(float(metrics["reconstruction"]))
    assert np.mean(losses[-10:]) < 0.6 * losses[0]
    assert float(metrics["accuracy_family"]) > 0.8


def test_different_numbers_of_channels_and_pools_are_refused():
    model = make_model("flow_vae", feature_shape=(40, 36), channels=(4, 5))
    with pytest.raises(ValueError, match=r"model\.channels: .*\(got 2, expected 4\)"):
        model.init(jax.random.key(0), Features(values=jnp.zeros((1, 40, 36)), mask=jnp.ones((1, 40))))
