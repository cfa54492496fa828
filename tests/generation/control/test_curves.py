"""Curves: shapes against formulas, files with all that can be wrong with them, and those of sounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.sounds import RATE, noise, sine, times, vibrato
from timbre_jax.generation.control import curves
from timbre_jax.generation.control.curves import Curve, at, from_csv, from_sound, shape, within


def test_shapes_are_their_formulas():
    x = np.arange(0, 4, 0.05)
    sampled = {
        kind: at(shape(kind, "centroid", seconds=4, low=500, high=2000, rate=0.5), rate=20, count=80)[0]
        for kind in curves.SHAPES
    }
    np.testing.assert_allclose(sampled["sine"], 1250 - 750 * np.cos(np.pi * x), atol=1.0)
    up = 1 - np.abs(1 - 2 * ((0.5 * x) % 1))
    np.testing.assert_allclose(sampled["line"], 500 + 1500 * up, atol=1.0)
    np.testing.assert_allclose(sampled["exponential"], 500 * 4**up, rtol=1e-3)
    np.testing.assert_allclose(sampled["constant"], 1000.0)  # halfway in ratio


def test_without_a_rate_a_shape_goes_up_once():
    for kind in ("sine", "line", "exponential"):
        values, remarks = at(shape(kind, "loudness", seconds=2, low=-40, high=-10), rate=50, count=100)
        assert values[0] == pytest.approx(-40)
        assert values[-1] == pytest.approx(-10, abs=1.0)
        assert (np.diff(values) >= 0).all()
        assert not remarks


@given(
    low=st.floats(100, 1000), ratio=st.floats(1.01, 10), rate=st.floats(0, 5), seconds=st.floats(0.05, 8),
    kind=st.sampled_from(curves.SHAPES), phase=st.floats(0, 1),
)  # fmt: skip
def test_a_shape_stays_between_its_ends(low, ratio, rate, seconds, kind, phase):
    made = shape(kind, "centroid", seconds=seconds, low=low, high=low * ratio, rate=rate, phase=phase)
    assert made.values.min() >= low * (1 - 1e-6)
    assert made.values.max() <= low * ratio * (1 + 1e-6)
    assert made.seconds == pytest.approx(seconds)


def test_a_shorter_curve_is_held_and_a_longer_one_cut_and_both_are_said():
    made = Curve("centroid", np.array([0.5, 1.0]), np.array([500.0, 1000.0]))
    values, remarks = at(made, rate=10, count=20)
    np.testing.assert_allclose(values[:6], 500.0)
    np.testing.assert_allclose(values[10:], 1000.0)
    assert values[7] == pytest.approx(700.0)
    assert len(remarks) == 2
    assert "ends at 1.00 s and the sound at 2.00 s: its last value is held" in remarks[0]
    assert "begins at 0.50 s" in remarks[1]
    values, remarks = at(made, rate=10, count=7)
    assert "lasts 1.00 s and the sound 0.70 s" in remarks[0]
    assert len(values) == 7
    assert at(Curve("centroid", np.zeros(1), np.array([700.0])), rate=10, count=1)[0].tolist() == [700.0]


def test_out_of_reach_is_clipped_and_said():
    values, remarks = within(np.array([100.0, 500.0, 900.0, 2000.0]), 200.0, 1000.0, name="centroid", unit="Hz")
    assert values.tolist() == [200.0, 500.0, 900.0, 1000.0]
    (remark,) = remarks
    assert remark.startswith(
        "centroid: 50 % of the target (100 to 2000 Hz) lies outside what this space reaches (200 to 1000 Hz)"
    )
    assert within(values, 200.0, 1000.0, name="centroid", unit="Hz")[1] == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("\n\n# only words\n", "empty"),
        ("time,value\n", "empty"),
        ("0,500\n1,nan\n", "line 2: the value is nan"),
        ("0,500\n1,inf\n", "line 2: the value is inf"),
        ("0,500\n1,\n", "line 2: the value '' is no number"),
        ("0,500\n1,loud\n", "line 2: the value 'loud' is no number"),
        ("0,500\n2,600\n1,700\n", "line 3: the time 1 s does not come after 2 s: sort"),
        ("0,500\n0,600\n", "line 2: the time 0 s does not come after 0 s"),
        ("-1,500\n", "line 1: the time -1 s lies before the beginning"),
        ("0,500,3\n", "line 1: 3 columns"),
        ("0\n", "line 1: 1 columns"),
        ("0,500\n1,-5\n", "centroid -5 at 1 s: more than 0"),
        (b"\xff\xfe\x00\x81", "no text"),
    ],
)
def test_a_csv_that_is_no_curve_says_why_in_one_line(tmp_path, text, says):
    path = tmp_path / "curve.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"curve\.csv") as caught:
        from_csv(path, "centroid")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_csv_is_read_with_and_without_a_heading(tmp_path):
    path = tmp_path / "curve.csv"
    path.write_bytes(b"\xef\xbb\xbftime,value\r\n0, 500\r\n\r\n# half\r\n0.5,1e3\r\n")
    made = from_csv(path, "centroid")
    assert made.times.tolist() == [0.0, 0.5]
    assert made.values.tolist() == [500.0, 1000.0]
    assert from_csv(path, "loudness").unit == "dB"
    with pytest.raises(ValueError, match="cannot be read"):
        from_csv(tmp_path / "none.csv", "centroid")
    with pytest.raises(ValueError, match="no descriptor 'pitch'"):
        from_csv(path, "pitch")


def test_the_curve_of_a_sound_is_scaled_into_the_range():
    length = 16000
    f0 = vibrato(600.0, cents=300, rate_hz=3.0, length=length)
    wave = (0.3 * np.sin(2 * np.pi * np.cumsum(f0) / RATE)).astype(np.float32)
    own = from_sound(wave, "centroid", sample_rate=RATE, n_fft=1024, smooth_seconds=0)
    values, _ = at(own, rate=100, count=90)
    np.testing.assert_allclose(values[10:80], np.interp(np.arange(90) / 100, times(length), f0)[10:80], rtol=0.05)
    scaled = from_sound(wave, "centroid", sample_rate=RATE, n_fft=1024, low=1000.0, high=3000.0)
    assert scaled.values.min() >= 1000.0 - 1e-6
    assert scaled.values.max() <= 3000.0 + 1e-6
    assert np.corrcoef(np.log(at(scaled, rate=100, count=90)[0]), np.log(values))[0, 1] > 0.97
    steady = from_sound(sine(440.0, 0.3, length=length), "f0", sample_rate=RATE, n_fft=1024, low=100.0, high=400.0)
    assert 100.0 <= np.median(steady.values) <= 400.0


def test_sounds_without_the_descriptor_say_so():
    with pytest.raises(ValueError, match="no frame with a centroid: it is silent"):
        from_sound(np.zeros(8000), "centroid", sample_rate=RATE)
    with pytest.raises(ValueError, match="no frame with a f0: it is silent or noise"):
        from_sound(noise(length=8000), "f0", sample_rate=RATE)
    one = from_sound(np.full(1, 0.5), "centroid", sample_rate=RATE, low=500.0, high=2000.0)  # one frame
    np.testing.assert_allclose(one.values, 1000.0)
