"""Tests of the studies of interpolation and timbre transfer."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.studies import interpolation
from experiments.studies.interpolation import Interpolation, deviation, measure_interpolation, monotonicity, overshoot
from experiments.studies.timbre_transfer import TimbreTransfer, choose_sounds, lag_ms, measure_conversion
from tests.helpers.sounds import noise
from timbre_jax.audio.io import write_wave
from timbre_jax.metrics.table import read_results

pytestmark = pytest.mark.xdist_group("small_analysis")


def test_straight_line_is_monotonic_without_overshoot_or_deviation():
    line = np.linspace(200.0, 900.0, 11)
    assert monotonicity(line) == monotonicity(line[::-1]) == pytest.approx(1.0)
    assert (overshoot(line), deviation(line)) == (0.0, pytest.approx(0.0, abs=1e-9))
    bump = line.copy()
    bump[5] = 990.0
    assert overshoot(bump) == pytest.approx(10.0)
    assert deviation(bump) == pytest.approx(100 * (990 - 550) / 700)
    assert monotonicity(bump) < 1.0
    assert monotonicity(np.full(11, 3.0)) == 0.0


def test_lag_is_the_delay_of_the_level_curve():
    envelope = np.exp(-0.5 * np.square((np.arange(16000) - 8000) / 600.0))
    wave = (noise(length=16000) * envelope).astype(np.float32)
    late = np.concatenate([np.zeros(320, np.float32), wave[:-320]])
    assert lag_ms(wave, wave, 16000) == 0.0
    assert lag_ms(late, wave, 16000) == pytest.approx(20.0, abs=2.1)
    assert lag_ms(wave, late, 16000) == pytest.approx(-20.0, abs=2.1)


def test_audible_sounds_are_drawn_from_folders_and_stores(small_store, tmp_path):
    write_wave(tmp_path / "a.wav", noise(length=8000), 16000)
    write_wave(tmp_path / "b.wav", np.zeros(8000, np.float32), 16000)
    (tmp_path / "c.wav").write_text("no sound")
    drawn = choose_sounds([tmp_path, small_store], 5, 8000)
    assert [source for source, _, _ in drawn] == [tmp_path.name] + ["store"] * 2
    assert [len(wave) for _, _, wave in drawn] == [4000, 32000, 32000]
    (tmp_path / "a.wav").unlink()
    with pytest.raises(ValueError, match="no audible sound"):
        choose_sounds([tmp_path], 5, 8000)


@pytest.mark.slow
def test_both_studies_write_their_tables(continuous_run, discrete_run, pca_run, small_store, tmp_path, monkeypatch):
    summary = measure_conversion(TimbreTransfer(discrete_run, tmp_path / "c", sounds=(small_store,), number=3, progress=False))
    assert summary.column("enough")[0] == 3
    rows = {row.name: row.value for row in read_results(tmp_path / "c" / "results.json")}
    assert rows["conversion/matched/all/correlation"] >= rows["conversion/decoder/all/correlation"] - 0.02
    assert len(list((tmp_path / "c" / "audio").glob("*.wav"))) == 9
    with pytest.raises(ValueError, match="needs a series space"):
        measure_conversion(TimbreTransfer(pca_run, tmp_path / "d", sounds=(small_store,), progress=False))
    with pytest.raises(ValueError, match="needs a discrete space"):
        measure_interpolation(Interpolation(continuous_run, tmp_path / "e", mixed_by="codes", progress=False))
    for mixed_by in ("vectors", "codes"):
        # An untrained network decodes all sounds to nearly the same brightness.
        monkeypatch.setattr(interpolation, "LEAST_DIFFERENCE", 0.0)
        table = measure_interpolation(
            Interpolation(discrete_run, tmp_path / mixed_by, pairs=4, mixed_by=mixed_by, progress=False)
        )
        assert len(table.rows) == 5
        assert (tmp_path / mixed_by / "figure.png").is_file()
