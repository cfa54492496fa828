"""Tests of the straightness of brightness between sounds."""

import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.audio.descriptors import describe
from timbre_jax.models import make_model
from timbre_jax.models.layers.straightness import log_band_moments, squared_detour
from timbre_jax.representations import LogMel


def test_band_moments_approximate_those_of_the_sound():
    """Compares noise of several spectra with `audio.descriptors`."""
    window = {"n_fft": 1024, "window_length": 1024, "hop": 256}
    rep = LogMel(length=16000, n_frames=0, reference="fixed", range_db=120.0, **window)
    rng = np.random.default_rng(0)
    frequencies = np.fft.rfftfreq(16000, 1 / 16000)
    spectra = np.fft.rfft(rng.standard_normal((4, 16000)))
    waves = np.fft.irfft(spectra * np.exp(-frequencies / np.array([[400.0], [1000.0], [2500.0], [6000.0]])))
    waves = (0.1 * waves / waves.std(1, keepdims=True)).astype(np.float32)
    moments = log_band_moments(rep.analyze(waves).values, rep.band_hz, rep.range_db)
    settings = {"sample_rate": 16000, "n_fft": 1024, "hop": 256}
    for moment, name in zip(moments, ("centroid", "bandwidth"), strict=True):
        true = np.asarray(describe(waves, name=name, **settings))[:, 4:-4].mean(1)
        np.testing.assert_allclose(np.exp(np.asarray(moment))[:, 4:-3].mean(1), true, rtol=0.12)


def test_detour_is_zero_on_the_straight_line():
    ends = jnp.array([[[1.0, 2.0]], [[3.0, 0.0]]])
    np.testing.assert_allclose(squared_detour(ends, jnp.array([[1.5, 1.5]]), jnp.array([0.25])), 0.0, atol=1e-7)
    np.testing.assert_allclose(squared_detour(ends, jnp.array([[1.5, 2.5]]), jnp.array([0.25])), [[0.0, 1.0]], atol=1e-6)


def test_straightness_without_band_frequencies_is_refused():
    model = make_model("frame_vae", feature_shape=(8, 4), straightness_weight=1.0)
    with pytest.raises(ValueError, match="straightness_weight needs band_hz"):
        model._stacks()
