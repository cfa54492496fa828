"""Tests of harmonic analysis and synthesis on known tones and against float64 oscillators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import sounds
from timbre_jax.audio import harmonics
from timbre_jax.audio.stft import stft, window_samples

HOP = 172


def _power(wave):
    return _spectra(jnp.asarray(wave)[None])


@jax.jit
def _spectra(waves):
    return jnp.square(jnp.abs(stft(waves, n_fft=1024, hop=HOP, window="blackman", window_length=690)))


_synthesis = jax.jit(harmonics.additive_synthesis, static_argnames=("hop", "sample_rate", "length", "group"))
_harmonic_amplitudes = jax.jit(harmonics.harmonic_amplitudes, static_argnames=("n_harmonics", "sample_rate", "window_sum"))


def _amplitudes(wave, f0, count=7):
    power = _power(wave)
    return np.asarray(
        _harmonic_amplitudes(
            power,
            jnp.full(power.shape[:2], f0, jnp.float32),
            n_harmonics=count,
            sample_rate=16000,
            window_sum=float(window_samples("blackman", 690).sum()),
        )
    )[0]


@pytest.mark.parametrize("f0", [80.0, 233.3, 997.0, 2100.0])
def test_amplitudes_of_a_harmonic_tone_are_recovered(f0):
    true = np.array([0.5, 0.25, 0.01, 0.1, 0.02, 0.005, 0.05])
    estimated = _amplitudes(sounds.harmonic_tone(f0, true, phases=np.arange(7.0), length=8000), f0)[5:40]
    below = f0 * np.arange(1, 8) < 8000
    np.testing.assert_allclose(estimated[:, below], np.broadcast_to(20 * np.log10(true[below]), (35, below.sum())), atol=0.4)
    assert np.all(estimated[:, ~below] == -100.0)


def test_amplitude_is_accurate_for_f0_off_by_20_cents_and_silence_is_at_the_floor():
    wave = sounds.sine(440.0 * 2 ** (20 / 1200), 0.3, length=8000)
    np.testing.assert_allclose(_amplitudes(wave, 440.0, 1)[5:40], 20 * np.log10(0.3), atol=0.1)
    assert np.all(_amplitudes(np.zeros(8000, np.float32), 440.0) == -100.0)


def test_missing_harmonic_does_not_take_the_peak_of_its_neighbor():
    estimated = _amplitudes(sounds.harmonic_tone(100.0, [0.5, 0.0, 0.5], length=8000), 100.0, 3)[5:40]
    assert np.all(estimated[:, 1] < -45.0)


def _bank_float64(f0, amplitudes, length):
    """Returns the sum of sines of linearly interpolated f0 and amplitudes, in float64."""
    sample = np.arange(length) / HOP
    frames = np.arange(f0.size)
    track = np.interp(np.arange(4 * length) / (4 * HOP), frames, f0.astype(np.float64))
    # Trapezoids on a grid that includes the frames are exact for piecewise linear f0.
    turns = np.concatenate([[0.0], np.cumsum(0.5 * (track[1:] + track[:-1]))])[::4][:length] / (4 * 16000)
    bank = [
        np.interp(sample, frames, amplitudes[:, n].astype(np.float64)) * np.sin(2 * np.pi * (n + 1) * turns)
        for n in range(amplitudes.shape[1])
    ]
    return np.sum(bank, axis=0)


def test_synthesis_equals_float64_oscillator_bank():
    random = np.random.default_rng(0)
    frames, count, length = 120, 13, 119 * HOP
    f0 = (300.0 * 2 ** (0.5 * np.sin(np.arange(frames) / 9.0))).astype(np.float32)
    amplitudes = random.uniform(0, 0.1, (frames, count)).astype(np.float32)
    expected = _bank_float64(f0, amplitudes, length)
    for group in (4, 13):
        waves = _synthesis(
            jnp.asarray(f0)[None], jnp.asarray(amplitudes)[None], hop=HOP, sample_rate=16000, length=length, group=group
        )
        # f0 in float32 is accurate to 1e-7: after 500 periods, the phase of the 13th harmonic is off by 0.001 rad.
        np.testing.assert_allclose(waves[0], expected, atol=1e-3)


def test_gliding_harmonics_do_not_alias():
    """Checks that harmonics crossing half the sample rate add no power between harmonics."""
    f0 = jnp.linspace(500.0, 520.0, 100)[None]
    wave = _synthesis(f0, jnp.full((1, 100, 100), 0.01), hop=HOP, sample_rate=16000, length=100 * HOP)
    power = np.asarray(_power(np.asarray(wave[0])))[0][10:90]
    between = 1.5 * np.asarray(f0[0, 10:90]) / 15.625
    gap = power[np.arange(80), np.round(between).astype(int)] / power.max(axis=1)
    assert gap.max() < 1e-5
    assert np.all(np.isfinite(wave))


def test_synthesis_holds_the_last_frame():
    wave = np.asarray(_synthesis(jnp.full((2, 3), 1000.0), jnp.full((2, 3, 1), 0.5), hop=HOP, sample_rate=16000, length=5000))
    np.testing.assert_allclose(wave[0], 0.5 * np.sin(2 * np.pi * 1000 * np.arange(5000) / 16000), atol=1e-5)
    np.testing.assert_array_equal(wave[0], wave[1])


def test_synthesis_has_gradients_for_amplitude_and_f0():
    def loss(f0, amplitude):
        wave = harmonics.additive_synthesis(f0, amplitude, hop=HOP, sample_rate=16000, length=4 * HOP, group=4)
        return jnp.sum(jnp.square(wave))

    f0, amplitude = jnp.full((1, 5), 440.0), jnp.full((1, 5, 6), 0.1)
    for_f0, for_amplitude = jax.jit(jax.grad(loss, argnums=(0, 1)))(f0, amplitude)
    assert np.all(np.isfinite(for_f0))
    # Energy is quadratic in the amplitudes, so the inner product of gradient and amplitudes is twice the energy.
    np.testing.assert_allclose(jnp.vdot(for_amplitude, amplitude), 2 * loss(f0, amplitude), rtol=1e-4)
