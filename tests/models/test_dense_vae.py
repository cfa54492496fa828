import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import timbre_jax
from tests.helpers.runs import SHAPE, assert_same_run, examples, last_checkpoint, metric_lines, small_config, small_sources
from timbre_jax import checkpoint
from timbre_jax.models import make_model
from timbre_jax.training.loop import train_and_evaluate
from timbre_jax.types import Features, Latent, Posterior

SETTINGS = {"latent_size": 3, "basis_size": 12, "width": 32, "depth": 1}
AUGMENT = {
    "name": "harmonic",
    "level_db": 8.0,
    "harmonic_db": 4.0,
    "pitch_semitones": 1.0,
    "time_warp": 0.2,
    "held_seconds": 0.1,
}


def features(count=40, seed=0):
    batch = examples(count, seed=seed)
    values = jnp.asarray(np.stack([example["values"] for example in batch]))
    return Features(values=values, mask=jnp.ones(values.shape[:2]))


def fresh(model):
    """Variables as a run begins with; compiled, as op by op it takes long."""
    return jax.jit(lambda key: checkpoint.init_variables(model, key))(jax.random.key(0))


def batches(values):
    """Features in two batches, as training reads them."""
    return [Features(values=part, mask=np.ones(part.shape[:2], np.float32)) for part in (values[:33], values[33:])]


@pytest.fixture(scope="module")
def fitted():
    """A model with the basis of 60 sounds and parameters that no training made."""
    model = make_model("dense_vae", feature_shape=SHAPE, **SETTINGS)
    values = np.asarray(features(60).values)
    variables = fresh(model)
    variables = model.initialize(variables, lambda: batches(values))
    # The last layers of a new network are zeros in the residual blocks: move everything off.
    leaves, tree = jax.tree.flatten(variables["params"])
    keys = jax.random.split(jax.random.key(1), len(leaves))
    leaves = [leaf + 0.05 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return model, {**variables, "params": jax.tree.unflatten(tree, leaves)}


def test_initialize_gives_the_pca_of_the_training_set(fitted):
    """Against an SVD in float64, and nothing else is touched."""
    model, variables = fitted
    values = np.asarray(features(60).values, np.float64).reshape(60, -1)
    mean = values.mean(0)
    _, singular, rows = np.linalg.svd(values - mean, full_matrices=False)
    basis = variables["basis"]
    np.testing.assert_allclose(basis["mean"].reshape(-1), mean, atol=1e-6)
    np.testing.assert_allclose(basis["scale"], singular[:12] / math.sqrt(60), rtol=1e-4)
    np.testing.assert_allclose(np.abs(np.sum(basis["components"] * rows[:12], axis=1)), 1.0, atol=1e-4)
    before = fresh(model)
    after = model.initialize(before, lambda: [features(60)])
    jax.tree.map(np.testing.assert_array_equal, before["params"], after["params"])
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert jax.tree.map(jnp.shape, before) == jax.tree.map(jnp.shape, after)


def test_a_basis_larger_than_the_training_set_is_told():
    model = make_model("dense_vae", feature_shape=SHAPE, **SETTINGS)
    variables = fresh(model)
    with pytest.raises(ValueError, match=r"basis_size=12 needs more than 12 sounds.*has 9") as error:
        model.initialize(variables, lambda: [features(9)])
    assert "\n" not in str(error.value)


def test_the_loss_in_the_basis_is_the_loss_of_the_picture(fitted):
    """-log N(picture; drawn, sigma) + KL, from the picture that `raw` draws, in float64."""
    model, variables = fitted
    x, keys = features(7, seed=5), jax.random.split(jax.random.key(3), 7)
    loss, metrics = model.apply(variables, x, keys, kl_weight=0.7, method="loss")
    posterior = model.apply(variables, x, method="posterior")
    z = posterior.sample(keys).values
    drawn = np.asarray(model.apply(variables, z, method="raw"), np.float64)
    log_sigma = float(variables["params"]["log_sigma"])
    squares = np.square(np.asarray(x.values, np.float64) - drawn)
    nll = (0.5 * squares * math.exp(-2 * log_sigma) + log_sigma + 0.5 * math.log(2 * math.pi)).sum((1, 2))
    mean, log_variance = (np.asarray(a, np.float64) for a in (posterior.mean, posterior.log_variance))
    kl = 0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance).sum(1)
    assert squares.mean() > 1e-4
    np.testing.assert_allclose(metrics["mse"], squares.mean((1, 2)), rtol=2e-4)
    np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-4)
    np.testing.assert_allclose(loss, nll + 0.7 * kl, rtol=1e-4)


def test_the_decoder_gets_the_latents_and_nothing_else(fitted):
    """Whatever comes along with a latent, the picture is the same; another latent is another picture."""
    model, variables = fitted
    z = jax.random.normal(jax.random.key(0), (4, 3))
    plain = model.apply(variables, Latent(values=z), method="decode").values
    mask = jnp.zeros((4, SHAPE[0]))
    loaded = Latent(values=z, mask=mask, conditions={"pitch": jnp.arange(4.0)})
    np.testing.assert_array_equal(model.apply(variables, loaded, method="decode").values, plain)
    assert plain.shape == (4, *SHAPE)
    assert (plain >= 0).all()
    assert (plain <= 1).all()
    for d in range(3):
        other = model.apply(variables, Latent(values=z.at[:, d].add(1.0)), method="decode").values
        assert np.abs(other - plain).max(axis=(1, 2)).min() > 1e-4
    raw = model.apply(variables, z, method="raw")
    np.testing.assert_allclose(plain, np.clip(raw, 0, 1), atol=1e-6)


def test_embed_is_deterministic_and_explains_better_than_the_encoder(fitted):
    model, variables = fitted
    x = features(16, seed=9)
    refined, again = (model.embed(variables, x) for _ in range(2))
    np.testing.assert_array_equal(refined.values, again.values)
    guess = model.apply(variables, x, method="posterior").mode()
    np.testing.assert_array_equal(dataclasses.replace(model, refine_steps=0).embed(variables, x).values, guess.values)

    def cost(z):
        drawn = np.asarray(model.apply(variables, z.values, method="raw"), np.float64)
        error = np.square(drawn - np.asarray(x.values, np.float64)).sum((1, 2))
        return error + model.refine_prior * np.square(np.asarray(z.values, np.float64)).sum(1)

    assert (cost(refined) <= cost(guess) * (1 + 1e-5)).all()
    assert cost(refined).mean() < 0.98 * cost(guess).mean()
    # Each sound on its own, in whatever batch.
    part = Features(values=x.values[3:5], mask=x.mask[3:5])
    np.testing.assert_allclose(model.embed(variables, part).values, refined.values[3:5], atol=1e-4)


def test_the_posterior_has_a_variance_that_cannot_run_away(fitted):
    model, variables = fitted
    far = Features(values=jnp.full((1, *SHAPE), 1e4), mask=jnp.ones((1, SHAPE[0])))
    posterior = model.apply(variables, far, method="posterior")
    assert isinstance(posterior, Posterior)
    assert np.isfinite(posterior.mean).all()
    assert ((posterior.log_variance >= -12) & (posterior.log_variance <= 4)).all()


def config(**train):
    return {
        **small_config(
            model={"name": "dense_vae", **SETTINGS},
            optimizer={"clip_norm": 1.0},
            monitor="mse",
            **train,
        ),
        "augment": AUGMENT,
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("dense")
    return workdir, train_and_evaluate(config(), workdir, sources=small_sources(), progress=False)


def test_it_learns_and_leaves_its_basis_alone(whole):
    workdir, result = whole
    lines = metric_lines(workdir)
    valid = [line["mse"] for line in lines if line["event"] == "valid"]
    train = [line["loss"] for line in lines if line["event"] == "train"]
    assert train[-1] < train[0]
    assert result.best_value == min(valid)
    mean = np.mean([example["values"] for example in small_sources().train], axis=0)
    floor = np.mean([np.square(example["values"] - mean).mean() for example in small_sources().valid])
    assert valid[-1] < 0.8 * floor
    space = timbre_jax.load(workdir)
    blank = fresh(space.model)
    values = np.stack([example["values"] for example in small_sources().train])
    expected = space.model.initialize(blank, lambda: batches(values))["basis"]
    # The same PCA read in other batches: equal but for rounding.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), dict(space.variables["basis"]), expected)


def test_a_run_goes_on_to_the_bit_with_its_basis_and_augmentation(whole, tmp_path):
    train_and_evaluate(config(steps=20), tmp_path, sources=small_sources(), progress=False)
    train_and_evaluate(config(), tmp_path, sources=small_sources(), progress=False)
    assert_same_run(tmp_path, whole[0])
    arrays, _ = last_checkpoint(tmp_path)
    assert any("basis" in name and "components" in name for name in arrays)


def test_weights_decide_what_the_basis_and_the_error_see():
    """With all weight on one half of the features, a basis as large as that half gives it back and forgets the other."""
    rows = SHAPE[1]
    half = tuple(1.0 if i < rows // 2 else 1e-6 for i in range(rows))
    model = make_model("dense_vae", feature_shape=SHAPE, **{**SETTINGS, "basis_size": 30}, weights=half)
    values = np.asarray(features(60).values)
    variables = model.initialize(fresh(model), lambda: batches(values))
    coordinates, rest = model.apply(variables, values, method="_coordinates")
    components, mean = np.asarray(variables["basis"]["components"]), np.asarray(variables["basis"]["mean"])
    roots = np.sqrt(np.array(half) / np.mean(half))
    np.testing.assert_allclose(mean, values.mean(0), atol=1e-5)
    again = (np.asarray(coordinates) @ components).reshape(values.shape) / roots + mean
    error = np.square(again - values).mean((0, 1))
    assert error[: rows // 2].mean() < 0.5 * error[rows // 2 :].mean()
    # What the basis cannot say, by hand.
    lost = np.square((again - values) * roots).sum((1, 2))
    np.testing.assert_allclose(rest, lost, rtol=1e-2, atol=1e-3)
    wrong = make_model("dense_vae", feature_shape=SHAPE, **SETTINGS, weights=(1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match=f"3 weights for {rows} features"):
        fresh(wrong)


def test_what_lies_under_the_gate_is_silence(fitted):
    model, variables = fitted
    z = jax.random.normal(jax.random.key(5), (4, 3))
    plain = np.asarray(model.apply(variables, Latent(values=z), method="decode").values)
    threshold = float(np.quantile(plain[plain > 0], 0.3))
    gated = dataclasses.replace(model, gate=threshold)
    np.testing.assert_array_equal(
        gated.apply(variables, Latent(values=z), method="decode").values, np.where(plain < np.float32(threshold), 0.0, plain)
    )
