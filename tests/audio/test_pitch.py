"""Tests of YIN against its definition and librosa, and of smoothing with planted errors."""

import functools

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import sounds
from timbre_jax.audio import pitch
from timbre_jax.audio.stft import stft

HOP, LAGS = 172, 201

_yin = jax.jit(functools.partial(pitch.yin, sample_rate=16000, hop=HOP))
_refine = jax.jit(functools.partial(pitch.refine_f0, sample_rate=16000))
_smooth_f0 = jax.jit(pitch.smooth_f0)
_difference = jax.jit(functools.partial(pitch.difference_function, hop=HOP, max_lag=LAGS))


@jax.jit
def _power(waves):
    return jnp.square(jnp.abs(stft(waves, n_fft=1024, hop=HOP, window="blackman", window_length=690)))


def _difference_float64(wave, frame, window=3 * HOP):
    padded = np.pad(wave.astype(np.float64), (2 * HOP, 2000))
    start = frame * HOP
    x = padded[start : start + window]
    return np.array([np.sum((x - padded[start + lag : start + lag + window]) ** 2) for lag in range(LAGS + 1)])


@pytest.mark.parametrize("length", [3000, 172 * 17])
def test_difference_function_equals_its_definition(length):
    waves = np.stack([sounds.noise(length=length, seed=k) for k in range(2)])
    waves[1, length // 2 :] *= 1e-3  # a quiet tail behind a loud part must keep its precision
    differences = np.asarray(_difference(waves))
    assert differences.shape == (2, 1 + length // HOP, LAGS + 1)
    for wave, rows in zip(waves, differences, strict=True):
        for frame in (0, 1, 7, 14, rows.shape[0] - 1):
            expected = _difference_float64(wave, frame)
            np.testing.assert_allclose(rows[frame], expected, atol=4e-5 * expected.max() + 1e-12)


def test_cumulative_mean_normalized_equals_its_definition():
    d = np.abs(np.random.default_rng(0).standard_normal((2, 3, 50))).astype(np.float32)
    d[1, 2] = 0.0
    normalized = np.asarray(pitch.cumulative_mean_normalized(jnp.asarray(d)))
    lags = np.arange(1, 50)
    expected = d[..., 1:] * lags / np.maximum(np.cumsum(d[..., 1:].astype(np.float64), -1), 1e-300)
    expected[1, 2] = 1.0
    np.testing.assert_allclose(normalized[..., 1:], expected, rtol=1e-4)


def _tones(f0s, length=8000):
    return np.stack([sounds.harmonic_tone(f, 0.3 / np.arange(1.0, 8.0), phases=np.arange(7.0), length=length) for f in f0s])


def test_yin_is_as_accurate_as_that_of_librosa_over_the_range():
    f0s = np.geomspace(81.0, 2080.0, 24)
    waves = _tones(f0s)
    f0, aperiodicity = _yin(waves)
    ours = np.abs(sounds.cents(f0[:, 6:38], f0s[:, None]))
    theirs = [librosa.yin(w, fmin=80, fmax=2100, sr=16000, hop_length=HOP, frame_length=1024)[6:38] for w in waves]
    theirs = np.abs(sounds.cents(theirs, f0s[:, None]))
    assert ours.max() < 25.0
    assert np.median(ours) <= np.median(theirs) + 1.0
    assert np.all(np.asarray(aperiodicity)[:, 6:38] < 0.15)


def test_noise_silence_and_constants_are_aperiodic():
    waves = np.stack([sounds.noise(length=8000), np.zeros(8000, np.float32), np.full(8000, 0.5, np.float32)] * 8)
    _, aperiodicity = _yin(waves)
    assert np.all(np.median(np.asarray(aperiodicity)[:, 6:38], axis=1) > 0.5)


def test_refined_f0_is_accurate_to_two_cents():
    f0s = np.geomspace(81.0, 2080.0, 24)
    waves = jnp.asarray(_tones(f0s))
    power = _power(waves)
    rough = jnp.broadcast_to(jnp.asarray(f0s * 2 ** (15 / 1200), jnp.float32)[:, None], power.shape[:2])
    refined = _refine(power, rough)
    assert np.abs(sounds.cents(refined[:, 6:38], f0s[:, None])).max() < 2.0


@pytest.mark.parametrize("factor", [2, 3])
def test_refinement_corrects_subharmonics_but_not_true_f0(factor):
    f0s = np.geomspace(300.0, 480.0, 24)
    waves = jnp.asarray(_tones(f0s))
    power = _power(waves)
    rough = jnp.broadcast_to(jnp.asarray(f0s, jnp.float32)[:, None], power.shape[:2])
    lifted = _refine(power, rough / factor)
    np.testing.assert_allclose(lifted[:, 6:38], rough[:, 6:38], rtol=1e-3)
    np.testing.assert_allclose(_refine(power, rough)[:, 6:38], rough[:, 6:38], rtol=1e-3)


def _smooth(f0, voiced, level):
    return np.asarray(_smooth_f0(jnp.asarray(f0, jnp.float32)[None], jnp.asarray(voiced)[None], jnp.asarray(level)[None]))[0]


def test_smoothing_corrects_planted_errors_and_holds_the_release():
    frames = 60
    true = 440.0 * 2 ** (30 / 1200 * np.sin(np.arange(frames) / 4.0))
    estimate, voiced, level = true.copy(), np.ones(frames, bool), np.linspace(-20.0, -30.0, frames).astype(np.float32)
    estimate[10:14] *= 0.5  # octave errors
    estimate[0] = 80.0  # attack: loudest, but wrong
    level[0] = 0.0
    estimate[30], voiced[30] = 2000.0, False
    estimate[45:], voiced[45:] = 1234.0, False  # released
    smoothed = _smooth(estimate, voiced, level)
    good = np.r_[1:30, 31:45]
    np.testing.assert_allclose(smoothed[good], true[good], rtol=1e-5)
    np.testing.assert_allclose(smoothed[0], smoothed[1], rtol=1e-6)
    np.testing.assert_allclose(smoothed[45:], smoothed[44], rtol=1e-6)


def test_unvoiced_sound_keeps_f0_of_its_loudest_frame():
    level = np.full(20, -60.0, np.float32)
    level[7] = -10.0
    estimate = np.linspace(100.0, 900.0, 20)
    np.testing.assert_allclose(_smooth(estimate, np.zeros(20, bool), level), estimate[7], rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.0, 1.0))
def test_smoothed_f0_changes_by_at_most_3_percent(seed, share_voiced):
    random = np.random.default_rng(seed)
    estimate = np.exp(random.uniform(np.log(80), np.log(2100), 60))
    smoothed = _smooth(estimate, random.random(60) < share_voiced, random.uniform(-60, 0, 60).astype(np.float32))
    assert np.all(np.isfinite(smoothed))
    steps = smoothed[1:] / smoothed[:-1]
    assert steps.max() < 1.03001
    assert steps.min() > 1 / 1.03001


def test_empty_range_is_rejected():
    with pytest.raises(ValueError, match="f_min=500"):
        pitch.yin(jnp.zeros((1, 4000)), sample_rate=16000, hop=HOP, f_min=500.0, f_max=100.0)
