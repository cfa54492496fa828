"""Tests of target curves from shapes, CSV files and sounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.sounds import RATE, noise, sine, times, vibrato
from timbre_jax.generation.control import curves
from timbre_jax.generation.control.curves import Curve, clip_to_range, make_curve, measure_curve, read_curve, sample_curve


def test_shapes_follow_their_formulas():
    x = np.arange(0, 4, 0.05)
    sampled = {
        kind: sample_curve(make_curve(kind, "centroid", seconds=4, low=500, high=2000, rate=0.5), rate=20, count=80)[0]
        for kind in curves.SHAPES
    }
    np.testing.assert_allclose(sampled["sine"], 1250 - 750 * np.cos(np.pi * x), atol=1.0)
    triangle = 1 - np.abs(1 - 2 * ((0.5 * x) % 1))
    np.testing.assert_allclose(sampled["line"], 500 + 1500 * triangle, atol=1.0)
    np.testing.assert_allclose(sampled["exponential"], 500 * 4**triangle, rtol=1e-3)
    np.testing.assert_allclose(sampled["constant"], 1000.0)  # geometric mean


def test_a_shape_without_a_rate_rises_once():
    for kind in ("sine", "line", "exponential"):
        values, remarks = sample_curve(make_curve(kind, "loudness", seconds=2, low=-40, high=-10), rate=50, count=100)
        assert values[0] == pytest.approx(-40)
        assert values[-1] == pytest.approx(-10, abs=1.0)
        assert (np.diff(values) >= 0).all()
        assert not remarks


@given(
    low=st.floats(100, 1000), ratio=st.floats(1.01, 10), rate=st.floats(0, 5), seconds=st.floats(0.05, 8),
    kind=st.sampled_from(curves.SHAPES), phase=st.floats(0, 1),
)  # fmt: skip
def test_a_shape_stays_between_low_and_high(low, ratio, rate, seconds, kind, phase):
    curve = make_curve(kind, "centroid", seconds=seconds, low=low, high=low * ratio, rate=rate, phase=phase)
    assert curve.values.min() >= low * (1 - 1e-6)
    assert curve.values.max() <= low * ratio * (1 + 1e-6)
    assert curve.seconds == pytest.approx(seconds)


def test_short_curves_are_held_and_long_curves_cut_with_remarks():
    curve = Curve("centroid", np.array([0.5, 1.0]), np.array([500.0, 1000.0]))
    values, remarks = sample_curve(curve, rate=10, count=20)
    np.testing.assert_allclose(values[:6], 500.0)
    np.testing.assert_allclose(values[10:], 1000.0)
    assert values[7] == pytest.approx(700.0)
    assert len(remarks) == 2
    assert "ends at 1.00 s and the sound at 2.00 s: its last value is held" in remarks[0]
    assert "begins at 0.50 s" in remarks[1]
    values, remarks = sample_curve(curve, rate=10, count=7)
    assert "lasts 1.00 s and the sound 0.70 s" in remarks[0]
    assert len(values) == 7
    assert sample_curve(Curve("centroid", np.zeros(1), np.array([700.0])), rate=10, count=1)[0].tolist() == [700.0]


def test_values_outside_the_range_are_clipped_with_a_remark():
    values, remarks = clip_to_range(np.array([100.0, 500.0, 900.0, 2000.0]), 200.0, 1000.0, name="centroid", unit="Hz")
    assert values.tolist() == [200.0, 500.0, 900.0, 1000.0]
    (remark,) = remarks
    assert remark.startswith(
        "centroid: 50 % of the target (100 to 2000 Hz) are outside the range of this space (200 to 1000 Hz)"
    )
    assert clip_to_range(values, 200.0, 1000.0, name="centroid", unit="Hz")[1] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("\n\n# only words\n", "empty"),
        ("time,value\n", "empty"),
        ("0,500\n1,nan\n", "line 2: the value is nan"),
        ("0,500\n1,inf\n", "line 2: the value is inf"),
        ("0,500\n1,\n", "line 2: the value must be a number (got '')"),
        ("0,500\n1,loud\n", "line 2: the value must be a number (got 'loud')"),
        ("0,500\n2,600\n1,700\n", "line 3: the time 1 s must be after 2 s; sort"),
        ("0,500\n0,600\n", "line 2: the time 0 s must be after 0 s"),
        ("-1,500\n", "line 1: the time must not be negative (got -1 s)"),
        ("0,500,3\n", "line 1: expected 2 columns, time and value (got 3)"),
        ("0\n", "line 1: expected 2 columns, time and value (got 1)"),
        ("0,500\n1,-5\n", "centroid must be above 0 (got -5 at 1 s)"),
        (b"\xff\xfe\x00\x81", "must be a text file"),
    ],
)
def test_a_wrong_csv_is_refused_with_one_line(tmp_path, text, message):
    path = tmp_path / "curve.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"curve\.csv") as caught:
        read_curve(path, "centroid")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_csv_is_read_with_a_header_and_comments(tmp_path):
    path = tmp_path / "curve.csv"
    path.write_bytes(b"\xef\xbb\xbftime,value\r\n0, 500\r\n\r\n# half\r\n0.5,1e3\r\n")
    curve = read_curve(path, "centroid")
    assert curve.times.tolist() == [0.0, 0.5]
    assert curve.values.tolist() == [500.0, 1000.0]
    assert read_curve(path, "loudness").unit == "dB"
    with pytest.raises(ValueError, match="cannot be read"):
        read_curve(tmp_path / "none.csv", "centroid")
    with pytest.raises(ValueError, match="descriptor='pitch': must be one of"):
        read_curve(path, "pitch")


def test_the_curve_of_a_sound_is_scaled_into_a_range():
    length = 16000
    f0 = vibrato(600.0, cents=300, rate_hz=3.0, length=length)
    wave = (0.3 * np.sin(2 * np.pi * np.cumsum(f0) / RATE)).astype(np.float32)
    own = measure_curve(wave, "centroid", sample_rate=RATE, n_fft=1024, smooth_seconds=0)
    values, _ = sample_curve(own, rate=100, count=90)
    np.testing.assert_allclose(values[10:80], np.interp(np.arange(90) / 100, times(length), f0)[10:80], rtol=0.05)
    scaled = measure_curve(wave, "centroid", sample_rate=RATE, n_fft=1024, low=1000.0, high=3000.0)
    assert scaled.values.min() >= 1000.0 - 1e-6
    assert scaled.values.max() <= 3000.0 + 1e-6
    assert np.corrcoef(np.log(sample_curve(scaled, rate=100, count=90)[0]), np.log(values))[0, 1] > 0.97
    steady = measure_curve(sine(440.0, 0.3, length=length), "f0", sample_rate=RATE, n_fft=1024, low=100.0, high=400.0)
    assert 100.0 <= np.median(steady.values) <= 400.0


def test_sounds_without_the_descriptor_are_refused():
    with pytest.raises(ValueError, match="centroid: no frame of the sound has one, because it is silent; use another sound"):
        measure_curve(np.zeros(8000), "centroid", sample_rate=RATE)
    with pytest.raises(ValueError, match="f0: no frame of the sound has one, because it is silent or noise; use another sound"):
        measure_curve(noise(length=8000), "f0", sample_rate=RATE)
    one = measure_curve(np.full(1, 0.5), "centroid", sample_rate=RATE, low=500.0, high=2000.0)  # one frame
    np.testing.assert_allclose(one.values, 1000.0)
