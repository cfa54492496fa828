import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.models import make_model
from timbre_jax.models.layers.likelihoods import bernoulli_nll
from timbre_jax.types import Features


def features(batch, shape, seed=0):
    values = jax.random.uniform(jax.random.key(seed), (batch, *shape))
    return Features(values=values, mask=jnp.ones(values.shape[:2]))


def small(**settings):
    return make_model("conv_vae", feature_shape=(10, 3), latent_size=4, channels=(4, 4), **settings)


@pytest.fixture(scope="module")
def trained():
    model, x = small(), features(6, (10, 3))
    return model, jax.jit(model.init)(jax.random.key(0), x), x


def test_network_of_the_paper_has_177169_parameters():
    model = make_model("conv_vae")
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), features(1, (372, 8))))
    # two convolutions; mean and log-variance; dense; two transposed convolutions; one to a single channel
    flat = 2 * 93 * 32
    expected = (9 * 32 + 32) + (9 * 32 * 32 + 32) + 2 * (flat * 8 + 8)
    expected += (8 * flat + flat) + 2 * (9 * 32 * 32 + 32) + (9 * 32 + 1)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == expected == 177169


@pytest.mark.parametrize("shape", [(372, 8), (372, 101), (17, 3), (1, 1)])
def test_any_number_of_frames_and_harmonics_is_possible(shape):
    model = make_model("conv_vae", feature_shape=shape)

    def run():
        x = features(2, shape)
        variables = jax.jit(model.init)(jax.random.key(0), x)
        return model.reconstruct(variables, x).values, model.embed(variables, x).values

    values, latents = jax.eval_shape(run)
    assert values.shape == (2, *shape)
    assert latents.shape == (2, 8)


def test_reconstruction_is_in_the_unit_interval_and_keeps_mask_and_conditions(trained):
    model, variables, x = trained
    x = x.replace(mask=x.mask.at[:, 7:].set(0), conditions={"level": jnp.arange(6.0)}, rate=93.0)
    again = model.reconstruct(variables, x)
    assert ((again.values > 0) & (again.values < 1)).all()
    np.testing.assert_array_equal(again.mask, x.mask)
    np.testing.assert_array_equal(again.conditions["level"], x.conditions["level"])
    assert again.rate == 93.0


def test_every_corner_of_the_features_changes_the_latent(trained):
    """Changes the first and last frame of the first and last row."""
    model, variables, x = trained
    base = model.embed(variables, x).values
    for frame, row in ((9, 2), (0, 0), (9, 0), (0, 2)):
        moved = x.replace(values=x.values.at[:, frame, row].add(0.5))
        assert np.abs(model.embed(variables, moved).values - base).max() > 1e-4


def test_loss_is_the_negative_evidence_lower_bound(trained):
    model, variables, x = trained
    keys = jax.random.split(jax.random.key(5), 6)
    loss, metrics = model.apply(variables, x, keys, kl_weight=0.3, train=True, method="loss")
    posterior = model.apply(variables, x, method="posterior")
    raw = model.apply(variables, posterior.sample(keys).values, method="raw")
    mean, variance = np.asarray(posterior.mean, np.float64), np.exp(np.asarray(posterior.log_variance, np.float64))
    kl = 0.5 * (mean**2 + variance - 1 - np.log(variance)).sum(1)
    np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-4)
    np.testing.assert_allclose(loss, bernoulli_nll(raw, x.values) + 0.3 * kl, rtol=1e-5)
    assert loss.shape == metrics["mse"].shape == (6,)


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_rows"])
def test_every_parameter_of_a_likelihood_has_a_gradient(likelihood):
    model, x = small(likelihood=likelihood), features(3, (10, 3))
    variables = jax.jit(model.init)(jax.random.key(0), x)
    keys = jax.random.split(jax.random.key(1), 3)
    gradient = jax.jit(jax.grad(lambda v: model.apply(v, x, keys, method="loss")[0].sum()))(variables)
    assert "log_sigma" in gradient["params"]["head"]
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))
