"""The reversal of gradients: x forwards, minus lambda backwards."""

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.models.adversary.gradient_reversal import reversal_strength, reverse_gradient


def test_values_pass_and_gradients_turn_round():
    x = jnp.asarray([1.0, -2.0, 3.0])
    np.testing.assert_array_equal(reverse_gradient(x, 0.3), x)

    def cost(weight, x, scale):
        return jnp.sum(jnp.square(weight * reverse_gradient(x, scale)))

    for scale in (0.0, 0.3, 2.0):
        weight, gradient = jax.grad(cost, argnums=(0, 1))(0.5, x, scale)
        # What reads it learns as ever (2 w sum x^2), what made it the opposite (2 w^2 x).
        assert float(weight) == np.float32(14.0)
        np.testing.assert_allclose(gradient, -scale * 2 * 0.25 * x, rtol=1e-6)


def test_a_traced_strength_has_no_gradient_and_compiles_once():
    step = jax.jit(jax.grad(lambda x, p: jnp.sum(reverse_gradient(x, reversal_strength(p, 0.1)) * 3.0)))
    for progress in (0.0, 0.05, 1.0):
        np.testing.assert_allclose(step(jnp.ones(2), progress), -3.0 * (1 - np.exp(-progress / 0.1)), rtol=1e-5)
    assert step._cache_size() == 1
    assert float(jax.grad(lambda s: jnp.sum(reverse_gradient(jnp.ones(2), s)))(0.7)) == 0.0
