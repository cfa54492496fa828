"""Tests of the mode "control" with curves from texts, files and sounds."""

from __future__ import annotations

import csv

import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from tests.helpers.codes import code_space
from tests.helpers.series import FRAMES, tilted_space
from tests.helpers.sounds import noise
from timbre_jax.generation.control_modes import control, middle_of_range, parse_curve, parse_range
from timbre_jax.generation.generate import generate
from timbre_jax.generation.settings import Control
from timbre_jax.generation.sound_files import InputSound

pytestmark = pytest.mark.xdist_group("small_analysis")


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    """Returns 0.6 s of stereo noise at 96 kHz that becomes brighter."""
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    wave = noise(length=57600)
    dull = np.convolve(wave, np.ones(24) / 24, "same")
    share = np.linspace(0, 1, len(wave))
    mixed = (1 - share) * dull + share * wave
    soundfile.write(path, np.stack([mixed, 0.5 * mixed], axis=1).astype(np.float32), 96000)
    return path


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_texts_of_curves_and_ranges_are_parsed():
    assert parse_range("800-2500") == (800.0, 2500.0)
    assert parse_range("-40--10") == (-40.0, -10.0)
    assert parse_curve("sine:0.5") == ("sine", 0.5)
    assert parse_curve("line") == ("line", 0.0)
    assert middle_of_range((100.0, 10000.0), 0.5) == pytest.approx((316.2278, 3162.278))
    assert middle_of_range((-60.0, -20.0), 0.5) == pytest.approx((-50.0, -30.0))
    for text in ("800", "2500-800", "a-b", "5-", "nan-3"):
        with pytest.raises(ValueError, match=f"--between={text}: expected LOW-HIGH"):
            parse_range(text)
    for text in ("cosine:1", "sine:fast", "sine:-1", ":2"):
        with pytest.raises(ValueError, match="--curve="):
            parse_curve(text)
    with pytest.raises(ValueError, match="got --curve and --like"):
        Control(curve=("sine:1",), like="a.wav")
    with pytest.raises(ValueError, match="got none"):
        Control()
    with pytest.raises(ValueError, match=r"one for each descriptor \(centroid, rolloff\)"):
        Control(descriptor=("centroid", "rolloff"), curve=("sine:1",))


def test_a_continuous_space_follows_a_curve_and_prints_its_errors(capsys):
    space = tilted_space()
    (sound,) = control(space, [], Control(curve=("sine:4.5",), seconds=FRAMES * 128 / 16000), rounds=2)
    output = capsys.readouterr().out
    assert "centroid: reachable " in output
    assert "median error of the sound" in output
    assert sound.name == "control_000_mean_centroid_sine_4.5.wav"
    assert sound.made_from["start"] == "mean of the training set"
    measured = sound.details["control"]["centroid"]
    low, high = measured["reach"]
    assert 300 < low < high < 8000
    table = sound.tables[sound.details["curves"]]
    np.testing.assert_allclose(table.column("centroid_target"), measured["target"])
    np.testing.assert_allclose(table.column("centroid_achieved"), measured["achieved"])
    assert len(table.rows) == FRAMES
    assert len(sound.wave) == FRAMES * 128
    assert sound.latent.values.shape == (1, FRAMES // 2, 2)
    off = np.abs(np.array(measured["achieved"]) / np.array(measured["target"]) - 1)
    assert measured["median_error"] == pytest.approx(np.median(off))
    assert measured["median_error"] < 0.1
    assert measured["correlation"] > 0.95


@pytest.mark.slow
def test_a_discrete_space_follows_a_voice_from_a_start(discrete_run, voice, tmp_path):
    manifest = generate(discrete_run, tmp_path, Control(like=str(voice), files=[voice]))
    (sound,) = manifest["sounds"]
    target = np.array(sound["control"]["centroid"]["target"])
    assert target[-5:].mean() > target[3:8].mean()  # the voice becomes brighter
    assert sound["made_from"]["start"] == str(voice)
    codes = rows_of(tmp_path / "codes.csv")
    assert len(codes) == 16
    assert {"code", "share", "centroid", "centroid_spread", "flatness"} <= set(codes[0])
    low, high = sound["control"]["centroid"]["reach"]
    assert low <= target.min()
    assert target.max() <= high


@pytest.mark.slow
def test_a_short_curve_outside_the_range_is_held_and_clipped(discrete_run, voice, tmp_path):
    path = tmp_path / "curve.csv"
    path.write_text("time,value\n0,10\n0.2,7000\n")
    manifest = generate(discrete_run, tmp_path / "out", Control(curve_file=[path], files=[voice]))
    remarks = " ".join(manifest["sounds"][0]["remarks"])
    assert "the curve ends at 0.20 s and the sound at 0.61 s: its last value is held" in remarks
    assert "are outside the range of this space" in remarks


def test_silent_and_very_short_starts_do_not_stop_the_others(tmp_path):
    # A silent start is an error in a continuous space; in a discrete space the sound stays silent, with a remark.
    space, bands = tilted_space(), code_space()
    silent = space.replace(variables={"params": {"mean": jnp.zeros(48), "basis": jnp.zeros((2, 48))}})
    start, settings = InputSound(tmp_path / "a.wav", np.zeros(256, np.float32), 256), Control(curve=("constant",))
    (first, _) = control(silent, [start, start], settings, rounds=1)
    assert first.error == "start: is silent, so that nothing can be controlled; use another sound, or none"
    with pytest.raises(ValueError, match="start: is silent"):
        list(control(silent, [start], settings, rounds=1))
    one = InputSound(tmp_path / "b.wav", np.full(1, 0.5, np.float32), 1)
    short, quiet = control(bands, [one, start], settings, rounds=1)
    assert short.latent.values.shape == (1, 1, 1)
    assert np.isfinite(short.wave).all()
    assert short.details["curves"].endswith(".csv")
    assert not quiet.wave.any()
    assert quiet.remarks[-1] == "the sound is silent: nothing can be measured"
    assert quiet.details["control"]["centroid"]["median_error"] is None


def test_wrong_input_is_refused_with_one_line(continuous_run, discrete_run, mean_run, voice, tmp_path):
    nan = tmp_path / "nan.csv"
    nan.write_text("0,500\n1,nan\n")
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(8000, np.float32), 16000)
    cases = [
        (continuous_run, {"curve_file": [nan]}, "nan.csv, line 2: the value is nan"),
        (discrete_run, {"curve_file": [nan]}, "nan.csv, line 2: the value is nan"),
        (discrete_run, {"like": str(silent)}, "silent.wav: centroid: no frame of the sound has one, because it is silent"),
        (discrete_run, {"like": str(tmp_path / "none.wav")}, "none.wav: not a readable sound file"),
        (mean_run, {"curve": ["sine:1"]}, "--mode=control needs a series space (got a static one, one latent per sound)"),
        (continuous_run, {"descriptor": ["f0"], "curve": ["sine:1"]}, "f0: cannot be searched through the decoder"),
        (discrete_run, {"descriptor": ["loudness"], "curve": ["sine:1"]}, "got 'loudness'"),
        (continuous_run, {"descriptor": ["pitch"], "curve": ["sine:1"]}, "descriptor='pitch': must be one of centroid"),
    ]
    for run, options, message in cases:
        with pytest.raises(ValueError) as caught:
            generate(run, tmp_path / "out", Control(**options))
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_constant_curve_has_no_correlation(capsys):
    (sound,) = control(tilted_space(), [], Control(curve=("constant:0",), seconds=FRAMES * 128 / 16000), rounds=2)
    assert sound.name == "control_000_mean_centroid_constant_0.wav"
    assert "median error of the sound" in (output := capsys.readouterr().out)
    assert "nan" not in output
