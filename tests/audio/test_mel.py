"""Tests of mel filterbanks against librosa, and of mel inversion against NNLS of scipy."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from timbre_jax.audio.mel import filterbank_inverse, hz_to_mel, mel_filterbank, mel_to_hz, mel_to_stft_nnls
from timbre_jax.audio.nnls import nnls


@pytest.mark.parametrize(
    ("rate", "n_fft", "n_mels", "fmin", "fmax", "scale"),
    [
        (16000, 512, 128, 0.0, 0.0, "slaney"),
        (16000, 1024, 128, 0.0, 0.0, "htk"),
        (44100, 2048, 80, 30.0, 15000.0, "slaney"),
        (8000, 256, 20, 60.0, 3800.0, "htk"),
    ],
)
def test_filterbank_equals_that_of_librosa(rate, n_fft, n_mels, fmin, fmax, scale):
    import librosa

    ours = mel_filterbank(sample_rate=rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax, scale=scale)
    theirs = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax or None, htk=scale == "htk")
    np.testing.assert_allclose(ours, theirs, atol=1e-6 * theirs.max())


@given(st.floats(0.0, 24000.0), st.sampled_from(["slaney", "htk"]))
def test_mel_to_hz_inverts_hz_to_mel(frequency, scale):
    assert abs(float(mel_to_hz(hz_to_mel(frequency, scale=scale), scale=scale)) - frequency) < 1e-6 * (1 + frequency)


def test_only_empty_filters_raise_a_warning():
    with pytest.warns(UserWarning, match=r"of 128 mel filters are empty"):
        bank = mel_filterbank(sample_rate=44100, n_fft=512, n_mels=128)
    assert np.any(bank.max(axis=1) == 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.all(mel_filterbank(sample_rate=16000, n_fft=512, n_mels=128).max(axis=1) > 0)


def test_inconsistent_settings_are_rejected():
    for wrong in ({"fmax": 9000.0}, {"fmin": 5000.0, "fmax": 4000.0}, {"n_mels": 0}, {"scale": "bark"}):
        with pytest.raises(ValueError, match=r"fmax|n_mels|slaney"):
            mel_filterbank(**{"sample_rate": 16000, "n_fft": 512, "n_mels": 64, **wrong})


def test_nnls_reaches_the_minimum_of_scipy():
    """Uses targets outside the range of the matrix, for which the constraint is active."""
    random = np.random.default_rng(0)
    matrix = np.abs(random.standard_normal((12, 8))) * 10.0 ** random.uniform(-2, 1, 8)
    targets = random.standard_normal((20, 12)) + 0.5
    solutions = np.asarray(nnls(matrix, jnp.asarray(targets, jnp.float32), iterations=2000), np.float64)
    for target, ours in zip(targets, solutions, strict=True):
        theirs, residual = scipy.optimize.nnls(matrix, target)
        assert ours.min() >= 0
        assert np.linalg.norm(matrix @ ours - target) <= residual * (1 + 1e-5)
        np.testing.assert_allclose(ours, theirs, atol=1e-3 * theirs.max() + 1e-6)


@settings(deadline=None, max_examples=4)
@given(st.integers(0, 2**31), st.floats(-4, 4))
def test_mel_inversion_recovers_mel_power_at_any_level(seed, decades):
    """Checks an error below 0.2 dB, and half that of the pseudo-inverse."""
    random = np.random.default_rng(seed)
    options = {"sample_rate": 16000, "n_fft": 512}
    power = (10.0 ** (random.uniform(-6, 0, (10, 257)) + decades)).astype(np.float32)
    bank = mel_filterbank(**options, n_mels=128)
    mel = power @ bank.T
    spectra = np.asarray(mel_to_stft_nnls(jnp.asarray(mel), **options, iterations=200))
    clipped = np.maximum(mel @ filterbank_inverse(**options, n_mels=128).T, 0.0)

    def error_db(power_spectra):
        return np.mean(np.abs(10 * np.log10((power_spectra @ bank.T + 1e-9 * mel.max()) / (mel + 1e-9 * mel.max()))))

    assert spectra.min() >= 0
    assert error_db(spectra) < 0.2
    assert error_db(spectra) < 0.5 * error_db(clipped) + 0.01


def test_inversion_of_silence_is_silence_and_sounds_are_independent():
    random = np.random.default_rng(0)
    mel = random.uniform(size=(3, 300, 128)).astype(np.float32)
    mel[1] = 0.0
    options = {"sample_rate": 16000, "n_fft": 512, "iterations": 20}
    together = np.asarray(mel_to_stft_nnls(jnp.asarray(mel), **options))
    assert np.all(together[1] == 0)
    np.testing.assert_allclose(together[2:], mel_to_stft_nnls(jnp.asarray(mel[2:]), **options), rtol=1e-3, atol=1e-4)
