"""Codes that follow curves, in a space whose codes are known."""

import numpy as np
import pytest

from tests.helpers.codes import HOP, RATE, code_space, frequency, measured_table
from tests.helpers.series import linear_space
from timbre_jax.generation.control.code_control import codes_for_curve, control_codes
from timbre_jax.generation.control.code_table import CodeTable, codes_as_latent
from timbre_jax.generation.control.curves import Curve, shape

CODES = np.arange(32)


@pytest.fixture(scope="module")
def table():
    """As it would be measured without noise."""
    described = {"centroid": frequency(CODES).astype(float), "flatness": np.full(32, 0.1)}
    values = np.log2(frequency(CODES) / 1000)[:, None]
    return CodeTable(CODES, values, described, {name: np.zeros(32) for name in described})


@pytest.fixture(scope="module")
def space():
    return code_space(drag=0.5)


def start_of(space, seconds: float, gain_db=-20.0):
    return codes_as_latent(space, np.zeros((1, round(seconds * RATE / HOP)), int), gain_db=gain_db)


def test_without_smoothness_these_are_the_nearest_codes(table):
    target = np.geomspace(450, 6000, 50)
    chosen = codes_for_curve(table, {"centroid": target}, smoothness=0.0)
    nearest = np.argmin(np.abs(np.log(target[:, None] / frequency(CODES)[None])), axis=1)
    np.testing.assert_array_equal(chosen, nearest)


def test_the_path_is_the_cheapest_of_all(table):
    """Against all ways through three codes in four frames."""
    few = np.array([0, 9, 23])
    small = CodeTable(few, table.values[few], {"centroid": table.described["centroid"][few]}, {})
    target = np.array([900.0, 700.0, 3000.0, 1500.0])
    chosen = codes_for_curve(small, {"centroid": target}, smoothness=20.0)
    unit = 2 * np.var(small.values, axis=0).sum()
    costs = {}
    for way in np.ndindex(3, 3, 3, 3):
        off = np.square(np.log(target / small.described["centroid"][list(way)]) / 0.05).sum()
        costs[way] = off + 20.0 * np.square(np.diff(small.values[list(way), 0])).sum() / unit
    assert tuple(chosen) == min(costs, key=costs.get)


def test_near_a_sound_codes_stay_with_it(table):
    twins = CodeTable(
        np.array([0, 1]), np.array([[0.0], [3.0]]), {"centroid": np.array([1000.0, 1010.0])}, {"centroid": np.zeros(2)}
    )
    target = {"centroid": np.full(5, 1000.0)}
    assert codes_for_curve(twins, target, smoothness=0.0).tolist() == [0] * 5
    assert codes_for_curve(twins, target, near=np.full((5, 1), 3.0), nearness=1.0).tolist() == [1] * 5


def test_correction_on_the_sound_beats_the_nearest_codes(space, table):
    """The decoder draws every frame halfway to the one before: the sound lags, and the correction leads."""
    curve = shape("sine", "centroid", seconds=1.5, low=800, high=3000, rate=2.0)
    plain, rounds, sweeps = (
        control_codes(space, table, [curve], start_of(space, 1.5), near=False, **options).errors()["centroid"]
        for options in ({"rounds": 1, "smoothness": 0.0}, {"sweeps": 0}, {"sweeps": 1})
    )
    assert rounds["mean_error"] < 0.9 * plain["mean_error"]
    assert rounds["median_error"] < 0.12
    assert sweeps["mean_error"] < 0.8 * rounds["mean_error"]
    assert sweeps["correlation"] > 0.97


def test_the_level_of_a_start_is_kept_and_the_length_too(space, table):
    gain = np.linspace(-40, -10, 40)
    start = start_of(space, 40 * HOP / RATE, gain_db=gain[None])
    curve = Curve("centroid", np.array([0.0, 5.0]), np.array([100.0, 9000.0]))
    made = control_codes(space, table, [curve], start, rounds=1)
    np.testing.assert_allclose(made.latent.conditions["gain_db"][0], gain)
    assert made.wave.shape == (40 * HOP,)
    assert made.times[-1] == pytest.approx(39 * HOP / RATE)
    assert [remark.split(":")[0] for remark in made.remarks] == ["centroid", "centroid"]
    assert "the rest is not used" in made.remarks[0]
    assert "clipped" in made.remarks[1]
    assert made.target["centroid"].min() == pytest.approx(made.reach["centroid"][0])
    assert made.table().columns == ("time", "centroid_target", "centroid_achieved", "heard")
    assert len(made.table().rows) == 40


def test_one_frame_and_silence(space, table):
    curve = Curve("centroid", np.zeros(1), np.array([1000.0]))
    made = control_codes(space, table, [curve], start_of(space, HOP / RATE), sweeps=0)
    assert made.latent.values.shape == (1, 1, 1)
    assert np.isfinite(made.wave).all()
    made = control_codes(space, table, [curve], start_of(space, 8 * HOP / RATE, gain_db=-100.0), rounds=2, sweeps=0)
    assert not made.wave.any()
    assert made.remarks[-1] == "the sound is silent: nothing can be measured"
    assert np.isnan(made.errors()["centroid"]["median_error"])


def test_what_cannot_be_asked_for(space, table):
    one, start = Curve("centroid", np.zeros(1), np.array([1000.0])), start_of(space, 0.1)
    with pytest.raises(ValueError, match="needs a space of codes"):
        control_codes(linear_space(), table, [one], start)
    with pytest.raises(ValueError, match="one curve for each descriptor"):
        control_codes(space, table, [one, one], start)
    with pytest.raises(ValueError, match="not described by 'rolloff'"):
        control_codes(space, table, [Curve("rolloff", np.zeros(1), np.array([1000.0]))], start)
    with pytest.raises(ValueError, match=r"one series \[1, M, D\]"):
        control_codes(space, table, [one], codes_as_latent(space, np.zeros((2, 4), int)))


def test_a_measured_table_works_as_the_known_one(space):
    curve = shape("line", "centroid", seconds=1.0, low=700, high=2500, rate=1.0)
    made = control_codes(space, measured_table(), [curve], start_of(space, 1.0), near=False, rounds=4, sweeps=0)
    assert made.errors()["centroid"]["correlation"] > 0.95
