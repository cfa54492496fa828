"""Test of ELU against `jax.nn.elu` and float64."""

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.models.ops.activation import elu


def test_elu_and_its_gradient_equal_those_of_jax():
    x = np.concatenate([np.linspace(-30, 30, 601), [-1e-8, -1e-4, 0.0, -500.0, 500.0]])
    value, back = jax.vjp(jax.jit(elu), jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(value, jax.nn.elu(jnp.asarray(x, jnp.float32)), atol=1.3e-7)
    np.testing.assert_allclose(back(jnp.full(x.shape, 2.0))[0], 2.0 * np.exp(np.minimum(x, 0)), atol=4e-7)
    with jax.enable_x64(True):
        np.testing.assert_allclose(elu(jnp.asarray(x)), np.where(x > 0, x, np.expm1(np.minimum(x, 0))), atol=1e-15)
