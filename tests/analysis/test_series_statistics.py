"""Tests of statistics of latent movement on known series."""

import numpy as np
import pytest

from timbre_jax.analysis.series_statistics import series_statistics
from timbre_jax.types import Latent


def test_statistics_equal_known_values_of_series():
    rate, count = 50.0, 4000
    generator = np.random.default_rng(0)
    phi = 0.9
    walk = np.zeros(count)
    for n in range(1, count):
        walk[n] = phi * walk[n - 1] + generator.standard_normal()
    ramp = np.arange(count) / rate
    values = np.stack([walk, ramp, np.full(count, 2.0), generator.standard_normal(count)], axis=1)[None]
    result = series_statistics(Latent(values=values.astype(np.float32), rate=rate))
    np.testing.assert_allclose(result.mean, values[0].mean(0), rtol=1e-4)
    np.testing.assert_allclose(result.deviation, values[0].std(0), rtol=1e-4)
    assert result.lag_one[0] == pytest.approx(phi, abs=0.03)
    assert result.memory[0] == pytest.approx(-1 / np.log(phi) / rate, rel=0.25)
    assert result.speed[1] == pytest.approx(1.0 / ramp.std(), rel=1e-3)
    assert np.isnan(result.lag_one[2])
    assert result.speed[2] == 0.0
    assert abs(result.lag_one[3]) < 0.05
    np.testing.assert_allclose(result.within[[0, 1, 3]], 1.0)
    assert len(result.table().rows) == 4
    assert (result.frames, result.sounds) == (count, 1)


def test_padding_is_ignored_and_constant_sounds_have_no_variance_within():
    values = np.zeros((3, 8, 1), np.float32)
    values[0], values[1], values[2] = 1.0, -1.0, 0.0
    values[:, 5:] = 99.0
    mask = np.ones((3, 8), np.float32)
    mask[:, 5:] = 0
    result = series_statistics(Latent(values=values, mask=mask, rate=10.0))
    assert result.frames == 15
    assert result.within[0] == 0.0
    assert result.speed[0] == 0.0
    assert np.isnan(result.memory[0])
    one = series_statistics(Latent(values=values[:, :1], rate=10.0))
    assert np.isnan(one.lag_one[0])
    for broken, message in (
        (Latent(values=values[0], rate=1.0), r"\[B, M, D\]"),
        (Latent(values=values), "no rate"),
        (Latent(values=np.full((1, 2, 1), np.nan), rate=1.0), "not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            series_statistics(broken)
