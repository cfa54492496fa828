from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.models.ops.convolution import Conv3x3, downsample_conv, narrow_conv, upsample_conv


def transposed(x, kernel):
    return jax.lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def strided(stride, x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize(
    ("ours", "theirs", "shape"),
    [
        (upsample_conv, transposed, (2, 2, 9, 3)),
        (upsample_conv, transposed, (1, 1, 1, 2)),
        (downsample_conv, partial(strided, 2), (2, 4, 10, 3)),
        (downsample_conv, partial(strided, 2), (1, 2, 2, 1)),
        (narrow_conv, partial(strided, 1), (2, 4, 7, 3)),
        (narrow_conv, partial(strided, 1), (1, 1, 1, 2)),
    ],
)
def test_output_and_gradients_are_those_of_lax(ours, theirs, shape):
    keys = jax.random.split(jax.random.key(0), 3)
    x, kernel = jax.random.normal(keys[0], shape), jax.random.normal(keys[1], (3, 3, shape[-1], 4))
    cotangent = jax.random.normal(keys[2], jax.eval_shape(theirs, x, kernel).shape)

    @partial(jax.jit, static_argnums=0)
    def output_and_gradients(function, x, kernel):
        output, pull = jax.vjp(function, x, kernel)
        return output, *pull(cotangent)

    for found, expected in zip(*(output_and_gradients(f, x, kernel) for f in (ours, theirs)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        ("up", nn.ConvTranspose(6, (3, 3), (2, 2))),
        ("down", nn.Conv(6, (3, 3), (2, 2))),
        ("same", nn.Conv(6, (3, 3))),
    ],
)
def test_layer_takes_the_parameters_of_linens(kind, theirs):
    x = jax.random.normal(jax.random.key(1), (2, 4, 6, 4))
    variables = jax.tree.map(lambda p: p + 0.1, theirs.init(jax.random.key(2), x))
    ours = Conv3x3(6, kind)
    assert jax.tree.map(jnp.shape, ours.init(jax.random.key(3), x)) == jax.tree.map(jnp.shape, variables)
    np.testing.assert_allclose(ours.apply(variables, x), theirs.apply(variables, x), atol=1e-5)


def test_a_picture_that_does_not_halve_is_named():
    with pytest.raises(ValueError, match="3 x 4"):
        downsample_conv(jnp.zeros((1, 3, 4, 1)), jnp.zeros((3, 3, 1, 1)))
