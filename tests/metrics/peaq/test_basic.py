"""Tests of PEAQ Basic against values of two public programs, and of its properties."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.helpers.sounds import harmonic_tone, noise
from timbre_jax.metrics.peaq import PEAQ_PRESETS, peaq_basic, peaq_definition
from timbre_jax.metrics.peaq.ear_model import FULL_SCALE, bands, cut_frames, ear_model, spread
from timbre_jax.metrics.peaq.variables import VARIABLES

ROOT = os.environ.get("TIMBRE_TEST_DATA")
RECORDED = pytest.mark.skipif(
    not ROOT or not (Path(ROOT) / "peaq" / "golden.json").is_file(),
    reason="no recorded PEAQ values: set TIMBRE_TEST_DATA to the folder that contains peaq/golden.json",
)
# Absolute tolerances, about a hundredth of the range of a variable in the training of the network.
FLOORS = {"ADBB": 0.03, "EHSB": 0.02, "WinModDiff1B": 0.1, "AvgModDiff1B": 0.1, "AvgModDiff2B": 1.0, "RmsNoiseLoudB": 0.02,
          "TotalNMRB": 0.2, "MFPDB": 0.01, "RelDistFramesB": 0.01, "BandwidthRefB": 1.0, "BandwidthTestB": 1.0}  # fmt: skip


@pytest.fixture(scope="module")
def recorded():
    """Returns names, recorded values, and the 36 pairs as [36, T] each."""
    folder = Path(ROOT) / "peaq"
    golden = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
    waves = [np.stack([soundfile.read(folder / f"{name}.{kind}.flac")[0] for name in golden]) for kind in ("ref", "test")]
    return list(golden), golden, *waves


@RECORDED
def test_grades_and_variables_equal_pqevalaudio(recorded):
    names, golden, reference, test = recorded
    result = peaq_basic(reference, test, 48000)
    expected = np.array([golden[name]["PQevalAudio"]["odg"] for name in names])
    error = np.abs(result.odg - expected)
    print(f"ODG: {np.sum(error <= 0.15)} of {len(error)} within 0.15, mean error {error.mean():.4f}, largest {error.max():.4f}")
    assert len(names) == 36
    assert np.sum(error <= 0.15) == 36
    assert error.mean() < 0.002
    assert error.max() < 0.01
    np.testing.assert_allclose(result.di, [golden[name]["PQevalAudio"]["di"] for name in names], atol=0.02)
    for variable in VARIABLES:
        theirs = np.array(
            [golden[n]["PQevalAudio"]["movs"]["Total NMRB" if variable == "TotalNMRB" else variable] for n in names]
        )
        np.testing.assert_allclose(result.movs[variable], theirs, rtol=0.05, atol=FLOORS[variable], err_msg=variable)


@RECORDED
def test_the_preset_gstpeaq_equals_gstpeaq(recorded):
    names, golden, reference, test = recorded
    chosen = [i for i, name in enumerate(names) if golden[name]["GstPEAQ"]["odg"] is not None]
    result = peaq_basic(reference[chosen], test[chosen], 48000, preset="gstpeaq")
    error = np.abs(result.odg - [golden[names[i]]["GstPEAQ"]["odg"] for i in chosen])
    # GstPEAQ counts the frames of a row of clicks with silence between them differently (-3.2 instead of -1.7).
    assert np.sum(error < 0.06) == len(chosen) - 1
    assert np.median(error) < 0.005
    # Two of its nan grades have other reasons than an undefined bandwidth.
    others = ("nsynth_guitar_acoustic_014_102_025", "sonicpi_bd_808")
    undefined = [i for i, name in enumerate(names) if golden[name]["GstPEAQ"]["odg"] is None and name not in others][::4]
    result = peaq_basic(reference[undefined], test[undefined], 48000, preset="gstpeaq")
    assert np.isnan(result.odg).all()


def test_grade_falls_with_the_level_of_noise():
    tone = harmonic_tone(440.0, [0.3, 0.2, 0.1], length=48000, rate=48000)
    levels = [0.0, 1e-4, 1e-3, 1e-2, 1e-1]
    tests = np.stack([tone + noise(level, length=48000) for level in levels])
    result = peaq_basic(np.repeat(tone[None], len(levels), 0), tests, 48000)
    assert result.odg[0] > 0.1
    assert (np.diff(result.odg) < 0).all()
    assert result.odg[-1] < -3.5
    assert (result.movs["ADBB"][0], result.movs["RmsNoiseLoudB"][0], result.movs["MFPDB"][0]) == (0.0, 0.0, 0.0)


def test_bandwidth_policy_changes_grade_and_definition():
    tone = harmonic_tone(300.0, [0.3, 0.2], length=16000, rate=16000) * np.hanning(16000)
    pair = tone[None], (tone + noise(0.003, length=16000))[None]
    grades = {policy: peaq_basic(*pair, 16000, undefined_bandwidth=policy) for policy in ("zero", "drop", "nan")}
    assert all(result.bandwidth_frames[0] == 0 for result in grades.values())
    assert np.isfinite(grades["zero"].odg).all()
    assert np.isfinite(grades["drop"].odg).all()
    assert np.isnan(grades["nan"].odg).all()
    assert grades["zero"].odg[0] != grades["drop"].odg[0]
    assert len({peaq_definition(undefined_bandwidth=policy) for policy in grades}) == 3
    thesis = peaq_basic(*pair, 16000, preset="rebnord2022", undefined_bandwidth="zero")
    assert thesis.frames[0] > 1.9 * grades["zero"].frames[0]
    assert "repeated once" in peaq_definition("rebnord2022")
    assert set(PEAQ_PRESETS) == {"pqevalaudio", "gstpeaq", "rebnord2022"}


def test_grades_of_silence_clicks_and_short_sounds_are_finite():
    click = np.zeros((5, 4000), np.float32)
    click[1, 100] = 0.9
    click[2, :128] = noise(0.3, length=128)
    click[3, 3990:] = 0.5
    tests = np.roll(click, 1, axis=0)
    result = peaq_basic(click, tests, 16000)
    assert np.isfinite(result.odg).all()
    assert all(np.isfinite(values).all() for values in result.movs.values())
    assert (result.frames >= 1).all()
    short = peaq_basic(click[2:3, :3], click[2:3, :3], 16000)
    assert np.isfinite(short.odg).all()


def test_grade_does_not_depend_on_batch_or_trailing_silence():
    tone = harmonic_tone(220.0, [0.3, 0.1], length=24000, rate=48000)
    other = noise(0.1, length=24000)
    pairs = np.stack([tone, other]), np.stack([tone + noise(0.01, length=24000), other * 0.7])
    together = peaq_basic(*pairs, 48000)
    for i in range(2):
        padded = [np.pad(x[i : i + 1], ((0, 0), (0, 30000))) for x in pairs]
        alone = peaq_basic(*padded, 48000)
        assert alone.frames[0] == together.frames[i]
        np.testing.assert_allclose(alone.odg[0], together.odg[i], rtol=1e-9)


def test_ear_model_calibration_and_bands_equal_the_standard():
    lower, center, upper = bands()
    assert len(center) == 109
    np.testing.assert_allclose(
        [lower[0], center[0], upper[0], center[54], upper[-1]], [80.0, 91.708, 103.445, 2532.456, 18000.0], atol=1e-3
    )
    sine = FULL_SCALE * np.sin(2 * np.pi * 1019.5 / 48000 * np.arange(4096))
    power = ear_model(cut_frames(sine[None, None].repeat(2, 0), 1)).power[0, 0, 0]
    assert 10 * np.log10(power.max()) == pytest.approx(92.0, abs=0.05)
    np.testing.assert_allclose(spread(np.ones(109)), 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": np.zeros((1, 5))}, "one shape"),
        ({"reference": np.full((1, 4), np.nan)}, "must be finite"),
        ({"preset": "best"}, "peaq='best': must be one of"),
        ({"undefined_bandwidth": "maybe"}, "undefined_bandwidth=maybe: must be one of"),
    ],
)
def test_wrong_input_is_rejected(change, message):
    arguments = {"reference": np.zeros((1, 4)), "test": np.zeros((1, 4)), "sample_rate": 48000, **change}
    with pytest.raises(ValueError, match=message):
        peaq_basic(**arguments)
