"""Tests of VariableLengthVAE: time bins, padding, and lengths from 8 ms to 40 s."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.models import make_model
from timbre_jax.models.variable_length_vae import bin_edges, from_bins, to_bins
from timbre_jax.training.state import create_state, make_optimizer
from timbre_jax.training.step import make_train_step
from timbre_jax.types import Features

SETTINGS = {
    "feature_shape": (5000, 32),
    "latent_size": 8,
    "flows": 2,
    "channels": [4, 6, 4, 4],
    "hidden": 32,
    "columns": 40,
    "dropout": 0.0,
}


def decays(lengths, frames, bands=32):
    """Returns features of sounds that fade over their length, each with another spectrum."""
    time = np.arange(frames)[None, :, None] / np.asarray(lengths)[:, None, None]
    color = np.exp(-((np.arange(bands) - np.linspace(4, bands - 4, len(lengths))[:, None]) ** 2) / 40.0)
    mask = (np.arange(frames) < np.asarray(lengths)[:, None]).astype(np.float32)
    return Features(values=np.float32(np.maximum(1 - time, 0) * color[:, None] * mask[..., None]), mask=mask)


def test_bins_start_one_frame_wide_and_reach_the_end():
    edges = bin_edges(128, 5000)
    widths = np.diff(edges)
    assert edges[0] == 0.0
    assert edges[-1] == pytest.approx(5000.0)
    assert 1.0 <= widths[0] < 1.05
    assert np.all(np.diff(widths) > 0)
    np.testing.assert_allclose(to_bins(5000, 128, 5000).sum(0), 1.0, atol=1e-4)
    np.testing.assert_allclose(from_bins(700, 128, 5000).sum(1), 1.0, atol=1e-6)
    np.testing.assert_allclose(np.diff(bin_edges(40, 20)), 0.5)


def test_slowly_varying_curve_is_restored_from_bins():
    slow = np.sin(2.0 * np.log(20.0 + np.arange(3000)))
    edges = bin_edges(128, 5000)
    means = to_bins(3000, 128, 5000) @ slow / np.maximum(to_bins(3000, 128, 5000).sum(1), 1e-9)
    again = from_bins(3000, 128, 5000) @ means
    inside = np.arange(3000) < edges[np.searchsorted(edges, 3000) - 2]
    assert np.abs(again - slow)[inside].max() < 0.02


def test_latents_do_not_depend_on_padding_and_decoding_keeps_the_length():
    """Embeds the same sounds padded to 300 and to 900 frames, and with noise in the padding."""
    model = make_model("variable_length_vae", **SETTINGS)
    lengths = [1, 7, 60, 290]
    short, long = decays(lengths, 300), decays(lengths, 900)
    noisy = long.replace(values=long.values + 5.0 * (1 - long.mask[..., None]))
    variables = jax.jit(model.init)(jax.random.key(0), short)
    points = [jax.jit(model.embed)(variables, features) for features in (short, long, noisy)]
    np.testing.assert_allclose(points[0].values, points[1].values, atol=1e-5)
    np.testing.assert_allclose(points[1].values, points[2].values, atol=1e-5)
    decode = jax.jit(lambda variables, point: model.apply(variables, point, method="decode"))
    for features, point in zip((short, long), points[:2], strict=True):
        decoded = decode(variables, point)
        assert decoded.values.shape == features.values.shape
        np.testing.assert_array_equal(decoded.mask, features.mask)
        assert np.all(np.asarray(decoded.values)[features.mask == 0] == 0.0)
    bare = decode(variables, points[0].replace(mask=None))
    assert bare.values.shape == (4, 5000, 32)


@pytest.mark.slow
def test_training_learns_sounds_of_8_ms_and_40_s_in_one_batch():
    """Trains on 1 to 5,000 frames (hop 8 ms); checks reconstructions and predicted lengths."""
    model, optimizer = make_model("variable_length_vae", **SETTINGS), make_optimizer(eps=1e-4)
    lengths = [1, 4, 16, 64, 250, 1000, 2500, 5000]
    features = decays(lengths, 5000)
    state = create_state(model, optimizer, jax.random.key(0), hyper={"learning_rate": 3e-3, "kl_weight": 1.0})
    step = jax.jit(make_train_step(model, optimizer, clip=1e4))
    batch = {"values": features.values, "mask": features.mask, "index": np.arange(8, dtype=np.int32)}
    for _ in range(400):
        state, _ = step(state, batch, jax.random.key(1))
    variables = state.variables()
    latent = model.embed(variables, features)
    predicted = np.exp(model.apply(variables, latent.values, method="log_length"))
    np.testing.assert_allclose(np.log(predicted), np.log(lengths), atol=0.5)
    again = model.apply(variables, latent, method="decode")
    error = jnp.sum(jnp.square(again.values - features.values) * features.mask[..., None], (1, 2))
    power = jnp.sum(jnp.square(features.values), (1, 2))
    assert np.all(np.asarray(error / power) < 0.5)
    assert abs(float(model.apply(variables, latent.replace(mask=None), method="decode").mask[5].sum()) - 1000) < 500
