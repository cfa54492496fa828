import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from timbre_jax.models.layers.likelihoods import bernoulli_nll, gaussian_nll, make_head


def test_bernoulli_nll_against_float64():
    rng = np.random.default_rng(0)
    logits, values = rng.normal(scale=4, size=(3, 5, 2)), rng.uniform(size=(3, 5, 2))
    p = scipy.special.expit(logits)
    expected = -(values * np.log(p) + (1 - values) * np.log1p(-p)).sum((1, 2))
    np.testing.assert_allclose(bernoulli_nll(jnp.float32(logits), jnp.float32(values)), expected, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.floats(-1e4, 1e4), st.floats(0, 1))
def test_bernoulli_nll_is_finite_and_at_least_the_entropy(logit, value):
    nll = float(bernoulli_nll(jnp.full((1, 1), logit, jnp.float32), jnp.full((1, 1), value, jnp.float32))[0])
    entropy = scipy.stats.bernoulli(value).entropy()
    assert np.isfinite(nll)
    assert nll >= entropy - 1e-5


def test_gaussian_nll_against_scipy():
    rng = np.random.default_rng(1)
    mean, values, log_sigma = rng.normal(size=(3, 4, 2)), rng.normal(size=(3, 4, 2)), np.array([-1.0, 0.5])
    expected = -scipy.stats.norm(mean, np.exp(log_sigma)).logpdf(values).sum((1, 2))
    found = gaussian_nll(jnp.float32(mean), jnp.float32(log_sigma), jnp.float32(values))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(("name", "shape"), [("gaussian", ()), ("gaussian_rows", (3,))])
def test_learned_sigma_finds_the_spread_of_the_data(name, shape):
    head = make_head(name, n_features=3)
    spread = np.array([0.02, 0.05, 0.1]) if shape else np.full(3, 0.05)
    values = jnp.float32(0.5 + spread * np.random.default_rng(2).normal(size=(400, 8, 3)))
    raw = jnp.zeros_like(values)
    variables = head.init(jax.random.key(0), raw, values, method="nll")
    assert variables["params"]["log_sigma"].shape == shape
    gradient = jax.jit(jax.grad(lambda v: head.apply(v, raw, values, method="nll").mean() / 24))
    for _ in range(400):
        variables = jax.tree.map(lambda p, g: p - 0.5 * g, variables, gradient(variables))
    log_sigma = -6.0 + np.logaddexp(0.0, np.asarray(variables["params"]["log_sigma"]) + 6.0)
    np.testing.assert_allclose(np.broadcast_to(np.exp(log_sigma), 3), spread, rtol=0.05)


def test_unknown_head():
    with pytest.raises(ValueError, match="'poisson'"):
        make_head("poisson", n_features=1)
