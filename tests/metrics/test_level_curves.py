"""Tests of level curves against `frame_level`, and of their correlation."""

import functools

import jax
import numpy as np
import pytest

from timbre_jax.audio.level import frame_level
from timbre_jax.metrics.level_curves import curve_correlation, level_correlation, level_curve


@pytest.mark.parametrize("samples", [1, 256, 5000])
def test_level_curve_equals_frame_level(samples):
    wave = np.random.default_rng(0).normal(0, 0.1, (2, samples)).astype(np.float32)
    levels = jax.jit(functools.partial(frame_level, hop=128))(wave)
    np.testing.assert_allclose(level_curve(wave, hop=128), levels, atol=1e-3)
    assert level_curve(np.zeros(1000)).max() == -100.0


def test_level_correlation_follows_the_envelope():
    generator = np.random.default_rng(1)
    time = np.arange(32000) / 16000
    noise, tone = generator.normal(0, 0.1, 32000), np.sin(2 * np.pi * 440 * time)
    envelope = 10 ** (-1.5 * (0.5 + 0.5 * np.sin(2 * np.pi * 2 * time)))
    assert level_correlation(noise * envelope, 0.01 * tone * envelope) > 0.98
    assert level_correlation(noise * envelope, tone * envelope[::-1]) < 0.9
    assert level_correlation(noise * envelope, tone / envelope) < -0.9
    assert np.isnan(curve_correlation(np.zeros(5), np.arange(5.0)))
    a, b = generator.normal(size=(2, 50))
    assert curve_correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    # The level of silence does not matter.
    assert curve_correlation([0, -10, -100], [0, -10, -60]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="one length"):
        curve_correlation(a, b[:5])
