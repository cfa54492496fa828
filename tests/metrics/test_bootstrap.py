"""Tests of intervals over groups against formulas and explicit resampling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timbre_jax.metrics.bootstrap import correlation_interval, mean_interval, ratio_interval, resampled_counts


def test_width_equals_normal_approximation():
    values = np.random.default_rng(0).standard_normal(400) * 3 + 5
    interval = mean_interval(values, resamples=4000)
    assert interval.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / np.sqrt(400)
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.08)


def test_interval_equals_explicit_resampling_of_groups():
    generator = np.random.default_rng(1)
    groups = np.array(["a", "b", "b", "c", "c", "c", "d"])
    values = generator.standard_normal((7, 3))
    interval = mean_interval(values, groups, resamples=300, seed=5)
    counts = resampled_counts(4, resamples=300, seed=5)
    means = []
    for drawn in counts:
        items = np.concatenate([np.repeat(values[groups == name], n, axis=0) for name, n in zip("abcd", drawn, strict=True)])
        means.append(items.mean(0))
    np.testing.assert_allclose(interval.low, np.percentile(means, 2.5, axis=0))
    np.testing.assert_allclose(interval.high, np.percentile(means, 97.5, axis=0))


def test_repeated_notes_do_not_narrow_the_interval():
    values = np.random.default_rng(2).standard_normal(12)
    once = mean_interval(values, np.arange(12))
    many = mean_interval(np.repeat(values, 50), np.repeat(np.arange(12), 50))
    assert (many.low, many.high) == pytest.approx((once.low, once.high))
    pretended = mean_interval(np.repeat(values, 50))
    assert pretended.high - pretended.low < 0.3 * (once.high - once.low)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=12), st.floats(0.1, 10), st.floats(-10, 10))
def test_interval_is_equivariant_to_scale_and_offset(values, scale, offset):
    values = np.array(values)
    plain, moved = mean_interval(values, resamples=200), mean_interval(scale * values + offset, resamples=200)
    expected = [scale * x + offset for x in (plain.value, plain.low, plain.high)]
    np.testing.assert_allclose([moved.value, moved.low, moved.high], expected, rtol=1e-6, atol=1e-5)


def test_one_group_has_no_interval_and_bad_values_are_rejected():
    interval = mean_interval([1.0, 2.0], ["x", "x"])
    assert interval.value == 1.5
    assert np.isnan(interval.low)
    assert np.isnan(interval.high)
    with pytest.raises(ValueError, match="1 of 2 are not finite"):
        mean_interval([1.0, np.nan])
    with pytest.raises(ValueError, match="at least one item"):
        mean_interval([])
    with pytest.raises(ValueError, match=r"must be \[2\]"):
        mean_interval([1.0, 2.0], ["x"])


def test_correlation_equals_that_of_numpy_on_every_resample():
    generator = np.random.default_rng(3)
    x = generator.standard_normal((40, 2))
    y = np.stack([x[:, 0] + generator.standard_normal(40), generator.standard_normal(40)], axis=1)
    groups = np.arange(40) % 8
    interval = correlation_interval(x, y, groups, resamples=100, seed=4)
    np.testing.assert_allclose(interval.value, np.corrcoef(x.T, y.T)[:2, 2:], atol=1e-12)
    samples = []
    for drawn in resampled_counts(8, resamples=100, seed=4):
        rows = np.concatenate([np.repeat(np.flatnonzero(groups == g), n) for g, n in enumerate(drawn)])
        samples.append(np.corrcoef(x[rows].T, y[rows].T)[:2, 2:])
    np.testing.assert_allclose(interval.low, np.percentile(samples, 2.5, axis=0), atol=1e-9)
    np.testing.assert_allclose(interval.high, np.percentile(samples, 97.5, axis=0), atol=1e-9)


def test_correlation_of_a_constant_is_nan():
    interval = correlation_interval(np.array([[1.0, 1.0], [2.0, 1.0], [3.0, 1.0]]), np.array([[1.0], [2.0], [4.0]]))
    assert interval.value[0, 0] > 0.9
    assert np.isnan([interval.value[1, 0], interval.low[1, 0], interval.high[1, 0]]).all()


def test_ratio_of_proportional_values_has_no_spread():
    generator = np.random.default_rng(6)
    reference = np.exp(generator.standard_normal(60))
    interval = ratio_interval(0.5 * reference, reference, np.arange(60) % 10)
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match="same items"):
        ratio_interval(reference, reference[1:])
