"""Brightness between sounds: moments against descriptors of spectra, and what is off the line."""

import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.audio.descriptors import describe
from timbre_jax.models import make_model
from timbre_jax.models.layers.straightness import band_moments, detour
from timbre_jax.representations import LogMel


def test_moments_are_those_of_the_sound():
    """Of noise of several colors, within what the width of the bands leaves open."""
    window = {"n_fft": 1024, "window_length": 1024, "hop": 256}
    rep = LogMel(length=16000, n_frames=0, reference="fixed", range_db=120.0, **window)
    rng = np.random.default_rng(0)
    frequencies = np.fft.rfftfreq(16000, 1 / 16000)
    spectra = np.fft.rfft(rng.standard_normal((4, 16000)))
    waves = np.fft.irfft(spectra * np.exp(-frequencies / np.array([[400.0], [1000.0], [2500.0], [6000.0]])))
    waves = (0.1 * waves / waves.std(1, keepdims=True)).astype(np.float32)
    found = band_moments(rep.analyze(waves).values, rep.band_hz, rep.range_db)
    settings = {"sample_rate": 16000, "n_fft": 1024, "hop": 256}
    for mine, name in zip(found, ("centroid", "bandwidth"), strict=True):
        true = np.asarray(describe(waves, name=name, **settings))[:, 4:-4].mean(1)
        np.testing.assert_allclose(np.exp(np.asarray(mine))[:, 4:-3].mean(1), true, rtol=0.12)


def test_the_straight_line_is_no_detour():
    ends = jnp.array([[[1.0, 2.0]], [[3.0, 0.0]]])
    np.testing.assert_allclose(detour(ends, jnp.array([[1.5, 1.5]]), jnp.array([0.25])), 0.0, atol=1e-7)
    np.testing.assert_allclose(detour(ends, jnp.array([[1.5, 2.5]]), jnp.array([0.25])), [[0.0, 1.0]], atol=1e-6)


def test_bands_without_frequencies_are_an_error():
    model = make_model("frame_vae", feature_shape=(8, 4), straight_weight=1.0)
    with pytest.raises(ValueError, match="straight_weight needs band_hz"):
        model._stacks()
