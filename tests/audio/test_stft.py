"""Tests of the STFT and its inverse against librosa, scipy and numpy."""

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
import scipy.signal

from tests.helpers import sounds
from timbre_jax.audio import stft as s


@pytest.mark.parametrize("name", ["hann", "hamming", "blackman"])
@pytest.mark.parametrize("length", [2, 7, 690])
def test_windows_equal_the_periodic_windows_of_scipy(name, length):
    expected = scipy.signal.get_window(name, length)
    np.testing.assert_allclose(s.window_samples(name, length), expected, atol=1e-7)


@pytest.mark.parametrize(
    ("window", "window_length", "n_fft", "hop"),
    [("blackman", 690, 1024, 172), ("hann", None, 512, 128), ("hann", 301, 512, 100)],
)
@pytest.mark.parametrize("center", [True, False])
def test_stft_equals_that_of_librosa(window, window_length, n_fft, hop, center):
    wave = sounds.noise(length=5003)
    expected = librosa.stft(
        wave, n_fft=n_fft, hop_length=hop, win_length=window_length, window=window, center=center, pad_mode="constant"
    )
    spectra = s.stft(
        jnp.stack([wave, 2 * wave]), n_fft=n_fft, hop=hop, window=window, window_length=window_length, center=center
    )
    np.testing.assert_allclose(spectra[0], expected.T, atol=2e-4)
    np.testing.assert_allclose(spectra[1], 2 * expected.T, atol=4e-4)


@pytest.mark.parametrize(
    ("window", "window_length", "n_fft", "hop", "length"),
    [
        ("blackman", 690, 1024, 172, 64000),
        ("hann", None, 512, 128, 4001),
        ("hamming", 400, 512, 160, 4000),
        ("rectangular", 512, 512, 512, 4096),
    ],
)
def test_istft_inverts_stft(window, window_length, n_fft, hop, length):
    wave = sounds.noise(length=length)
    shape = {"hop": hop, "window": window, "window_length": window_length}
    again = jax.jit(lambda x: s.istft(s.stft(x, n_fft=n_fft, **shape), length=length, **shape))(wave[None])
    covered = (length // hop) * hop  # the window of the last frame ends beyond its center
    np.testing.assert_allclose(again[0, :covered], wave[:covered], atol=3e-6)
    assert again.shape == (1, length)


def test_istft_of_inconsistent_spectra_equals_that_of_librosa():
    random = np.random.default_rng(1)
    spectra = (random.standard_normal((20, 257)) + 1j * random.standard_normal((20, 257))).astype(np.complex64)
    expected = librosa.istft(spectra.T, hop_length=128, window="hann", length=19 * 128)
    wave = jax.jit(lambda x: s.istft(x, hop=128, length=19 * 128))(spectra)
    np.testing.assert_allclose(wave, expected, atol=1e-5)


def test_overlap_add_transposes_frame():
    x = np.random.default_rng(0).standard_normal((2, 1000)).astype(np.float32)
    frames = s.frame(jnp.asarray(x), 96, 40)
    expected = np.lib.stride_tricks.sliding_window_view(x, 96, axis=1)[:, ::40]
    np.testing.assert_array_equal(frames, expected)
    y = np.random.default_rng(1).standard_normal(frames.shape).astype(np.float32)
    there = float(np.vdot(expected, y))
    back = np.asarray(s.overlap_add(jnp.asarray(y), 40))
    np.testing.assert_allclose(np.vdot(x[:, : back.shape[1]], back), there, rtol=1e-5)


def test_gradient_equals_finite_differences():
    wave = jnp.asarray(sounds.noise(length=1000))[None]
    energy = lambda x: jnp.sum(jnp.square(jnp.abs(s.stft(x, n_fft=256, hop=64))))  # noqa: E731
    slope = jax.jit(jax.grad(energy))(wave)
    step = 1e-2 * np.sign(wave)
    finite = (energy(wave + step) - energy(wave - step)) / 2
    np.testing.assert_allclose(jnp.vdot(slope, step), finite, rtol=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_fft": 512, "hop": 0}, "hop"),
        ({"n_fft": 512, "hop": 128, "window_length": 600}, "window_length"),
        ({"n_fft": 512, "hop": 128, "window": "kaiser"}, "kaiser"),
        ({"n_fft": 2048, "hop": 128, "center": False}, "2048"),
    ],
)
def test_inconsistent_settings_are_rejected(settings, message):
    with pytest.raises(ValueError, match=message):
        s.stft(jnp.zeros((1, 1000)), **settings)
