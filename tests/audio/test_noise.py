"""Tests of the spectrum, power, chunks and gradients of filtered noise."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from timbre_jax.audio.noise import filtered_noise, filtered_noise_power, noise_hops, with_context
from timbre_jax.audio.stft import istft, istft_inner

HOP, BINS = 64, 129
KEY = jax.random.key(3)


def spectra(frames, *, seed=0, batch=1):
    return jnp.asarray(np.random.default_rng(seed).random((batch, frames, BINS)), jnp.float32)


def test_flat_filter_returns_the_noise():
    wave = np.asarray(filtered_noise(jnp.ones((1, 400, BINS)), KEY, hop=HOP))[0]
    drawn = np.asarray(noise_hops(KEY[None], 0, count=400, hop=HOP)).reshape(-1)
    np.testing.assert_allclose(wave, drawn, atol=2e-6)
    assert np.abs(drawn).max() <= 1.0
    assert np.mean(drawn**2) == pytest.approx(1.0 / 3.0, rel=0.02)
    _, density = signal.welch(drawn, fs=1.0, nperseg=64)
    np.testing.assert_allclose(density[1:-1], 2.0 / 3.0, rtol=0.25)  # one-sided, of variance 1/3


def test_spectrum_of_the_noise_is_that_of_the_filter():
    # A smooth slope of 24 dB over the band, which windows do not smear.
    slope = 10.0 ** (-1.2 * np.arange(BINS) / BINS)
    wave = np.asarray(filtered_noise(jnp.broadcast_to(jnp.asarray(slope, jnp.float32), (1, 2000, BINS)), KEY, hop=HOP))[0]
    frequencies, density = signal.welch(wave, fs=1.0, nperseg=256)
    expected = 2.0 / 3.0 * np.interp(frequencies, np.arange(BINS) / 256.0, slope) ** 2
    np.testing.assert_allclose(10 * np.log10(density[2:-2] / expected[2:-2]), 0.0, atol=1.5)


@pytest.mark.parametrize("kind", ["smooth", "lines"])
def test_filtered_noise_power_equals_measured_power(kind):
    shape = np.linspace(1.0, 0.1, BINS) if kind == "smooth" else np.zeros(BINS)
    if kind == "lines":
        shape[[20, 47, 48]] = 8.0, 3.0, 5.0
    shape = jnp.asarray(shape, jnp.float32)
    wave = filtered_noise(jnp.broadcast_to(shape, (1, 6000, BINS)), KEY, hop=HOP)
    assert float(jnp.mean(wave**2)) == pytest.approx(float(filtered_noise_power(shape, hop=HOP)), rel=0.06)


def test_chunks_equal_the_whole():
    magnitudes = spectra(30, batch=2)
    whole = filtered_noise(magnitudes, KEY, hop=HOP)
    padded = with_context(magnitudes, 4)
    for edges in ((0, 10, 20, 30), (0, 1, 2, 12, 22, 30)):
        parts = [
            filtered_noise(padded[:, a : b + 3], KEY, hop=HOP, first=a, context=True) for a, b in itertools.pairwise(edges)
        ]
        np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-6)


def test_noise_depends_on_the_key_not_on_the_batch():
    magnitudes = spectra(6, batch=3)
    keys = jax.random.split(KEY, 3)
    together = filtered_noise(magnitudes, keys, hop=HOP)
    alone = filtered_noise(magnitudes[1:2], keys[1], hop=HOP)
    np.testing.assert_allclose(together[1:2], alone, atol=1e-6)
    assert float(jnp.abs(together[1] - together[0]).max()) > 0.1


def test_gradient_equals_finite_differences():
    magnitudes = spectra(4)
    weight = jnp.asarray(np.random.default_rng(1).normal(size=4 * HOP), jnp.float32)

    def value(h):
        return jnp.sum(filtered_noise(h, KEY, hop=HOP)[0] * weight) + jnp.sum(filtered_noise_power(h, hop=HOP))

    value = jax.jit(value)
    gradient = jax.jit(jax.grad(value))(magnitudes)
    direction = jnp.asarray(np.random.default_rng(2).normal(size=magnitudes.shape), jnp.float32)
    step = 1e-2
    slope = (value(magnitudes + step * direction) - value(magnitudes - step * direction)) / (2 * step)
    assert float(slope) == pytest.approx(float(jnp.sum(gradient * direction)), rel=2e-3)


def test_zero_filters_are_silent_and_wrong_shapes_are_rejected():
    assert float(jnp.abs(filtered_noise(jnp.zeros((1, 1, BINS)), KEY, hop=HOP)).max()) == 0.0
    with pytest.raises(ValueError, match=r"n_fft=256: must be 4, 6, 8 ... times hop=100"):
        filtered_noise(jnp.zeros((1, 2, BINS)), KEY, hop=100)
    with pytest.raises(ValueError, match=r"magnitudes: must be \[B, N, K\] \(got \(2, 129\)\)"):
        filtered_noise(jnp.zeros((2, BINS)), KEY, hop=HOP)
    with pytest.raises(ValueError, match=r"at least 4 frames with context \(got 3\)"):
        filtered_noise(jnp.zeros((1, 3, BINS)), KEY, hop=HOP, context=True)


def test_istft_inner_equals_istft():
    generator = np.random.default_rng(0)
    values = generator.normal(size=(1, 12, BINS)) + 1j * generator.normal(size=(1, 12, BINS))
    values = jnp.asarray(values, jnp.complex64)
    whole = istft(values, hop=HOP)  # starts at the center of frame 0, after two hops
    np.testing.assert_allclose(istft_inner(values, hop=HOP), whole[:, HOP : HOP + 9 * HOP], atol=1e-6)
    with pytest.raises(ValueError, match=r"at least 4 frames for one hop \(got 3\)"):
        istft_inner(values[:, :3], hop=HOP)
