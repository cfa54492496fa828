"""Tests of the study of long sounds."""

from __future__ import annotations

import json

import pytest

from experiments.studies.long_audio import LongAudio, measure_long
from timbre_jax.audio.io import read_wave

pytestmark = pytest.mark.xdist_group("small_analysis")


def test_parts_equal_the_whole(continuous_run, small_store, tmp_path):
    table = measure_long(LongAudio(continuous_run, str(tmp_path), minutes=0.1, part=64))
    values = dict(table.rows)
    assert values["minutes"] == pytest.approx(0.1)
    assert values["features_differ"] < 1e-3
    assert values["latents_differ"] < 1e-3
    assert values["peak_memory_mb"] > 50
    wave, rate = read_wave(tmp_path / "audio" / "long.wav")
    assert 6.0 * rate <= len(wave) < 6.0 * rate + 1024  # whole frames
    assert json.loads((tmp_path / "results.json").read_text())
    assert (tmp_path / "long.csv").is_file()
