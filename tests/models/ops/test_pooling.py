"""Tests of convolution and max pooling against XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.models.ops.pooling import pooled_conv


def plain_pool(x, window):
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, *window, 1), (1, 2, 2, 1), "VALID")


def both(function, plain, *arguments):
    """Returns values and gradients of both functions, for a gradient that differs everywhere."""
    result = []
    for f in (function, plain):
        value, back = jax.vjp(jax.jit(f), *arguments)
        result.append((value, *back(jnp.cos(jnp.arange(value.size, dtype=jnp.float32)).reshape(value.shape))))
    return result


def plain(x, kernel, window):
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return plain_pool(y, window)


@pytest.mark.parametrize("window", [(2, 2), (4, 4), (2, 4), (4, 2)])
@pytest.mark.parametrize(
    ("size", "channels"), [((8, 9), 3), ((7, 12), 4), ((4, 5), 2), ((8, 12), 1), ((9, 7), 1), ((6, 11), 1)]
)
def test_pooled_conv_equals_convolution_and_reduce_window(window, size, channels):
    random = np.random.default_rng(1)
    x = jnp.asarray(random.normal(size=(6, *size, channels)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(3, 3, channels, 5)), jnp.float32)
    sides = both(lambda x, k: pooled_conv(x, k, window), lambda x, k: plain(x, k, window), x, kernel)
    for ours, expected in zip(*sides, strict=True):
        np.testing.assert_allclose(ours, expected, atol=2e-5 * channels)


def test_pooled_conv_is_as_exact_as_plain_sums():
    """Checks that the error of transformed tiles is at most twice that of plain sums."""
    random = np.random.default_rng(2)
    x, kernel = random.normal(size=(4, 20, 24, 32)), random.normal(size=(3, 3, 32, 16))
    with jax.enable_x64(True):
        exact = np.asarray(plain(jnp.asarray(x), jnp.asarray(kernel), (2, 2)))
    small = jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)
    errors = [np.linalg.norm(f(*small, (2, 2)) - exact) / np.linalg.norm(exact) for f in (pooled_conv, plain)]
    assert errors[0] < max(2 * errors[1], 5e-7)


@pytest.mark.slow
def test_one_of_several_equal_values_receives_the_gradient():
    """Checks that the gradient of a constant image is not counted several times."""
    kernel = jnp.zeros((3, 3, 3, 3)).at[1, 1].set(jnp.eye(3))
    for channels in (1, 3):
        x, k = jnp.zeros((2, 10, 8, channels)), kernel[:, :, :channels]
        gradient = jax.grad(lambda x, k=k: jnp.sum(pooled_conv(x, k, (4, 4))))(x)
        assert float(gradient.sum()) == pytest.approx(2 * 4 * 3 * channels, abs=1e-4)


def test_impossible_pooling_windows_are_refused():
    with pytest.raises(ValueError, match="sides must be 2 or 4"):
        pooled_conv(jnp.zeros((1, 8, 8, 1)), jnp.zeros((3, 3, 1, 2)), (3, 3))
    with pytest.raises(ValueError, match="smaller than the pooling window"):
        pooled_conv(jnp.zeros((1, 3, 8, 1)), jnp.zeros((3, 3, 1, 2)), (4, 4))
