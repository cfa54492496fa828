"""Tests of LogMel: librosa, reconstruction at many settings, levels, masks and silence."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import sounds
from timbre_jax.audio.distances import log_spectral_distance
from timbre_jax.representations import LOG_MEL_PRESETS, LogMel
from timbre_jax.representations.log_mel import DEFAULT_LEVEL_DB, LEVEL_FLOOR_DB
from timbre_jax.types import Features

SHORT = LogMel(length=8000, n_frames=0, iterations=30)
# Starts from a fixed phase and compiles in a fraction of the time of the default.
FIXED_PHASE = dataclasses.replace(SHORT, inverter="fast_griffin_lim", hold="magnitudes")


def loudest_frequency(wave, rate):
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 8 * len(wave)))
    return np.argmax(spectrum) * rate / (8 * len(wave))


@pytest.mark.parametrize("preset", ["rebnord2022", "samplevae"])
def test_values_and_level_equal_those_of_librosa(preset):
    import librosa

    representation = LOG_MEL_PRESETS[preset]
    wave = sounds.harmonic_tone(220.0, 0.2 / np.arange(1, 9), length=32000) + 0.01 * sounds.noise(length=32000)
    power = librosa.feature.melspectrogram(
        y=wave, sr=16000, n_fft=representation.n_fft, hop_length=representation.hop, n_mels=128, pad_mode="constant"
    )[:, : representation.frames]
    expected = 1 + np.maximum(librosa.power_to_db(power, ref=np.max, top_db=None, amin=1e-12), -80.0).T / 80.0
    features = representation.analyze(jnp.asarray(wave[None]))
    np.testing.assert_allclose(features.values[0], expected, atol=2e-4)
    level = 10 * np.log10(power.max()) - representation.full_scale_db
    assert float(features.conditions["level_db"][0]) == pytest.approx(level, abs=1e-3)


def test_presets_have_the_published_shapes():
    assert LOG_MEL_PRESETS["rebnord2022"].feature_shape == (250, 128)
    assert LOG_MEL_PRESETS["samplevae"].feature_shape == (125, 128)
    assert LOG_MEL_PRESETS["caillon2020"].feature_shape == (375, 128)
    assert LOG_MEL_PRESETS["caillon2020"].rate == 93.75


def test_loudness_is_the_level_of_each_frame():
    """Compares the RMS of a sine with numpy; silence is at the floor."""
    representation = LOG_MEL_PRESETS["caillon2020"]
    wave = np.zeros((1, 96000), np.float32)
    wave[0, :48000] = 0.5 * np.sin(2 * np.pi * 440.0 * np.arange(48000) / 24000)
    wave[0, 24000:48000] *= 0.1
    features = representation.analyze(jnp.asarray(wave))
    loudness = np.asarray(features.conditions["loudness"])
    assert loudness.shape == features.values.shape[:2] == (1, 375)
    for frame in (20, 60, 130, 180):
        samples = wave[0, frame * 256 - 1024 : frame * 256 + 1024].astype(np.float64)
        assert loudness[0, frame] == pytest.approx(10 * np.log10(np.mean(samples**2)), abs=1e-3)
    assert loudness[0, 60] - loudness[0, 130] == pytest.approx(20.0, abs=0.1)
    assert np.all(loudness[0, 200:] == -100.0)
    plain = dataclasses.replace(representation, loudness=False).analyze(jnp.asarray(wave))
    np.testing.assert_array_equal(plain.values, features.values)
    assert not plain.conditions
    measured = dataclasses.replace(representation, measured=("centroid",)).analyze(jnp.asarray(wave))
    assert measured.conditions["centroid"].shape == (1, 375)
    np.testing.assert_allclose(measured.conditions["centroid"][0, 20:80], 440.0, rtol=0.02)
    with pytest.raises(ValueError, match=r"measured: .*'attack_time', expected one of centroid"):
        LogMel(measured=("attack_time",))


@pytest.mark.parametrize("preset", ["rebnord2022", "samplevae"])
def test_sine_of_440_hz_is_reconstructed_at_440_hz(preset):
    """Checks f0 after synthesis, which with two filterbanks is up to 3.9 semitones sharp."""
    representation = LOG_MEL_PRESETS[preset]
    wave = sounds.sine(440.0, 0.3, length=32000)
    restored = np.asarray(representation.synthesize(representation.analyze(jnp.asarray(wave[None]))))[0]
    assert abs(sounds.cents(loudest_frequency(restored[4000:28000], 16000), 440.0)) < 5.0
    assert np.sqrt(np.mean(restored**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.15)


@pytest.mark.parametrize(
    "changes",
    [
        {"sample_rate": 8000, "n_fft": 256, "window_length": 200, "hop": 50, "n_mels": 40, "scale": "htk", "window": "hamming"},
        {"sample_rate": 48000, "n_fft": 2048, "window_length": 1536, "hop": 384, "n_mels": 100, "fmin": 30.0, "fmax": 18000.0},
        {"sample_rate": 44100, "n_fft": 1024, "window_length": 1024, "hop": 256, "n_mels": 64, "reference": "fixed"},
    ],
)
def test_other_rates_windows_and_bands_keep_pitch_and_level(changes):
    rate = changes["sample_rate"]
    representation = LogMel(length=rate // 2, n_frames=0, iterations=20, **changes)
    wave = sounds.harmonic_tone(600.0, [0.2], length=rate // 2, rate=rate)
    features = representation.analyze(jnp.asarray(wave[None]))
    assert features.values.shape == (1, *representation.feature_shape)
    assert features.rate == rate / changes["hop"]
    assert ("level_db" in features.conditions) == (representation.reference == "file")
    restored = np.asarray(representation.synthesize(features))[0]
    assert restored.shape == (rate // 2,)
    middle = restored[rate // 8 : -rate // 8]
    assert abs(sounds.cents(loudest_frequency(middle, rate), 600.0)) < 15.0
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.2 / np.sqrt(2), rel=0.25)


def test_values_do_not_depend_on_level_and_synthesis_restores_it():
    wave = jnp.asarray(sounds.harmonic_tone(330.0, [0.2, 0.1, 0.05], length=8000))
    features = FIXED_PHASE.analyze(jnp.stack([wave, 0.01 * wave]))
    np.testing.assert_allclose(features.values[0], features.values[1], atol=1e-4)
    np.testing.assert_allclose(features.conditions["level_db"][0] - features.conditions["level_db"][1], 40.0, atol=1e-3)
    loud, quiet = np.asarray(FIXED_PHASE.synthesize(features))
    np.testing.assert_allclose(np.std(loud) / np.std(quiet), 100.0, rtol=1e-2)
    bare = dataclasses.replace(features, conditions={})
    with_default = dataclasses.replace(features, conditions={"level_db": jnp.full(2, DEFAULT_LEVEL_DB)})
    np.testing.assert_allclose(FIXED_PHASE.features_to_mel(bare), FIXED_PHASE.features_to_mel(with_default), rtol=1e-5)
    # The inverse of analyze, in the power of librosa.
    power = FIXED_PHASE.mel_power(jnp.stack([wave, 0.01 * wave])) * 10 ** (FIXED_PHASE.full_scale_db / 10)
    positive = np.asarray(features.values) > 0
    np.testing.assert_allclose(
        np.asarray(FIXED_PHASE.features_to_mel(features))[positive], np.asarray(power)[positive], rtol=1e-3
    )


def test_frames_beyond_the_length_are_masked_and_silent():
    wave = np.zeros((2, 8000), np.float32)
    wave[0, :4000] = sounds.sine(300.0, 0.3, length=4000)
    wave[1, 0] = 0.5  # a sound of one sample
    features = FIXED_PHASE.analyze(jnp.asarray(wave), jnp.asarray([4000, 1]))
    np.testing.assert_array_equal(np.sum(features.mask, axis=1), [np.ceil(4000 / 128), 1])
    restored = np.asarray(FIXED_PHASE.synthesize(features))
    assert np.all(np.isfinite(restored))
    # Beyond the windows of all unmasked frames.
    assert np.abs(restored[0, 4000 + 256 :]).max() < 1e-3
    assert np.abs(restored[0, 1000:3000]).max() > 0.2


def test_silence_dc_and_loud_noise_are_finite():
    waves = np.zeros((4, 8000), np.float32)
    waves[1] = 0.5
    waves[2] = sounds.noise(length=8000)
    waves[3, 4000] = 1.0
    features = SHORT.analyze(jnp.asarray(waves))
    assert float(features.conditions["level_db"][0]) == pytest.approx(LEVEL_FLOOR_DB)
    assert np.all(np.asarray(features.values[0]) == 0)
    restored = np.asarray(SHORT.synthesize(features))
    assert np.all(np.isfinite(restored))
    assert np.all(restored[0] == 0)
    assert np.argmax(np.abs(restored[3])) == pytest.approx(4000, abs=16)
    gradient = jax.grad(lambda x: jnp.sum(jnp.square(SHORT.analyze(x).values)))(jnp.asarray(waves))
    assert np.all(np.isfinite(gradient))
    assert np.abs(np.asarray(gradient[2])).max() > 0


def test_sounds_of_any_length_have_features_and_synthesis():
    for length in (1, 5001):
        representation = dataclasses.replace(FIXED_PHASE, length=length, n_frames=0, iterations=2)
        waves = jnp.asarray(sounds.noise(length=length))[None] * 0.1
        features = representation.analyze(waves)
        assert features.values.shape[1] == -(-length // 128)
        assert representation.synthesize(features).shape == (1, length)
    # Other features than those of standard length are synthesized to the length of their frames.
    assert FIXED_PHASE.synthesize(dataclasses.replace(features, values=features.values[:, :7], mask=None)).shape == (1, 7 * 128)


def test_features_and_synthesis_do_not_depend_on_the_batch():
    waves = jnp.stack([jnp.asarray(sounds.sine(200.0 * n, 0.1 * n, length=8000)) for n in (1, 2, 3)])
    together = FIXED_PHASE.analyze(waves)
    restored = FIXED_PHASE.synthesize(together)
    for row in range(3):
        alone = FIXED_PHASE.analyze(waves[row : row + 1])
        np.testing.assert_allclose(alone.values[0], together.values[row], atol=1e-5)
        distance = log_spectral_distance(FIXED_PHASE.synthesize(alone), restored[row : row + 1])
        assert float(distance[0]) < 0.5


def test_holding_bands_is_closer_than_holding_magnitudes():
    wave = jnp.asarray(
        sounds.harmonic_tone(sounds.vibrato(247.0, cents=30, rate_hz=5, length=8000), 0.2 / np.arange(1, 20), length=8000)
    )[None]
    distances = {}
    for hold in ("bands", "magnitudes"):
        representation = dataclasses.replace(SHORT, hold=hold, iterations=60)
        distances[hold] = float(log_spectral_distance(representation.synthesize(representation.analyze(wave)), wave)[0])
    assert distances["bands"] < distances["magnitudes"]


def test_texture_has_its_deviation_on_positive_values():
    rep = LogMel(length=8000, n_frames=0, texture_db=2.0, iterations=5)
    values = jnp.full((2, rep.frames, 128), 0.5).at[:, 40:].set(0.0)
    features = Features(values=values, mask=jnp.ones(values.shape[:2]))
    rough = np.asarray(rep.add_texture(features).values)
    assert np.std(rough[:, :40] - 0.5) * 80.0 == pytest.approx(2.0, rel=0.05)
    assert np.all(rough[:, 40:] == 0.0)
    # Without a key all sounds have the same noise, with keys each its own.
    np.testing.assert_array_equal(rough[0], rough[1])
    drawn = np.asarray(rep.add_texture(features, jax.random.key(1)).values)
    assert np.std(drawn[0] - drawn[1]) > 0.01
    keys = jax.random.split(jax.random.key(1), 2)
    np.testing.assert_array_equal(drawn[1], rep.add_texture(features, keys).values[1])
    np.testing.assert_array_equal(rep.synthesize(features), rep.synthesize(features))
    plain = dataclasses.replace(rep, texture_db=0.0)
    assert plain.add_texture(features) is features
    with pytest.raises(ValueError, match="texture_db not negative"):
        LogMel(texture_db=-1.0)


def test_wrong_settings_are_refused():
    for wrong, named in (
        ({"scale": "bark"}, "slaney"),
        ({"inverter": "wavenet"}, "pghi"),
        ({"n_frames": 251}, "250"),
        ({"hop": 600}, "hop"),
        ({"window": "kaiser"}, "hann"),
        ({"reference": "rms"}, "fixed"),
        ({"fmax": 9000.0}, "8000"),
        ({"hold": "phase"}, "bands"),
    ):
        with pytest.raises(ValueError, match=named):
            LogMel(**wrong)
    with pytest.raises(ValueError, match=r"\[B, T\]"):
        SHORT.analyze(jnp.zeros(100))
    with pytest.raises(ValueError, match="full scale"):
        SHORT.analyze(jnp.zeros((1, 100), jnp.int16))


def test_bands_cover_all_bins():
    representation = LogMel(n_fft=1024, window_length=1024, n_mels=40, length=8000, n_frames=0)
    bins = np.array(representation.band_bins)
    covered = np.count_nonzero(representation.basis.sum(0))
    # Every bin within a filter counts once, and high bands are wider.
    assert bins.sum() == pytest.approx(covered, abs=1e-3)
    assert np.all(np.diff(bins[20:]) > 0)


def test_synthesis_has_a_gradient():
    """Compares with a difference along one direction; bins at 0 must not make it NaN."""
    representation = dataclasses.replace(FIXED_PHASE, length=2048, iterations=0, nnls_iterations=10, n_frames=0, texture_db=0.0)
    features = representation.analyze(sounds.harmonic_tone(440.0, [0.4, 0.2], length=2048)[None])

    def energy(values):
        return jnp.sum(jnp.square(representation.synthesize(features.replace(values=values))))

    gradient = jax.grad(energy)(features.values)
    assert np.all(np.isfinite(gradient))
    step = jnp.where(features.values > 0.3, 1e-3, 0.0)
    difference = float(energy(features.values + step) - energy(features.values - step))
    assert difference == pytest.approx(2.0 * float(jnp.sum(gradient * step)), rel=0.05)
