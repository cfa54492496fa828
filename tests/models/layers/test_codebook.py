import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.models.layers.codebook import Codebook, fit_codebook, moving_average, nearest, perplexity

K, D = 8, 3


def start(book, vectors, *, share=None):
    vectors_by_book = jnp.asarray(vectors, jnp.float32).reshape(book.num_codebooks, book.codes, book.size)
    share = jnp.full(vectors_by_book.shape[:2], 1.0 / book.codes) if share is None else jnp.asarray(share, jnp.float32)
    return {"codebook": {"vectors": vectors_by_book, "share": share, "restarts": jnp.zeros(book.num_codebooks)}}


def update(book, variables, z, weight=None, order=None, axis_name=None):
    weight = np.ones(len(z), np.float32) if weight is None else np.asarray(weight, np.float32)
    order = np.linspace(0.1, 0.9, len(z), dtype=np.float32) if order is None else order
    return _update(book, variables, z, weight, order, axis_name)


@functools.partial(jax.jit, static_argnames=("book", "axis_name"))
def _update(book, variables, z, weight, order, axis_name):
    statistics, state = book.apply(variables, z, weight, order, axis_name=axis_name, method="update", mutable=["codebook"])
    return statistics, {"codebook": dict(state["codebook"])}


def test_moving_averages_equal_those_of_numpy():
    generator = np.random.default_rng(0)
    book = Codebook(K, D, decay=0.9, restart_threshold=0.0)
    vectors = generator.normal(size=(K, D))
    variables = start(book, vectors)
    counts, sums = np.full(K, 1.0 / K), vectors / K
    for _ in range(5):
        z = generator.normal(size=(20, D)).astype(np.float32)
        weight = (generator.random(20) < 0.8).astype(np.float64)
        code = np.square(z[:, None].astype(np.float64) - (sums / counts[:, None])[None]).sum(-1).argmin(-1)
        hits, total = np.zeros(K), np.zeros((K, D))
        np.add.at(hits, code, weight)
        np.add.at(total, code, weight[:, None] * z)
        counts, sums = 0.9 * counts + 0.1 * hits / weight.sum(), 0.9 * sums + 0.1 * total / weight.sum()
        _, variables = update(book, variables, z, weight)
    np.testing.assert_allclose(variables["codebook"]["vectors"][0], sums / counts[:, None], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(variables["codebook"]["share"][0], counts, rtol=1e-5)


def test_unused_code_is_bitwise_unchanged():
    vectors = jnp.asarray(np.random.default_rng(1).normal(size=(K, D)), jnp.float32)
    hits = jnp.zeros(K).at[2].set(0.5)
    moved, share = moving_average(vectors, jnp.full(K, 1 / K), hits, hits[:, None] * 7.0, decay=0.99)
    rows = [k for k in range(K) if k != 2]
    np.testing.assert_array_equal(moved[jnp.asarray(rows)], vectors[jnp.asarray(rows)])
    assert float(share[0]) == pytest.approx(0.99 / K)


def test_dead_code_restarts_at_an_encoding():
    book = Codebook(K, D, restart_threshold=0.02)
    vectors = np.random.default_rng(2).normal(size=(K, D))
    vectors[5] = 1e3
    share = np.full((1, K), 1.0 / K)
    share[0, 5] = 1e-6
    z = np.random.default_rng(3).normal(size=(30, D)).astype(np.float32)
    order = np.where(np.arange(30) == 11, 0.9, 0.0).astype(np.float32)
    statistics, after = update(book, start(book, vectors, share=share), z, order=order)
    assert float(statistics["restarts"]) == 1.0
    np.testing.assert_allclose(after["codebook"]["vectors"][0, 5], z[11], atol=1e-6)
    assert float(after["codebook"]["share"][0, 5]) == pytest.approx(1.0 / K)
    assert float(after["codebook"]["restarts"][0]) == 1.0
    assert int(nearest(jnp.asarray(z[11]), after["codebook"]["vectors"][0])) == 5
    # No code restarts at a silent encoding.
    statistics, after = update(book, start(book, vectors, share=share), z, weight=np.zeros(30), order=order)
    assert float(statistics["restarts"]) == 0.0


def test_update_depends_neither_on_order_nor_on_devices():
    generator = np.random.default_rng(4)
    book = Codebook(K, D, num_codebooks=2, restart_threshold=0.5)
    variables = start(book, generator.normal(size=(2, K, D)), share=generator.random((2, K)) / K)
    z, order = generator.normal(size=(24, D)).astype(np.float32), jnp.asarray(generator.random(24), jnp.float32)
    _, whole = update(book, variables, z, order=order)
    assert float(whole["codebook"]["restarts"].sum()) > 0
    turned = generator.permutation(24)
    _, other = update(book, variables, z[turned], order=order[turned])
    # As under pmap, two halves share statistics through the axis name.
    halves = jax.vmap(
        lambda z, order: update(book, variables, z, order=order, axis_name="data")[1], axis_name="data", axis_size=2
    )(jnp.asarray(z).reshape(2, 12, D), order.reshape(2, 12))
    for name in ("vectors", "share", "restarts"):
        np.testing.assert_allclose(other["codebook"][name], whole["codebook"][name], atol=1e-6)
        for half in range(2):
            np.testing.assert_allclose(halves["codebook"][name][half], whole["codebook"][name], atol=1e-6)


def test_gradients_are_straight_through_and_commitment_pulls_encodings():
    book = Codebook(K, D, num_codebooks=2)
    variables = start(book, np.random.default_rng(5).normal(size=(2, K, D)))
    z = jnp.asarray(np.random.default_rng(6).normal(size=(4, D)), jnp.float32)
    quantized = book.apply(variables, z)
    assert quantized.codes.shape == (4, 2)
    np.testing.assert_array_equal(quantized.values, book.apply(variables, quantized.codes, method="values"))
    weight = jnp.asarray(np.random.default_rng(7).normal(size=(4, D)), jnp.float32)
    gradient = jax.grad(lambda z: jnp.sum(book.apply(variables, z).values * weight))(z)
    np.testing.assert_allclose(gradient, weight, atol=1e-6)
    first = variables["codebook"]["vectors"][0][quantized.codes[:, 0]]
    both = quantized.values
    expected = 2.0 / D * ((z - first) + (z - both))
    np.testing.assert_allclose(jax.grad(lambda z: jnp.sum(book.apply(variables, z).commitment))(z), expected, atol=1e-5)


def test_perplexity_has_known_values():
    assert float(perplexity(jnp.ones(1024))) == pytest.approx(1024.0, rel=1e-4)
    assert float(perplexity(jnp.zeros(8).at[3].set(5.0))) == pytest.approx(1.0)
    assert float(perplexity(jnp.asarray([3.0, 1.0]))) == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))
    assert float(perplexity(jnp.zeros(8))) == 0.0


def test_fitted_codebook_contains_cluster_centers():
    generator = np.random.default_rng(8)
    centers = 10.0 * generator.normal(size=(4, D))
    encodings = np.repeat(centers, 50, 0) + 0.01 * generator.normal(size=(200, D))
    vectors = fit_codebook(encodings, codes=16, num_codebooks=2)
    quantized = vectors[0][np.asarray(nearest(jnp.asarray(centers, jnp.float32), vectors[0]))]
    np.testing.assert_allclose(quantized, centers, atol=0.1)
    assert fit_codebook(encodings[:3], codes=16).shape == (1, 16, D)  # fewer encodings than codes
    with pytest.raises(ValueError, match="only silence"):
        fit_codebook(encodings[:0], codes=16)
