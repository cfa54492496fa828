"""Spectral centroid against librosa and known sounds."""

import jax.numpy as jnp
import librosa
import numpy as np

from tests.helpers import sounds
from timbre_jax.audio import descriptors


def test_centroid_is_librosas():
    wave = sounds.noise(length=8000) + sounds.sine(300.0, length=8000)
    expected = librosa.feature.spectral_centroid(y=wave, sr=16000, n_fft=1024, hop_length=256, pad_mode="constant")[0]
    found = descriptors.spectral_centroid(jnp.asarray(wave)[None], sample_rate=16000)
    np.testing.assert_allclose(found[0], expected, rtol=1e-3)


def test_brightness_of_a_sine_is_its_frequency_and_silence_around_it_does_not_count():
    wave = (sounds.sine(1000.0) * sounds.held_then_released(held=1.0)).astype(np.float32)
    found = descriptors.brightness(jnp.stack([wave, jnp.zeros_like(wave)]), sample_rate=16000)
    assert abs(found[0] - 1000.0) < 15.0
    assert found[1] == 0.0
