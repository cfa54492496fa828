"""Tests of descriptors against librosa, and on sounds with known values."""

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from tests.helpers import sounds
from timbre_jax.audio import descriptors

SETTINGS = {"sample_rate": 16000, "n_fft": 1024, "hop": 256}
PADDED = {"n_fft": 1024, "hop_length": 256, "pad_mode": "constant"}


@pytest.fixture(scope="module")
def wave():
    """Returns 0.5 s of noise and a rising sine at 16 kHz, [8000]."""
    return (sounds.noise(length=8000) + sounds.sine(300.0, length=8000) * np.linspace(0, 2, 8000)).astype(np.float32)


@pytest.mark.parametrize(("name", "tolerance"), [("centroid", 1e-4), ("bandwidth", 1e-4), ("flatness", 1e-3)])
def test_curves_equal_those_of_librosa(wave, name, tolerance):
    rate = {} if name == "flatness" else {"sr": 16000}
    expected = getattr(librosa.feature, f"spectral_{name}")(y=wave, **rate, **PADDED)[0]
    np.testing.assert_allclose(descriptors.describe(wave[None], name=name, **SETTINGS)[0], expected, rtol=tolerance)


def test_rolloff_is_less_than_a_bin_below_that_of_librosa(wave):
    expected = librosa.feature.spectral_rolloff(y=wave, sr=16000, **PADDED)[0]
    measured = np.asarray(descriptors.describe(wave[None], name="rolloff", **SETTINGS)[0])
    assert np.all(measured <= expected + 0.01)
    assert np.all(measured > expected - 16000 / 1024 - 0.01)
    assert np.ptp(measured - expected) > 1.0  # values are between bins


def test_a_weighting_and_loudness_equal_those_of_librosa(wave):
    frequencies = descriptors.bin_frequencies(16000, 1024)
    expected = librosa.A_weighting(frequencies[1:], min_db=None)
    np.testing.assert_allclose(descriptors.a_weighting(frequencies)[1:], expected, atol=0.01)
    spectrum = np.abs(librosa.stft(wave.astype(np.float64), **PADDED)) ** 2
    power = (spectrum[1:] * 10 ** (expected[:, None] / 10)).sum(0)
    expected = 10 * np.log10(power * 2 / (1024 * np.square(librosa.filters.get_window("hann", 1024)).sum()))
    measured = descriptors.loudness(jnp.asarray(wave)[None], **SETTINGS)[0]
    np.testing.assert_allclose(measured, expected, atol=0.02)


def test_loudness_of_a_sine_is_its_a_weighted_rms():
    waves = jnp.stack([sounds.sine(1000.0, length=16000), sounds.sine(100.0, length=16000), jnp.zeros(16000)])
    measured = np.asarray(descriptors.loudness(waves, sample_rate=16000))[:, 20:-20]
    np.testing.assert_allclose(measured[0], -3.01, atol=0.05)
    np.testing.assert_allclose(measured[1], -3.01 - 19.14, atol=0.3)  # IEC 61672-1, table 3: -19.1 dB at 100 Hz
    np.testing.assert_allclose(measured[2], -100.0, atol=1e-3)


def test_f0_and_harmonicity_of_a_tone_in_noise_are_those_planted():
    tone = sum(sounds.sine(220.0 * k, length=16000, amplitude=0.3 / k) for k in range(1, 6))
    noise = np.random.default_rng(0).standard_normal(16000)
    noise *= np.sqrt(0.1 * np.mean(np.square(tone)) / np.mean(np.square(noise)))  # P / (P + Q) = 1 / 1.1
    waves = jnp.asarray(np.stack([tone, tone + noise, noise, 0 * noise]), jnp.float32)
    measured = np.asarray(descriptors.f0(waves, sample_rate=16000))[:, 10:-10]
    np.testing.assert_allclose(measured[:2], 220.0, rtol=0.01)
    assert np.mean(measured[2] > 0) < 0.05
    assert not measured[3].any()
    share = np.asarray(descriptors.harmonicity(waves, sample_rate=16000))[:, 10:-10]
    assert share[0].min() > 0.98
    np.testing.assert_allclose(share[1].mean(), 1 / 1.1, atol=0.03)
    assert share[2].mean() < 0.4
    assert not share[3].any()


def test_gradients_are_finite_for_silence_and_nonzero_for_sound(wave):
    waves = jnp.stack([jnp.asarray(wave[:4096]), jnp.zeros(4096)])
    names = ("centroid", "bandwidth", "flatness", "rolloff", "loudness")

    @jax.jit
    def gradients(waves):
        results = {}
        for name in names:
            entry = descriptors.DESCRIPTORS[name]
            results[name] = jax.grad(lambda x, entry=entry: jnp.sum(entry.of_waves(x, **SETTINGS)))(waves)
        return results

    for name, gradient in gradients(waves).items():
        assert np.isfinite(gradient).all(), name
        assert np.abs(gradient[0]).max() > 0, name


def test_every_registered_descriptor_is_a_curve():
    wave = jnp.asarray(sounds.sine(440.0, length=4096))[None]
    for name in descriptors.DESCRIPTORS:
        assert descriptors.describe(wave, name=name, **SETTINGS).shape == (1, 17), name
    with pytest.raises(ValueError, match="descriptor='pitch': must be one of centroid"):
        descriptors.descriptor("pitch")


def test_brightness_of_a_sine_is_its_frequency_despite_surrounding_silence():
    wave = (sounds.sine(1000.0) * sounds.held_then_released(held=1.0)).astype(np.float32)
    measured = descriptors.brightness(jnp.stack([wave, jnp.zeros_like(wave)]), sample_rate=16000)
    assert abs(measured[0] - 1000.0) < 15.0
    assert measured[1] == 0.0
