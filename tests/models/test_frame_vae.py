"""FrameVAE: its shapes and parameters, likelihood and loss against closed forms, adversaries, padding, bad input."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from timbre_jax.models import make_model
from timbre_jax.models.adversary.explained_variance import ExplainedVariance
from timbre_jax.models.adversary.frame_regressor import quantile_table, regression_nll, standard_uniform, uniform
from timbre_jax.models.layers.frame_likelihood import log_variance_of
from timbre_jax.types import Features, Latent

SETTINGS = {"feature_shape": (14, 6), "latent_size": 4, "channels": (8, 8), "strided": 1}


def features(count=3, frames=14, seed=0):
    generator = np.random.default_rng(seed)
    loudness = generator.uniform(-60.0, -10.0, (count, frames)).astype(np.float32)
    values = generator.random((count, frames, 6)).astype(np.float32)
    mask = np.ones((count, frames), np.float32)
    mask[-1, frames // 2 :] = 0.0
    return Features(values=values, mask=mask, conditions={"loudness": loudness}, rate=90.0)


def part(record, rows, stop):
    return jax.tree.map(lambda leaf: leaf[rows, :stop], record)


def keys(count=3):
    return jax.random.split(jax.random.key(5), count)


def ready(**settings):
    """A model with the distribution of the loudness, and batch statistics and parameters that are not those of a new one."""
    model = make_model("frame_vae", **{**SETTINGS, **settings})
    variables = model.initialize(dict(fresh(model)), lambda: [features(), features(seed=1)])
    generator = np.random.default_rng(1)
    moved = jax.tree.map(lambda x: x + 0.05 * generator.normal(size=x.shape).astype(np.float32), variables["params"])
    stats = jax.tree.map(lambda x: x + 0.1, variables["batch_stats"])
    return model, {**variables, "params": moved, "batch_stats": stats}


@functools.partial(jax.jit, static_argnums=0)
def fresh(model):
    return jax.jit(model.init)(jax.random.key(0), features())


@functools.partial(jax.jit, static_argnums=0)
def embed(model, variables, sounds):
    return model.embed(variables, sounds)


@functools.partial(jax.jit, static_argnums=0)
def decode(model, variables, latent):
    return model.apply(variables, latent, method="decode")


@functools.partial(jax.jit, static_argnums=(0, 3))
def loss_of(model, variables, sounds, settings=()):
    return model.apply(variables, sounds, keys(), **dict(settings), method="loss")


@pytest.fixture(scope="module")
def made():
    return ready()


def test_the_papers_network_has_its_channels():
    model = make_model("frame_vae")
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), Features(jnp.zeros((1, 375, 128)), jnp.ones((1, 375)))))
    encoder, decoder = (
        [shapes["params"][name][f"convolutions_{i}"]["kernel"].shape for i in range(7)] for name in ("encoder", "decoder")
    )
    channels = (128, 256, 256, 512, 512, 512, 128, 32)
    assert encoder == [(5, a, b) for a, b in itertools.pairwise(channels)]
    mirror = (17, 128, 512, 512, 512, 256, 256, 256)
    assert [(k, a, b // (2 if i == 3 else 1)) for i, (k, a, b) in enumerate(decoder)] == [
        (5, a, b) for a, b in itertools.pairwise(mirror)
    ]
    # 3 x 2 + 1 frames, made 8, then 3 x 2 latents; 4 x 2 latents, then 3 x 2 frames.
    assert model.look_ahead == (10, 11)
    assert model.clone(causal=True).look_ahead == (0, 0)


def test_one_latent_for_two_frames_and_back_at_any_length(made):
    model, variables = made
    for frames in (1, 2, 7, 14, 33):
        sounds = features(2, frames)
        latent = jax.eval_shape(lambda x: model.embed(variables, x), sounds)
        count = -(-frames // 2)
        assert latent.values.shape == (2, count, 4)
        assert latent.mask.shape == latent.conditions["loudness"].shape == (2, count)
        assert latent.rate == 45.0
        again = jax.eval_shape(lambda z: model.apply(variables, z, method="decode"), latent)
        assert again.values.shape == (2, 2 * count, 6)
        assert again.conditions["loudness"].shape == (2, 2 * count)
        assert again.rate == 90.0
        assert jax.eval_shape(lambda x: model.reconstruct(variables, x), sounds).values.shape == (2, frames, 6)
    latent = embed(model, variables, features())
    again = decode(model, variables, latent)
    assert 0.0 <= float(again.values.min()) < float(again.values.max()) <= 1.0
    pooled = np.asarray(latent.conditions["loudness"])
    np.testing.assert_allclose(pooled[0], features().conditions["loudness"][0].reshape(7, 2).mean(1), rtol=1e-6)


def test_padding_changes_nothing(made):
    """A sound alone, and in a batch of longer ones: latents, loss and all."""
    model, variables = made
    sounds = features(3, 14)
    short = part(sounds, slice(2, 3), 7)
    together, alone = embed(model, variables, sounds), embed(model, variables, short)
    np.testing.assert_allclose(together.values[2, :4], alone.values[0], atol=1e-5)
    np.testing.assert_array_equal(together.values[2, 4:], 0.0)
    np.testing.assert_allclose(together.conditions["loudness"][2, :4], alone.conditions["loudness"][0], rtol=1e-6)
    first, second = (decode(model, variables, x).values for x in (together, alone))
    np.testing.assert_allclose(first[2, :8], second[0], atol=1e-5)
    changed = np.array(sounds.values)
    changed[2, 7:] = 0.9
    whole, _ = loss_of(model, variables, sounds)
    other, _ = loss_of(model, variables, sounds.replace(values=changed))
    np.testing.assert_allclose(other, whole, rtol=1e-5)


def test_the_likelihood_is_a_gaussian_of_one_meaning(made):
    """Against SciPy: sigma is exp(log_variance / 2) wherever it is used."""
    model, variables = made
    sounds = features()
    loss, metrics = loss_of(model, variables, sounds, (("kl_weight", 0.1),))

    def outputs(module):
        posterior = module.posterior(sounds)
        return posterior, module.decoder(module._told(posterior.sample(keys()).values, posterior.conditions), posterior.mask)[0]

    posterior, raw = jax.jit(lambda: model.apply(variables, method=outputs))()
    mean, log_variance = np.asarray(raw[..., :6], np.float64), np.asarray(log_variance_of(raw[..., 6:]), np.float64)
    assert -10.0 < log_variance.min() < log_variance.max() < 0.0
    terms = -norm.logpdf(sounds.values, mean, np.exp(0.5 * log_variance)) * sounds.mask[..., None]
    np.testing.assert_allclose(metrics["reconstruction"], terms.sum((1, 2)) / 14, rtol=1e-4)
    z, log_var = np.asarray(posterior.mean, np.float64), np.asarray(posterior.log_variance, np.float64)
    kl = (0.5 * (z**2 + np.exp(log_var) - 1 - log_var) * np.asarray(posterior.mask)[..., None]).sum((1, 2))
    np.testing.assert_allclose(metrics["kl"], kl / 14, rtol=1e-4)
    squares = np.square(sounds.values - mean) * sounds.mask[..., None]
    np.testing.assert_allclose(metrics["mse"], squares.mean(2).sum(1) / sounds.mask.sum(1), rtol=1e-4)
    # Without an adversary the loss is these two alone.
    bare = {name: value for name, value in variables["params"].items() if not name.startswith("regressors")}
    plain, _ = loss_of(model.clone(invariant_to=()), {**variables, "params": bare}, sounds, (("kl_weight", 0.1),))
    np.testing.assert_allclose(plain, metrics["reconstruction"] + 0.1 * metrics["kl"], rtol=1e-5)
    assert np.abs(np.asarray(loss - plain)).max() > 1e-3


def test_the_regressor_learns_what_the_encoder_unlearns(made):
    """The encoder's gradient of the adversary's part is -lambda times the plain one; the regressor's does not know lambda."""
    model, variables = made
    sounds = features()

    @functools.partial(jax.jit, static_argnums=0)
    def gradient(module, progress):
        def cost(params):
            told = {"progress": progress, "kl_weight": 0.0, "method": "loss"}
            return jnp.sum(module.apply({**variables, "params": params}, sounds, keys(), **told)[0])

        return jax.grad(cost)(variables["params"])

    base = gradient(model.clone(adversary_weight=1e-9), 0.05)
    adversary = {p: jax.tree.map(jnp.subtract, gradient(model, p), base) for p in (0.05, 1.0)}
    at = {p: 1 - np.exp(-p / 0.1) for p in adversary}
    for name in variables["params"]:
        late, early = (jax.tree.leaves(adversary[p][name]) for p in (1.0, 0.05))
        for a, b in zip(late, early, strict=True):
            scale = at[1.0] / at[0.05] if name == "encoder" else 1.0
            np.testing.assert_allclose(a, scale * b, atol=2e-4 * max(1.0, float(jnp.abs(a).max())))
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(adversary[1.0]["encoder"]))
    assert largest > 1e-3
    # A step of the regressors against their gradient lowers the error that is logged.
    moved = {
        k: jax.tree.map(lambda p, g: p - 0.05 * g, v, adversary[1.0][k]) if k.startswith("regressors") else v
        for k, v in variables["params"].items()
    }
    errors = [
        np.mean(loss_of(model, {**variables, "params": p}, sounds)[1]["loudness_error"]) for p in (variables["params"], moved)
    ]
    assert errors[1] < errors[0]


def test_loudness_is_uniform_by_its_own_distribution():
    generator = np.random.default_rng(0)
    loudness = np.concatenate([-100.0 * np.ones(1000), -50 + 10 * generator.normal(size=9000)]).astype(np.float32)
    table = quantile_table(loudness)
    places = np.asarray(uniform(loudness, table))
    assert places.min() >= 0.0
    # Silence fills the first tenth and lies in its middle; the others are even over the rest.
    np.testing.assert_allclose(places[:1000], 0.05, atol=0.01)
    np.testing.assert_allclose(np.quantile(places[1000:], [0.1, 0.5, 0.9]), [0.19, 0.55, 0.91], atol=0.01)
    standard = np.asarray(standard_uniform(generator.choice(loudness, 20000), table))
    assert abs(standard.mean()) < 0.05
    assert standard.std() == pytest.approx(1.0, abs=0.05)
    nll, error = regression_nll(jnp.zeros((1, 20000, 2)), jnp.asarray(standard)[None])
    assert float(nll.mean()) == pytest.approx(0.5 * np.log(2 * np.pi) + 0.5, abs=0.05)
    assert float(error.mean()) == pytest.approx(1.0, abs=0.1)


def test_the_reader_explains_what_linear_regression_explains_and_no_noise():
    generator = np.random.default_rng(0)
    reader = ExplainedVariance(2, features=32, memory=0.95)
    z = generator.normal(size=(40, 4, 50, 3)).astype(np.float32) * 2.0
    wanted = np.stack(
        [z[..., 0] + 2 * z[..., 1] + generator.normal(size=z.shape[:-1]) * 3, generator.normal(size=z.shape[:-1])], -1
    )
    mask = np.ones((4, 50), np.float32)
    mask[:, 40:] = 0.0
    variables = jax.jit(reader.init)(jax.random.key(0), z[0], mask, wanted[0])
    step = jax.jit(lambda v, z, t: reader.apply(v, z, mask, t, train=True, mutable=["moments"]))
    for batch, targets in zip(z, wanted.astype(np.float32), strict=True):
        targets[:, 40:] = 1e3  # beyond the mask
        explained, variables = step(variables, batch, targets)
    expected = 20.0 / 29.0
    assert float(explained[0]) == pytest.approx(expected, abs=0.05)
    assert float(explained[1]) < 0.05
    np.testing.assert_allclose(reader.apply(variables, z[0], mask, wanted[0]), explained, atol=1e-5)

    def cost(shrunk):
        moved = z[0] * jnp.asarray([shrunk, 1.0, 1.0])
        noise = jax.random.normal(jax.random.key(0), moved.shape)
        return reader.apply(variables, moved + noise, mask, wanted[0], train=True, mutable=["moments"])[0][0]

    # Less of what explains the target explains less: the gradient says so.
    assert float(jax.jit(jax.grad(cost))(1.0)) > 0.0


def test_a_label_can_be_removed_and_a_condition_that_is_not_there_is_told():
    labels = (("family", ("brass", "reed", "string")),)
    model = make_model("frame_vae", **SETTINGS, invariant_to=("loudness", "family"), labels=labels, reader_weight=1.0)
    told = {"labels": {"family": jnp.asarray([0, 2, -1])}, "method": "loss"}
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), features()))
    loss, metrics = jax.eval_shape(lambda v: model.apply(v, features(), keys(), **told), variables)
    assert loss.shape == (3,)
    assert set(metrics) >= {"family_error", "loudness_error", "family_read", "loudness_read"}
    assert variables["params"]["regressors_1"]["Dense_1"]["kernel"].shape[1] == 3
    assert variables["moments"]["readers_1"]["mean"].shape == (4 + 10 + 128 + 3,)

    def tried(module, sounds, method):
        return jax.eval_shape(
            lambda v: module.apply(v, sounds, *([keys()] if method == "loss" else []), method=method), variables
        )

    with pytest.raises(ValueError, match="invariant to the label 'family', which the batch does not have"):
        tried(model, features(), "loss")
    with pytest.raises(ValueError, match=r"features of this space are \[B, N, 6\] with at least one frame, not \[3, 14, 5\]"):
        tried(model, features().replace(values=jnp.zeros((3, 14, 5))), "posterior")
    other = make_model("frame_vae", **SETTINGS, given=(), invariant_to=("f0",))
    blank = {"quantiles": {"f0": jnp.zeros(257)}}
    with pytest.raises(ValueError, match=r"invariant_to names 'f0'.*they have: loudness"):
        other.initialize(blank, lambda: [features()])


def test_gain_does_not_reach_latents_that_see_values_relative_to_the_loudness():
    model, variables = ready(relative_db=40.0)
    sounds = features(2)
    sounds = sounds.replace(values=0.5 + 0.3 * sounds.values, mask=jnp.ones((2, 14)))
    quieter = sounds.replace(values=sounds.values - 0.1, conditions={"loudness": sounds.conditions["loudness"] - 10.0})
    loud, soft = (embed(model, variables, x).values for x in (sounds, quieter))
    np.testing.assert_allclose(loud, soft, atol=1e-4)
    plain = model.clone(relative_db=0.0)
    assert np.abs(embed(plain, variables, sounds).values - embed(plain, variables, quieter).values).max() > 1e-2


def test_a_latent_without_conditions_is_decoded_at_the_mean_and_a_hand_sets_the_loudness(made):
    model, variables = made
    z = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 4)), jnp.float32)
    mean = float(variables["quantiles"]["loudness"].mean())
    bare = decode(model, variables, Latent(values=z)).values
    for curve in (jnp.full((1, 5), mean), jnp.full((1,), mean)):
        told = decode(model, variables, Latent(values=z, conditions={"loudness": curve})).values
        np.testing.assert_allclose(told, bare, atol=1e-5)
    louder = decode(model, variables, Latent(values=z, conditions={"loudness": jnp.full((1,), mean + 20)}))
    assert np.abs(louder.values - bare).max() > 1e-3
