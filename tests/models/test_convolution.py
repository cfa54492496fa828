from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.models.convolution import UpsampleConv, upsample_conv


def transposed(x, kernel):
    return jax.lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize("shape", [(2, 2, 9, 3), (1, 1, 1, 2)])
def test_upsample_conv_and_its_gradients_are_those_of_the_transposed_convolution(shape):
    keys = jax.random.split(jax.random.key(0), 3)
    x, kernel = jax.random.normal(keys[0], shape), jax.random.normal(keys[1], (3, 3, shape[-1], 4))
    cotangent = jax.random.normal(keys[2], (shape[0], 2 * shape[1], 2 * shape[2], 4))

    @partial(jax.jit, static_argnums=0)
    def output_and_gradients(function, x, kernel):
        output, pull = jax.vjp(function, x, kernel)
        return output, *pull(cotangent)

    ours, theirs = (output_and_gradients(function, x, kernel) for function in (upsample_conv, transposed))
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_layer_takes_the_parameters_of_linens_conv_transpose():
    x = jax.random.normal(jax.random.key(1), (2, 3, 5, 4))
    theirs = nn.ConvTranspose(6, (3, 3), (2, 2))
    variables = theirs.init(jax.random.key(2), x)
    variables = jax.tree.map(lambda p: p + 0.1, variables)
    ours = UpsampleConv(6)
    assert jax.tree.map(jnp.shape, ours.init(jax.random.key(3), x)) == jax.tree.map(jnp.shape, variables)
    np.testing.assert_allclose(ours.apply(variables, x), theirs.apply(variables, x), atol=1e-5)
