"""The benchmark command, and that its two sides compute the same thing."""

import numpy as np
import pytest

from experiments import benchmark
from experiments.benchmarks import harmonic_features
from tests.helpers import sounds
from timbre_jax.representation import HarmonicTracks


def test_both_sides_find_the_same_features():
    wave = sounds.harmonic_tone(330.0, 0.3 / np.arange(1.0, 8.0), phases=np.arange(7.0))
    their_f0, their_db = harmonic_features.librosa_features(wave)
    tracks = HarmonicTracks().track(wave[None])
    held = slice(10, 360)
    assert their_f0.shape == (372,)
    assert their_db.shape == (372, 7)
    assert np.abs(sounds.cents(their_f0[held], tracks.f0[0, held])).max() < 10.0
    np.testing.assert_allclose(their_db[held], tracks.amplitude_db[0, held], atol=0.2)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="harmonic_features"):
        benchmark.run_benchmarks(["harmonics"])


def test_table_shows_every_row():
    row = {"name": "a/b", "ours": 314.15, "theirs": 100.0, "ratio": 3.1415, "unit": "notes/s"}
    text = benchmark.format_table([row, {**row, "name": "c", "theirs": None, "ratio": None}])
    assert text.splitlines()[1].split() == ["a/b", "314.1", "100", "3.14", "notes/s"]
    assert len(text.splitlines()) == 3
