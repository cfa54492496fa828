"""Tests of resizing and convolution against `jax.image.resize` and XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.models.ops.resize import interpolation, resized_conv


@pytest.mark.parametrize(("old", "new"), [((7, 15), (15, 30)), ((3, 6), (7, 12)), ((4, 5), (8, 9)), ((1, 2), (3, 4))])
def test_resized_conv_equals_resize_and_convolution(old, new):
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(6, *old, 4)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(3, 3, 4, 2)), jnp.float32)

    def plain(x, kernel):
        x = jax.image.resize(x, (6, *new, 4), "bilinear")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    value, back = jax.vjp(jax.jit(lambda x, k: resized_conv(x, k, new)), x, kernel)
    expected, plain_back = jax.vjp(jax.jit(plain), x, kernel)
    np.testing.assert_allclose(value, expected, atol=3e-5)
    gradient = jnp.sin(jnp.arange(value.size, dtype=jnp.float32)).reshape(value.shape)
    for ours, theirs in zip(back(gradient), plain_back(gradient), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_interpolation_matrices_have_known_values():
    np.testing.assert_allclose(interpolation(2, 4) @ [0.0, 1.0], [0.0, 0.25, 0.75, 1.0])
    np.testing.assert_allclose(interpolation(2, 4, "corner") @ [0.0, 1.0], [0.0, 0.5, 1.0, 1.0])
    for kind in ("half_pixel", "corner"):
        np.testing.assert_allclose(interpolation(31, 63, kind).sum(1), 1.0, atol=1e-6)
    with pytest.raises(ValueError, match="resizing 'nearest': unknown name"):
        interpolation(2, 4, "nearest")
