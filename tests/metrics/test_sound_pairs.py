"""Tests of distances of pairs of sounds with known differences."""

import numpy as np
import pytest

from tests.helpers.sounds import harmonic_tone, noise
from timbre_jax.metrics.reconstruction import common_features, score_definition
from timbre_jax.metrics.sound_pairs import pair_distances, pair_measures, spectral_distances
from timbre_jax.representations import make_representation
from timbre_jax.representations.log_mel import LogMel
from timbre_jax.types import Features


def test_log_mel_error_and_level_correlation_equal_known_differences():
    sound = np.stack([noise(length=16000, seed=seed) for seed in range(3)])
    swell = np.linspace(0.05, 1.0, 16000, dtype=np.float32)
    reference = sound * swell
    measured = pair_distances(0.5 * reference, reference, 16000, ("mel", "level"))
    np.testing.assert_allclose(measured["mel_rmse_db"], 20 * np.log10(2), rtol=1e-3)
    np.testing.assert_allclose(measured["level_correlation"], 1.0, atol=1e-6)
    same = pair_distances(reference, reference, 16000, ("mel",))
    np.testing.assert_allclose(same["mel_rmse_db"], 0.0, atol=1e-4)
    # Other noise with the same envelope is closer than noise with the reversed envelope.
    other = pair_distances(np.roll(sound, 1, axis=0) * swell, reference, 16000, ("mel", "level"))
    backwards = pair_distances(sound * swell[::-1], reference, 16000, ("mel", "level"))
    assert (other["mel_rmse_db"] < backwards["mel_rmse_db"]).all()
    assert (other["level_correlation"] > 0.95).all()
    assert (backwards["level_correlation"] < 0).all()


def test_silence_has_no_error_and_no_level_correlation():
    silent = np.zeros((1, 8000), np.float32)
    measured = pair_distances(silent, silent, 16000, ("mel", "level"))
    assert measured["mel_rmse_db"][0] == 0.0
    assert np.isnan(measured["level_correlation"][0])


def test_measures_have_a_fixed_order_and_a_direction():
    names = [measure.name for measure in pair_measures(("level", "mel", "stft", "lsd"))]
    assert names == ["lsd_db", "mr_stft", "convergence", "mel_rmse_db", "level_correlation"]
    assert {m.better for m in pair_measures(("level",))} == {"high"}


def test_waves_that_differ_in_phase_score_alike():
    """Compares two noises of one spectrum, and a noise with itself at another level."""
    representation = make_representation("wave_frames", length=16384, hop=512, window=2048)
    waves = np.stack([noise(length=16384, seed=seed) for seed in range(3)]).astype(np.float32)
    features = Features(values=waves.reshape(3, 32, 512), mask=np.ones((3, 32), np.float32))
    measured = common_features(representation, features)
    mel = LogMel(
        length=16384, n_fft=2048, window_length=2048, hop=512, n_mels=80, fmin=60.0, n_frames=0, range_db=100.0,
        reference="fixed",
    )  # fmt: skip
    np.testing.assert_allclose(measured.values, mel.analyze(waves).values, atol=1e-5)
    assert measured.values.shape == (3, 32, 80)
    softer = common_features(representation, features.replace(values=0.1 * features.values))
    assert np.square(measured.values[0] - measured.values[1]).mean() < 0.3 * np.square(measured.values - softer.values).mean()
    assert "log-mel of the samples (80 bands" in score_definition(representation)


def test_spectral_distance_is_zero_for_equal_sounds_and_grows_with_change():
    tone = harmonic_tone(220.0, [0.4, 0.2, 0.1], length=8000)
    duller = harmonic_tone(220.0, [0.4, 0.05, 0.01], length=8000)
    measured = spectral_distances(np.stack([tone, duller, noise(length=8000)]), np.stack([tone] * 3))
    assert measured[0] < 1e-5
    assert 0 < measured[1] < measured[2]
    with pytest.raises(ValueError, match="must have one shape"):
        spectral_distances(tone[None], tone[None, :-1])
