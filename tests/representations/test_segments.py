"""Tests of analysis and synthesis of long sounds in parts."""

import dataclasses

import jax
import numpy as np
import pytest

from tests.helpers.sounds import harmonic_tone, vibrato
from timbre_jax.audio.phase import INVERTERS, invert
from timbre_jax.audio.stft import stft
from timbre_jax.metrics.seams import measure_seams
from timbre_jax.representations import make_representation, segments
from timbre_jax.representations.log_mel import LogMel

MEL = LogMel(
    length=16000, n_fft=512, window_length=512, hop=128, n_mels=48, fmin=80.0, n_frames=0, reference="fixed", range_db=100.0,
    loudness=True, iterations=40, nnls_iterations=20,
)  # fmt: skip
PART = 64


def moving_sound(length: int, *, seed: int = 0) -> np.ndarray:
    """Returns a tone with vibrato and tremolo plus noise, [length] at 16 kHz."""
    time = np.arange(length) / 16000
    tone = harmonic_tone(vibrato(220, cents=80, rate_hz=4, length=length), [0.2 / n for n in range(1, 15)], length=length)
    noise = 0.003 * np.random.default_rng(seed).standard_normal(length)
    return (tone * (0.6 + 0.4 * np.sin(2 * np.pi * 1.3 * time)) + noise).astype(np.float32)


@pytest.fixture(scope="module")
def sound():
    return moving_sound(5 * PART * 128 - 77)


@pytest.mark.parametrize("representation", [MEL, make_representation("wave_frames", length=8192, hop=128, window=512)])
def test_features_in_parts_equal_those_of_the_whole(sound, representation):
    whole = representation.with_length(len(sound)).analyze(sound[None])
    features = segments.analyze_in_parts(representation, sound, part=PART)
    assert features.rate == whole.rate
    assert set(features.conditions) == set(whole.conditions)
    assert features.mask.min() == 1
    for a, b in zip(jax.tree.leaves(features), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 127, 320, 4096])
def test_short_sounds_have_the_features_of_analyze(samples):
    wave = moving_sound(samples)
    features = segments.analyze_in_parts(MEL, wave)
    assert features.values.shape == (1, max(1, -(-samples // 128)), 48)
    whole = MEL.with_length(samples).analyze(wave[None])
    np.testing.assert_allclose(features.values, whole.values, atol=1e-5)
    np.testing.assert_allclose(features.conditions["loudness"], whole.conditions["loudness"], atol=1e-3)


def test_representation_of_unlimited_reach_analyzes_the_whole_sound():
    relative = dataclasses.replace(MEL, reference="file")
    assert relative.reach is None
    wave = moving_sound(3 * PART * 128)
    features = segments.analyze_in_parts(relative, wave, part=PART)
    np.testing.assert_array_equal(features.values, relative.with_length(len(wave)).analyze(wave[None]).values)


def test_samples_in_parts_are_restored(sound):
    representation = make_representation("wave_frames", length=8192, hop=128, window=512)
    again = segments.synthesize_in_parts(representation, segments.analyze_in_parts(representation, sound, part=PART), part=PART)
    np.testing.assert_array_equal(again[: len(sound)], sound)
    assert len(again) == 5 * PART * 128


def test_synthesis_in_parts_has_no_seams(sound):
    """Compares errors of spectra and steps of level near seams with those elsewhere."""
    features = segments.analyze_in_parts(MEL, sound, part=PART)
    synthesized = segments.synthesize_in_parts(MEL, features, part=PART)
    seams = measure_seams(MEL, synthesized, features.values[0], every=PART)
    assert seams.count == 4
    assert seams.error_near < 1.3 * seams.error_elsewhere
    assert seams.step_near < 1.3 * seams.step_elsewhere
    assert seams.largest_near < 1.5 * seams.largest_elsewhere
    # Parts that are synthesized independently have seams.
    piece = MEL.with_length(PART * 128)
    cut = jax.tree.map(
        lambda x: np.concatenate([x, np.repeat(x[:, -1:], 5 * PART - x.shape[1], 1)], 1).reshape(5, PART, *x.shape[2:]),
        features,
    )
    apart = measure_seams(MEL, np.asarray(piece.synthesize(cut)).reshape(-1), features.values[0], every=PART, reach=2)
    assert apart.error_near > 2 * apart.error_elsewhere
    with pytest.raises(ValueError, match="to have a seam"):
        measure_seams(MEL, synthesized, features.values[0], every=10**6)


@pytest.mark.parametrize("name", sorted(INVERTERS))
def test_known_frames_are_kept_and_continued(name):
    wave = moving_sound(8000)[None]
    spectra = stft(wave, n_fft=512, hop=128)[:, :62]
    wave_again = invert(name, np.abs(spectra), hop=128, length=8000, iterations=4, known=spectra[:, :20])
    np.testing.assert_allclose(wave_again[0, 256 : 16 * 128], wave[0, 256 : 16 * 128], atol=2e-3)
    assert np.abs(wave_again[0, 24 * 128 :]).max() > 0.05


def test_empty_sounds_and_several_sounds_are_refused():
    with pytest.raises(ValueError, match=r"at least one sample"):
        segments.analyze_in_parts(MEL, np.zeros(0, np.float32))
    features = segments.analyze_in_parts(MEL, np.zeros(256, np.float32))
    with pytest.raises(ValueError, match=r"must have shape \[1, N, F\]"):
        segments.synthesize_in_parts(MEL, features.replace(values=np.zeros((2, 2, 48))))


def test_measured_pitch_has_a_longer_reach(sound):
    measured = dataclasses.replace(MEL, measured=("f0", "harmonicity"))
    assert measured.reach > MEL.reach
    whole = measured.with_length(len(sound)).analyze(sound[None])
    features = segments.analyze_in_parts(measured, sound, part=PART)
    for name in ("f0", "harmonicity"):
        np.testing.assert_allclose(features.conditions[name], whole.conditions[name], rtol=1e-3, atol=1e-4)
