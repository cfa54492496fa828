"""Tests of the counted arithmetic, with known answers."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks.arithmetic import count_flops, measure_peak


def zeros(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_matrix_products_are_counted():
    assert count_flops(jnp.matmul, zeros(3, 5), zeros(5, 7)) == 2 * 3 * 5 * 7
    assert count_flops(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), zeros(4, 3, 5), zeros(4, 5, 7)) == 4 * 2 * 3 * 5 * 7
    assert count_flops(lambda a: jnp.tanh(a) * 2 + a.sum(), zeros(9)) == 0


def test_gradient_costs_two_more_products():
    def loss(w, x):
        return jnp.sum(jnp.tanh(x @ w) ** 2)

    forward = count_flops(loss, zeros(5, 7), zeros(3, 5))
    assert count_flops(jax.jit(jax.grad(loss, (0, 1))), zeros(5, 7), zeros(3, 5)) == 3 * forward


@pytest.mark.parametrize(
    ("options", "kernel"),
    [
        ({"padding": "SAME"}, (3, 3)),
        ({"padding": "VALID", "window_strides": (2, 1)}, (3, 2)),
        ({"padding": ((1, 2), (0, 4)), "rhs_dilation": (2, 3)}, (3, 2)),
        ({"padding": ((2, 2), (2, 1)), "lhs_dilation": (2, 3)}, (3, 3)),
        ({"padding": "SAME", "feature_group_count": 2}, (3, 3)),
        ({"padding": "SAME", "batch_group_count": 2}, (3, 3)),
    ],
)
def test_convolutions_count_products_without_padding(options, kernel):
    # For inputs and kernels of ones, the sum of the outputs is the number of products without padded zeros.
    channels = 4 // options.get("feature_group_count", 1)
    image, filters = jnp.ones((2, 4, 9, 10)), jnp.ones((6, channels, *kernel))
    strides = options.pop("window_strides", (1, 1))

    def convolve(image, filters):
        return jax.lax.conv_general_dilated(image, filters, strides, **options)

    assert count_flops(convolve, image, filters) == 2 * int(convolve(image, filters).sum())


def test_scan_counts_every_iteration_and_cond_its_largest_branch():
    def many(w, xs):
        return jax.lax.scan(lambda carry, x: (jnp.tanh(carry @ w + x), None), jnp.zeros((3, 5)), xs)[0]

    assert count_flops(many, zeros(5, 5), zeros(11, 3, 5)) == 11 * 2 * 3 * 5 * 5

    def one_of(a):
        return jax.lax.cond(a.sum() > 0, lambda a: a @ a @ a, lambda a: a @ a, a)

    assert count_flops(one_of, zeros(4, 4)) == 2 * 2 * 4**3


def test_fourier_transforms_are_counted():
    assert count_flops(jnp.fft.rfft, zeros(8, 64)) == 2.5 * 8 * 64 * 6
    assert count_flops(jnp.fft.irfft, jax.ShapeDtypeStruct((8, 33), jnp.complex64)) == 2.5 * 8 * 64 * 6
    assert count_flops(jnp.fft.fft, jax.ShapeDtypeStruct((8, 64), jnp.complex64)) == 5 * 8 * 64 * 6


def test_custom_gradients_are_counted():
    @jax.custom_vjp
    def product(a):
        return a @ a

    product.defvjp(lambda a: (a @ a, a), lambda a, g: (g @ a.T + a.T @ g,))
    assert count_flops(product, zeros(4, 4)) == 2 * 4**3
    assert count_flops(jax.grad(lambda a: product(a).sum()), zeros(4, 4)) == 3 * 2 * 4**3


def test_peak_exceeds_the_rate_of_a_slow_product():
    # With a margin of 2 for the noise of the clock.
    peak = measure_peak(size=256, rounds=5)
    a = np.ones((256, 256), np.float32)
    start = time.perf_counter()
    for _ in range(3):
        np.einsum("ij,jk->ik", a, a, optimize=False)
    assert 2 * 3 * 256**3 / (time.perf_counter() - start) < 2 * peak
    assert peak > 1e8
