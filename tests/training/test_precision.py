"""Mixed precision: rounded and exact computations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.runs import SHAPE, examples
from timbre_jax.models import make_model
from timbre_jax.training.config import resolve
from timbre_jax.training.precision import cast, with_bfloat16_products
from timbre_jax.training.state import create_state, make_optimizer
from timbre_jax.training.step import make_train_step

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(8, 16)).astype(np.float32)
W = GENERATOR.normal(size=(16, 4)).astype(np.float32)


def rounded(x):
    """Returns float32 values rounded to 8 bits of mantissa, to nearest even."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_products_round_inputs_and_sum_in_float32():
    out = jax.jit(with_bfloat16_products(lambda x, w: jnp.exp(0.1 * (x @ w))))(X, W)
    assert out.dtype == jnp.float32
    close(out, np.exp(0.1 * (rounded(X) @ rounded(W))))
    assert np.abs(out - np.exp(0.1 * (X @ W))).max() > 1e-3
    # In bfloat16 a sum of 4096 ones would stay at 256.
    ones = np.full((1, 4096), 1.0, np.float32)
    assert float(jax.jit(with_bfloat16_products(jnp.dot))(ones, ones.T)[0, 0]) == 4096.0


def test_backward_pass_rounds_inputs():
    gradient = jax.jit(with_bfloat16_products(jax.grad(lambda w, x: jnp.sum(jnp.sin(x @ w)))))(W, X)
    assert gradient.dtype == jnp.float32
    close(gradient, rounded(X).T @ rounded(np.cos(rounded(X) @ rounded(W))))


def test_products_of_highest_precision_are_not_rounded():
    function = with_bfloat16_products(lambda x, w: jnp.matmul(x, w, precision="highest"))
    close(jax.jit(function)(X, W), X @ W)
    whole = with_bfloat16_products(lambda x: jnp.cumsum(x * np.float32(1.001)) + jnp.sum(jnp.square(x)))
    close(jax.jit(whole)(X), np.cumsum(X * np.float32(1.001)) + np.sum(np.square(X)))


@jax.custom_vjp
def summed_conv(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _summed_conv_backward(saved, gradient):
    """Computes the gradient of the kernel with one product for each picture."""
    x, kernel = saved
    height, width = gradient.shape[1:3]

    def add(total, part):
        x, g = part
        taps = [x[r : r + height, c : c + width] for r in range(3) for c in range(3)]
        patches = jnp.stack(taps, 2).reshape(height * width, -1)
        return total + patches.T @ g.reshape(height * width, -1), None

    total, _ = jax.lax.scan(add, jnp.zeros((kernel[..., 0].size, kernel.shape[-1])), (x, gradient))
    return jnp.zeros_like(x), total.reshape(kernel.shape)


summed_conv.defvjp(lambda x, kernel: (summed_conv(x, kernel), (x, kernel)), _summed_conv_backward)


def test_products_within_loops_conditions_and_custom_gradients_are_rounded():
    def looped(x, w):
        def step(total, row):
            return total + jax.jit(jnp.dot)(row, w), jax.lax.cond(row[0] > 0, lambda r: r @ w, lambda r: -(r @ w), row)

        return jax.lax.scan(step, jnp.zeros(4), x)

    total, rows = jax.jit(with_bfloat16_products(looped))(X, W)
    product = rounded(X) @ rounded(W)
    close(total, product.sum(0))
    close(rows, np.where(X[:, :1] > 0, product, -product))

    picture, kernel = GENERATOR.normal(size=(8, 6, 6, 3)), GENERATOR.normal(size=(3, 3, 3, 5))
    picture, kernel = picture.astype(np.float32), kernel.astype(np.float32)

    def of_kernel(kernel, x):
        return jnp.sum(jax.checkpoint(summed_conv)(x, kernel) * 1.5)

    gradient = jax.jit(with_bfloat16_products(jax.grad(of_kernel)))(kernel, picture)
    close(gradient, jax.grad(of_kernel)(kernel, rounded(picture)))  # 1.5 needs no rounding
    assert np.abs(gradient - jax.grad(of_kernel)(kernel, picture)).max() > 1e-3


def test_cast_keeps_keys_and_integers():
    tree = {"key": jax.random.key(3), "step": jnp.int32(4), "w": jnp.float32(0.1)}
    changed = cast(tree, jnp.bfloat16)
    assert changed["w"].dtype == jnp.bfloat16
    assert changed["step"].dtype == jnp.int32
    assert changed["key"] == tree["key"]


@pytest.fixture(scope="module")
def setting():
    model = make_model("conv_vae", feature_shape=SHAPE, latent_size=3, channels=(4,))
    optimizer = make_optimizer("adam")
    hyper = {"learning_rate": 3e-3, "kl_weight": 0.1}
    state = jax.jit(lambda key: create_state(model, optimizer, key, hyper=hyper))(jax.random.key(0))
    return model, optimizer, state, examples(64).batch(range(64))


def test_bfloat16_training_is_close_to_float32(setting):
    model, optimizer, state, batch = setting
    runs = {}
    for precision in ("float32", "bfloat16"):
        step, losses, now = jax.jit(make_train_step(model, optimizer, precision=precision)), [], state
        for _ in range(60):
            now, metrics = step(now, batch, jax.random.key(7))
            losses.append(float(metrics["loss"]))
        assert {x.dtype for x in jax.tree.leaves((now, metrics))} == {jnp.dtype("float32"), jnp.dtype("int32")}
        runs[precision] = np.array(losses)
    # The noise is equal at every step, so the losses differ only by rounding.
    assert 1e-6 < np.abs(runs["bfloat16"][0] / runs["float32"][0] - 1) < 3e-3
    np.testing.assert_allclose(runs["bfloat16"], runs["float32"], rtol=2e-2)
    assert runs["bfloat16"][-1] < 0.97 * runs["bfloat16"][0]


def test_invalid_precisions_are_refused():
    with pytest.raises(ValueError, match="precision='float16': must be one of float32, bfloat16, float64"):
        resolve({"train": {"precision": "float16"}})
    with pytest.raises(ValueError, match="set JAX_ENABLE_X64=1"):
        resolve({"train": {"precision": "float64"}})
