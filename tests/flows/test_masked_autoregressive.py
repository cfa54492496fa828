"""Flows against the full Jacobian, and the KL that they make."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from timbre_jax.flows.masked_autoregressive import FlowChain, MaskedAutoregressiveFlow
from timbre_jax.flows.posterior import FlowPosterior


def apply(flow, *arguments):
    """Applies a flow as one compiled program."""
    return jax.jit(flow.apply)(*arguments)


def made(flow, context_size=7, *, seed=0, batch=3, spread=1.0):
    """The flow's variables, far from the identity, and inputs."""
    keys = jax.random.split(jax.random.key(seed), 4)
    z, context = jax.random.normal(keys[0], (batch, flow.size)), jax.random.normal(keys[1], (batch, context_size))
    variables = jax.jit(flow.init)(keys[2], z, context)
    leaves, tree = jax.tree.flatten(variables)
    leaves = [
        spread * leaf + 0.3 * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, jax.random.split(keys[3], len(leaves)), strict=True)
    ]
    return jax.tree.unflatten(tree, leaves), z, context


@pytest.mark.parametrize("flow", [MaskedAutoregressiveFlow(6, hidden=5), FlowChain(5, 3, hidden=4)])
def test_log_determinant_is_that_of_the_jacobian(flow):
    variables, z, context = made(flow)
    values, log_det = apply(flow, variables, z, context)
    jacobian = jax.jit(jax.vmap(jax.jacfwd(lambda z, c: flow.apply(variables, z[None], c[None])[0][0])))(z, context)
    np.testing.assert_allclose(log_det, jnp.linalg.slogdet(jacobian)[1], rtol=1e-3, atol=1e-3)
    assert np.abs(values - z).max() > 0.1


def test_the_jacobian_is_triangular_up_to_the_reversal():
    flow = MaskedAutoregressiveFlow(6, hidden=5)
    variables, z, context = made(flow)
    jacobian = jax.jit(jax.jacfwd(lambda z: flow.apply(variables, z[None], context[:1])[0][0]))(z[0])[::-1]
    assert np.all(np.triu(jacobian, 1) == 0.0)
    below = np.asarray(jacobian)[np.tril_indices(6, -1)]
    assert np.all(np.abs(below) > 1e-8)
    gates = np.diag(jacobian)
    assert np.all((gates > 0) & (gates < 1))


def test_each_dimension_is_the_thesis_small_net():
    """By hand, one dimension after another: [h, z_<j] -> ELU -> (m, s), gate, then reversal."""
    flow = MaskedAutoregressiveFlow(4, hidden=3)
    variables, z, context = made(flow)
    p = jax.tree.map(np.asarray, variables["params"])
    elu = lambda x: np.where(x > 0, x, np.expm1(x))  # noqa: E731
    h = elu(np.asarray(context) @ p["context"]["kernel"] + p["context"]["bias"])
    from_h = p["hidden_context"].reshape(4, 4, 3)
    pairs = list(zip(*np.triu_indices(4, 1), strict=True))
    result = np.zeros((3, 4))
    for j in range(4):
        earlier = [p["hidden_latent"][pairs.index((k, j))] for k in range(j)]
        weights = np.concatenate([from_h[:, j], np.reshape(earlier, (j, 3))])
        units = elu(np.concatenate([h, np.asarray(z)[:, :j]], 1) @ weights + p["hidden_bias"][j])
        m, s = (units @ p["out"][j] + p["out_bias"][j]).T
        sigma = 1 / (1 + np.exp(-1 - s))
        result[:, j] = sigma * np.asarray(z)[:, j] + (1 - sigma) * m
    np.testing.assert_allclose(apply(flow, variables, z, context)[0], result[:, ::-1], atol=1e-5)


def test_parameters_are_the_thesis_number():
    shapes = jax.eval_shape(MaskedAutoregressiveFlow(64).init, jax.random.key(0), jnp.zeros((1, 64)), jnp.zeros((1, 1568)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 504_000


def posterior_of(flow, *, batch, size, seed=1):
    variables, _, context = made(flow, batch=1, seed=seed, spread=1.5)
    mean, log_variance = jnp.linspace(-0.5, 0.8, size), jnp.linspace(-1.0, 0.2, size)
    context, mean, log_variance = (jnp.broadcast_to(a, (batch, a.shape[-1])) for a in (context, mean, log_variance))
    return FlowPosterior(mean=mean, log_variance=log_variance, context=context, variables=variables, flow=flow)


def test_kl_without_flows_is_the_closed_form():
    posterior = posterior_of(FlowChain(4, 0), batch=20000, size=4)
    _, estimates = jax.jit(FlowPosterior.sample_with_kl)(posterior, jax.random.split(jax.random.key(0), 20000))
    error = float(jnp.std(estimates)) / 20000**0.5
    assert abs(float(estimates.mean()) - float(posterior.kl()[0])) < 4 * error


def test_kl_with_flows_is_log_q_less_log_p_of_the_sample():
    """log q(z_K) by the change of variables, with the Jacobian of the flows by differentiation."""
    posterior, keys = posterior_of(FlowChain(3, 3, hidden=8), batch=20, size=3), jax.random.split(jax.random.key(0), 20)
    latent, estimates = jax.jit(FlowPosterior.sample_with_kl)(posterior, keys)
    deviation = jnp.exp(0.5 * posterior.log_variance)
    start = posterior.mean + deviation * jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)

    def flows(z, context):
        return posterior.flow.apply(posterior.variables, z[None], context[None])[0][0]

    jacobian = jax.jit(jax.vmap(jax.jacfwd(flows)))(start, posterior.context)
    log_q = norm.logpdf(start, posterior.mean, deviation).sum(1) - jnp.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(latent.values, jax.vmap(flows)(start, posterior.context), atol=1e-5)
    np.testing.assert_allclose(estimates, log_q - norm.logpdf(latent.values).sum(1), rtol=1e-3, atol=1e-3)


def test_mode_is_the_flow_of_the_mean_and_kl_has_no_formula():
    posterior = posterior_of(FlowChain(3, 2, hidden=4), batch=2, size=3)
    expected = posterior.flow.apply(posterior.variables, posterior.mean, posterior.context)[0]
    np.testing.assert_array_equal(posterior.mode().values, expected)
    with pytest.raises(ValueError, match="no KL in closed form"):
        posterior.kl()


def test_a_shut_gate_stays_finite():
    """A gate at sigmoid(-200), 0 in float32: the logarithm of that would be -inf and its gradient NaN."""
    flow = MaskedAutoregressiveFlow(3, hidden=4)
    variables, z, context = made(flow)
    shut = variables["params"]["out_bias"].at[:, 1].set(-200.0)
    variables = {"params": {**variables["params"], "out_bias": shut}}
    assert np.all(apply(flow, variables, z, context)[1] < -500.0)
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(flow.apply(v, z, context)[1])))(variables)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))
    assert not np.isfinite(jnp.log(jax.nn.sigmoid(jnp.float32(-200.0))))
