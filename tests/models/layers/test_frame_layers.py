"""Tests of convolutions over frames, whole and as a stream, and of masked normalization."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate

from timbre_jax.models.layers.frame_layers import FrameConv, FrameStack, MaskedBatchNorm


def values(batch, count, channels, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, count, channels)).astype(np.float32)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("kernel", "stride"), [(5, 1), (5, 2), (3, 2), (4, 3)])
def test_convolution_equals_that_of_scipy(kernel, stride, causal):
    x = values(2, 12, 3)
    layer = FrameConv(features=4, kernel=kernel, stride=stride, causal=causal)
    variables = layer.init(jax.random.key(0), x, jnp.ones((2, 12)))
    weights = np.asarray(variables["params"]["kernel"], np.float64)
    y, mask, _ = layer.apply(variables, x, jnp.ones((2, 12)))
    assert y.shape == (2, 12 // stride, 4)
    assert mask.shape == (2, 12 // stride)
    left = kernel - stride if causal else min((kernel - 1) // 2, kernel - stride)
    padded = np.pad(x.astype(np.float64), ((0, 0), (left, kernel), (0, 0)))
    for out in range(4):
        whole = sum(np.stack([correlate(row[:, c], weights[:, c, out], "valid") for row in padded]) for c in range(3))
        np.testing.assert_allclose(y[..., out], whole[:, :12:stride][:, : 12 // stride], atol=1e-5)
    if causal:
        later = x.copy()
        later[:, 6:] += 1.0
        np.testing.assert_array_equal(
            layer.apply(variables, later, jnp.ones((2, 12)))[0][:, : 6 // stride], y[:, : 6 // stride]
        )


def test_upsampled_frames_have_their_own_weights():
    x, layer = values(1, 5, 2), FrameConv(features=3, kernel=3, upsample=2)
    variables = layer.init(jax.random.key(0), x, jnp.ones((1, 5)))
    y, mask, _ = layer.apply(variables, x, jnp.asarray([[1.0, 1.0, 1.0, 1.0, 0.0]]))
    assert y.shape == (1, 10, 3)
    np.testing.assert_array_equal(mask, [[1, 1, 1, 1, 1, 1, 1, 1, 0, 0]])
    weights = np.asarray(variables["params"]["kernel"])  # [3, 2, 2 * 3]
    middle = np.einsum("tc,tck->k", x[0, 1:4], weights).reshape(2, 3)
    np.testing.assert_allclose(y[0, 4:6], middle, atol=1e-5)


def test_masked_frames_do_not_change_the_output():
    stack = FrameStack((6, 6, 4), strides=(1, 2, 1))
    x = values(1, 16, 3)
    mask = jnp.ones((1, 16)).at[0, 10:].set(0.0)
    variables = stack.init(jax.random.key(0), x, mask)
    variables = {**variables, "batch_stats": jax.tree.map(lambda leaf: leaf + 0.3, variables["batch_stats"])}
    padded, _, _ = stack.apply(variables, x, mask)
    alone, _, _ = stack.apply(variables, x[:, :10], mask[:, :10])
    np.testing.assert_allclose(padded[:, :5], alone, atol=1e-6)


STACK = FrameStack((5, 6, 4, 3), strides=(1, 2, 1, 1), upsamples=(1, 1, 2, 1), kernel=5, delay_multiple=2)
X, MASK = values(2, 24, 3), np.ones((2, 24), np.float32)
MASK[1, 17:] = 0.0
apply = jax.jit(lambda stack, variables, *inputs: stack.apply(variables, *inputs), static_argnums=0)


@pytest.fixture(scope="module")
def variables():
    variables = STACK.init(jax.random.key(0), X, MASK)
    moved = jax.tree.map(lambda leaf: leaf + jax.random.uniform(jax.random.key(1), leaf.shape), variables["batch_stats"])
    return {**variables, "batch_stats": moved}


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.sampled_from([2, 4, 10]), min_size=1, max_size=12), causal=st.booleans())
def test_blocks_of_any_size_equal_the_whole_series(variables, sizes, causal):
    stack = STACK.clone(causal=causal)
    whole, whole_mask, _ = apply(stack, variables, X, MASK)
    delay = stack.delay
    assert delay % 2 == 0
    assert (delay == 0) == causal
    # Frames outside the mask, of any value, flush the last outputs.
    x, mask = (np.concatenate([a, np.ones((2, 60, *a.shape[2:]), np.float32) * (a.ndim > 2)], 1) for a in (X, MASK))
    states, outputs, masks, place = stack.initial_states(2, 3), [], [], 0
    for size in itertools.cycle(sizes):
        y, m, states = apply(stack, variables, x[:, place : place + size], mask[:, place : place + size], states)
        outputs.append(y)
        masks.append(m)
        place += size
        if place >= 24 + delay:
            break
    y, m = np.concatenate(outputs, 1), np.concatenate(masks, 1)
    np.testing.assert_array_equal(m[:, :delay], 0.0)
    np.testing.assert_array_equal(m[:, delay : delay + 24], whole_mask)
    np.testing.assert_allclose(y[:, delay : delay + 24], whole, atol=1e-5)


def test_batch_statistics_are_those_of_unmasked_frames():
    x = values(3, 8, 2) * 3.0 + 100.0
    mask = np.ones((3, 8), np.float32)
    mask[0, 3:] = mask[2, 1:] = 0.0
    x[mask == 0] = 1e6
    norm = MaskedBatchNorm(momentum=0.9)
    variables = norm.init(jax.random.key(0), x, mask)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], 0.0)
    y, changed = norm.apply(variables, x, mask, train=True, mutable=["batch_stats"])
    real = x[mask > 0].astype(np.float64)
    np.testing.assert_allclose(np.asarray(y)[mask > 0], (real - real.mean(0)) / np.sqrt(real.var(0) + 1e-5), atol=2e-3)
    np.testing.assert_allclose(changed["batch_stats"]["mean"], 0.1 * real.mean(0), rtol=1e-5)
    np.testing.assert_allclose(changed["batch_stats"]["variance"], 0.9 + 0.1 * real.var(0), rtol=1e-3)
    # Evaluation uses the running averages and does not change them.
    stored = {**variables, "batch_stats": {"mean": jnp.asarray(real.mean(0)), "variance": jnp.asarray(real.var(0))}}
    again = norm.apply(stored, x, mask)
    np.testing.assert_allclose(np.asarray(again)[mask > 0], np.asarray(y)[mask > 0], atol=2e-3)
    # A batch without frames keeps the averages.
    _, same = norm.apply(stored, x, np.zeros((3, 8)), train=True, mutable=["batch_stats"])
    jax.tree.map(np.testing.assert_array_equal, dict(same["batch_stats"]), dict(stored["batch_stats"]))


def test_renormalization_has_values_of_evaluation_and_gradients_of_the_batch():
    """Compares with evaluation, and checks that shift and scale of the batch have no gradient."""
    x, weight = jnp.asarray(values(3, 8, 2)) * 3.0 + 1.0, jnp.asarray(values(3, 8, 2, seed=1))
    mask = jnp.ones((3, 8))
    norm = MaskedBatchNorm(affine=False)
    variables = {"batch_stats": {"mean": jnp.asarray([0.5, 2.0]), "variance": jnp.asarray([4.0, 0.25])}}

    def out(x, train=True):
        return norm.apply(variables, x, mask, train=train, renormalize=1.0, mutable=["batch_stats"])[0]

    np.testing.assert_allclose(out(x), out(x, train=False), rtol=1e-5, atol=1e-6)
    gradient = jax.grad(lambda x: jnp.sum(out(x) * weight))(x)
    np.testing.assert_allclose(jnp.sum(gradient, (0, 1)), 0.0, atol=1e-4)
    np.testing.assert_allclose(jnp.sum(gradient * x, (0, 1)), 0.0, atol=1e-3)
    # If the running averages equal those of the batch, it is batch normalization.
    own = {"batch_stats": {"mean": jnp.mean(x, (0, 1)), "variance": jnp.var(x, (0, 1))}}

    def slope(renormalize):
        def loss(x):
            return jnp.sum(norm.apply(own, x, mask, train=True, renormalize=renormalize, mutable=["batch_stats"])[0] * weight)

        return jax.grad(loss)(x)

    np.testing.assert_allclose(slope(1.0), slope(0.0), rtol=1e-4, atol=1e-5)


def test_split_batch_has_the_statistics_of_the_whole():
    """Splits a batch over a mapped axis into parts with different numbers of frames."""
    x = values(4, 6, 2)
    mask = np.ones((4, 6), np.float32)
    mask[0, 1:] = 0.0
    norm = MaskedBatchNorm()
    variables = norm.init(jax.random.key(0), x, mask)
    whole, changed = norm.apply(variables, x, mask, train=True, mutable=["batch_stats"])

    def part(x, mask):
        return norm.apply(variables, x, mask, train=True, axis_name="data", mutable=["batch_stats"])

    parts, stats = jax.vmap(part, axis_name="data")(x.reshape(2, 2, 6, 2), mask.reshape(2, 2, 6))
    np.testing.assert_allclose(parts.reshape(4, 6, 2), whole, atol=1e-5)
    for name in ("mean", "variance"):
        np.testing.assert_allclose(stats["batch_stats"][name][0], changed["batch_stats"][name], atol=1e-6)
