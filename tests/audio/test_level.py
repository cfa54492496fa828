"""Tests of levels on known sounds."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.helpers import sounds
from timbre_jax.audio import level


def test_decibel_conversions_are_inverse_above_the_floor():
    amplitude = jnp.asarray([1.0, 0.5, 1e-3, 1e-7, 0.0])
    db = level.amplitude_to_db(amplitude)
    np.testing.assert_allclose(db, [0.0, -6.0206, -60.0, -100.0, -100.0], atol=1e-4)
    np.testing.assert_allclose(level.db_to_amplitude(db, floor_db=-100.0), [1.0, 0.5, 1e-3, 0.0, 0.0], rtol=1e-5)


def test_rms_of_a_sine_is_amplitude_over_sqrt_2():
    np.testing.assert_allclose(level.rms(jnp.asarray(sounds.sine(100.0, 0.5))[None]), [0.5 / np.sqrt(2)], rtol=1e-5)


def test_frame_level_follows_a_step_of_20_db():
    wave = sounds.noise(0.1, length=17200)
    wave[8600:] *= 0.1
    levels = np.asarray(level.frame_level(jnp.asarray(wave)[None], hop=172))[0]
    assert levels.shape == (101,)
    np.testing.assert_allclose(levels[5:45].mean(), -20.0, atol=0.3)
    np.testing.assert_allclose(levels[55:95].mean(), -40.0, atol=0.3)
    # The definition on one frame, without block sums.
    expected = 10 * np.log10(np.mean(np.square(wave[30 * 172 - 344 : 30 * 172 + 344].astype(np.float64))))
    np.testing.assert_allclose(levels[30], expected, atol=1e-4)
    assert np.all(np.asarray(level.frame_level(jnp.zeros((1, 1720)), hop=172)) == -100.0)


def test_gradients_are_finite_for_silence():
    wave = jnp.concatenate([jnp.zeros((1, 512)), jnp.full((1, 512), 0.5)], axis=1)
    for measure in (level.rms, lambda x: level.frame_level(x, hop=64)):
        gradient = jax.grad(lambda x, measure=measure: jnp.sum(measure(x)))(wave)
        assert np.all(np.isfinite(gradient))
        assert np.abs(gradient).max() > 0
    assert float(level.rms(jnp.zeros((1, 8)))[0]) == 0.0
    assert np.isnan(level.rms(jnp.full((1, 8), jnp.nan))[0])
