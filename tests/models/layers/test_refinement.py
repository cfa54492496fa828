import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timbre_jax.models.layers.refinement import refine

D, K, B = 3, 10, 6


def cost(decode, z, targets, weight):
    """The objective [B], in float64."""
    error = np.asarray(decode(jnp.asarray(z)), np.float64) - targets
    return np.square(error).sum(1) + weight * np.square(np.asarray(z, np.float64)).sum(1)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_linear_decoder_is_solved_as_ridge_regression_solves_it(weight):
    """The closed form in float64: z = (A A^T + w I)^-1 A (x - b)."""
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(D, K)), generator.normal(size=K)
    targets = generator.normal(size=(B, K))
    expected = np.linalg.solve(a @ a.T + weight * np.eye(D), a @ (targets - b).T).T
    found = refine(
        lambda z: z @ jnp.asarray(a, jnp.float32) + jnp.asarray(b, jnp.float32),
        jnp.asarray(targets, jnp.float32),
        jnp.full((B, D), 5.0),
        steps=8,
        prior_weight=weight,
    )
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert found.dtype == jnp.float32


def bent(z):
    """A decoder with valleys, that explodes far out."""
    weights = jnp.asarray(np.random.default_rng(3).normal(size=(D, K)), jnp.float32)
    return jnp.sin(2.0 * z @ weights) + 0.1 * (z @ weights) ** 3


refined = jax.jit(lambda targets, start: refine(bent, targets, start, steps=4, prior_weight=0.01))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 3.0, 100.0]))
def test_never_worse_than_the_start_wherever_it_is(seed, distance):
    generator = np.random.default_rng(seed)
    start = jnp.asarray(distance * generator.normal(size=(B, D)), jnp.float32)
    targets = jnp.asarray(generator.normal(size=(B, K)), jnp.float32)
    found = refined(targets, start)
    assert np.isfinite(found).all()
    before, after = (cost(bent, z, np.asarray(targets), 0.01) for z in (start, found))
    assert (after <= before * (1 + 1e-5)).all()


def test_more_steps_are_better_and_arrive():
    generator = np.random.default_rng(1)
    true = 0.3 * generator.normal(size=(B, D))
    targets = bent(jnp.asarray(true, jnp.float32))
    start = jnp.asarray(true + 0.1 * generator.normal(size=(B, D)), jnp.float32)
    costs = [
        cost(bent, refine(bent, targets, start, steps=n, prior_weight=0.0), np.asarray(targets), 0.0).max()
        for n in (0, 1, 3, 8)
    ]
    assert (np.diff(costs) < 0).all()
    assert costs[-1] < 1e-8


def test_no_steps_is_the_start():
    start = jnp.ones((B, D))
    np.testing.assert_array_equal(refine(bent, jnp.zeros((B, K)), start, steps=0, prior_weight=1.0), start)


def test_every_sound_is_on_its_own():
    """Neither its neighbors nor their NaN change a result."""
    generator = np.random.default_rng(2)
    start = jnp.asarray(generator.normal(size=(B, D)), jnp.float32)
    targets = jnp.asarray(generator.normal(size=(B, K)), jnp.float32)
    together = refine(bent, targets, start, steps=3, prior_weight=0.1)
    spoilt = refine(bent, targets.at[0].set(jnp.nan), start, steps=3, prior_weight=0.1)
    np.testing.assert_allclose(spoilt[1:], together[1:], atol=1e-6)
    # A target that is not a number explains nothing: the encoder's guess stays.
    np.testing.assert_array_equal(spoilt[0], start[0])


def test_where_the_decoder_gives_nan_no_step_is_taken():
    def decode(z):
        return jnp.where(z[:, :1] < 0.5, jnp.nan, 1.0) * (z @ jnp.ones((D, K)))

    start = jnp.full((1, D), 0.6)
    found = refine(decode, jnp.zeros((1, K)), start, steps=4, prior_weight=0.0)
    assert np.isfinite(decode(found)).all()
    assert np.square(decode(found)).sum() <= np.square(decode(start)).sum()


def test_a_decoder_that_ignores_a_latent():
    """J^T J is singular; the latent that says nothing goes to the prior's mean, or stays without one."""
    a = jnp.zeros((D, K)).at[0].set(1.0).at[1, ::2].set(1.0)
    for weight, last in ((0.0, 2.0), (0.1, 0.0)):
        found = refine(lambda z: z @ a, jnp.ones((1, K)), jnp.full((1, D), 2.0), steps=12, prior_weight=weight)
        assert np.isfinite(found).all()
        assert found[0, 2] == pytest.approx(last, abs=1e-3)
