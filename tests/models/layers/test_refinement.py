import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timbre_jax.models.layers.refinement import refine

D, K, B = 3, 10, 6


def cost(decode, z, targets, weight):
    """Returns the objective [B] in float64."""
    error = np.asarray(decode(jnp.asarray(z)), np.float64) - targets
    return np.square(error).sum(1) + weight * np.square(np.asarray(z, np.float64)).sum(1)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_linear_decoder_is_solved_like_ridge_regression(weight):
    """Compares with z = (A A^T + w I)^-1 A (x - b) in float64."""
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(D, K)), generator.normal(size=K)
    targets = generator.normal(size=(B, K))
    expected = np.linalg.solve(a @ a.T + weight * np.eye(D), a @ (targets - b).T).T
    refined_z = refine(
        lambda z: z @ jnp.asarray(a, jnp.float32) + jnp.asarray(b, jnp.float32),
        jnp.asarray(targets, jnp.float32),
        jnp.full((B, D), 5.0),
        steps=8,
        prior_weight=weight,
    )
    np.testing.assert_allclose(refined_z, expected, atol=2e-5)
    assert refined_z.dtype == jnp.float32


def nonlinear(z):
    """Decodes z nonlinearly, with local minima and large values far from 0."""
    weights = jnp.asarray(np.random.default_rng(3).normal(size=(D, K)), jnp.float32)
    return jnp.sin(2.0 * z @ weights) + 0.1 * (z @ weights) ** 3


refined = jax.jit(lambda targets, start: refine(nonlinear, targets, start, steps=4, prior_weight=0.01))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 3.0, 100.0]))
def test_refinement_is_never_worse_than_the_start(seed, distance):
    generator = np.random.default_rng(seed)
    start = jnp.asarray(distance * generator.normal(size=(B, D)), jnp.float32)
    targets = jnp.asarray(generator.normal(size=(B, K)), jnp.float32)
    refined_z = refined(targets, start)
    assert np.isfinite(refined_z).all()
    before, after = (cost(nonlinear, z, np.asarray(targets), 0.01) for z in (start, refined_z))
    assert (after <= before * (1 + 1e-5)).all()


def test_more_steps_lower_the_objective_to_zero():
    generator = np.random.default_rng(1)
    true = 0.3 * generator.normal(size=(B, D))
    targets = nonlinear(jnp.asarray(true, jnp.float32))
    start = jnp.asarray(true + 0.1 * generator.normal(size=(B, D)), jnp.float32)
    costs = [
        cost(nonlinear, refine(nonlinear, targets, start, steps=n, prior_weight=0.0), np.asarray(targets), 0.0).max()
        for n in (0, 1, 3, 8)
    ]
    assert (np.diff(costs) < 0).all()
    assert costs[-1] < 1e-8


def test_no_steps_return_the_start():
    start = jnp.ones((B, D))
    np.testing.assert_array_equal(refine(nonlinear, jnp.zeros((B, K)), start, steps=0, prior_weight=1.0), start)


def test_refinement_of_a_sound_does_not_depend_on_its_batch():
    """Checks that neither neighbors nor their NaN change a result."""
    generator = np.random.default_rng(2)
    start = jnp.asarray(generator.normal(size=(B, D)), jnp.float32)
    targets = jnp.asarray(generator.normal(size=(B, K)), jnp.float32)
    together = refine(nonlinear, targets, start, steps=3, prior_weight=0.1)
    with_nan = refine(nonlinear, targets.at[0].set(jnp.nan), start, steps=3, prior_weight=0.1)
    np.testing.assert_allclose(with_nan[1:], together[1:], atol=1e-6)
    # With a target of NaN the start remains.
    np.testing.assert_array_equal(with_nan[0], start[0])


def test_steps_to_nan_are_rejected():
    def decode(z):
        return jnp.where(z[:, :1] < 0.5, jnp.nan, 1.0) * (z @ jnp.ones((D, K)))

    start = jnp.full((1, D), 0.6)
    refined_z = refine(decode, jnp.zeros((1, K)), start, steps=4, prior_weight=0.0)
    assert np.isfinite(decode(refined_z)).all()
    assert np.square(decode(refined_z)).sum() <= np.square(decode(start)).sum()


def test_ignored_latent_moves_to_the_prior_mean():
    """Uses a singular J^T J; without a prior the ignored latent keeps its value."""
    a = jnp.zeros((D, K)).at[0].set(1.0).at[1, ::2].set(1.0)
    for weight, last in ((0.0, 2.0), (0.1, 0.0)):
        refined_z = refine(lambda z: z @ a, jnp.ones((1, K)), jnp.full((1, D), 2.0), steps=12, prior_weight=weight)
        assert np.isfinite(refined_z).all()
        assert refined_z[0, 2] == pytest.approx(last, abs=1e-3)
