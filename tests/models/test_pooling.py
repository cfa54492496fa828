"""Max pooling and the pooled first convolution against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.models.pooling import max_pool, pooled_first_conv


def plain_pool(x, window):
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, *window, 1), (1, 2, 2, 1), "VALID")


def both(function, plain, *arguments):
    """Values and gradients of both, for a gradient that differs everywhere."""
    result = []
    for f in (function, plain):
        value, back = jax.vjp(jax.jit(f), *arguments)
        result.append((value, *back(jnp.cos(jnp.arange(value.size, dtype=jnp.float32)).reshape(value.shape))))
    return result


@pytest.mark.parametrize("window", [(2, 2), (4, 4), (2, 4), (4, 2)])
@pytest.mark.parametrize("size", [(8, 9), (7, 12)])
def test_max_pool_is_reduce_window(window, size):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, *size, 5)), jnp.float32)
    ours, plain = both(lambda x: max_pool(x, window), lambda x: plain_pool(x, window), x)
    np.testing.assert_array_equal(ours[0], plain[0])
    np.testing.assert_allclose(ours[1], plain[1], atol=1e-6)


def test_of_equal_values_one_gets_the_gradient():
    """Silence is one value everywhere: the gradient must not be counted several times."""
    gradient = jax.grad(lambda x: jnp.sum(max_pool(x, (4, 4))))(jnp.zeros((2, 10, 8, 3)))
    assert float(gradient.sum()) == 2 * 4 * 3 * 3
    assert set(np.unique(gradient)) <= {0.0, 1.0, 2.0, 3.0, 4.0}


@pytest.mark.parametrize(("window", "size"), [((4, 4), (8, 12)), ((2, 2), (9, 7)), ((2, 4), (6, 11))])
def test_pooled_first_conv(window, size):
    random = np.random.default_rng(1)
    x = jnp.asarray(random.normal(size=(6, *size, 1)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(3, 3, 1, 5)), jnp.float32)

    def plain(x, kernel):
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return plain_pool(y, window)

    for ours, wanted in zip(*both(lambda x, k: pooled_first_conv(x, k, window), plain, x, kernel), strict=True):
        np.testing.assert_allclose(ours, wanted, atol=2e-5)


def test_windows_that_cannot_be():
    with pytest.raises(ValueError, match="sides of 2 or 4"):
        max_pool(jnp.zeros((1, 8, 8, 1)), (3, 3))
    with pytest.raises(ValueError, match="does not fit"):
        pooled_first_conv(jnp.zeros((1, 3, 8, 1)), jnp.zeros((3, 3, 1, 2)), (4, 4))
