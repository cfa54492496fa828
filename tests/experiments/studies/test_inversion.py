"""The table of inversions: its sounds, its rows, and what must be better than what."""

import numpy as np
import pytest
import soundfile

from experiments.benchmarks import fast_griffin_lim as benchmark
from experiments.studies import inversion
from experiments.studies.inversion_sounds import Sounds, folder_sounds, mixed_sounds
from tests.helpers import sounds
from timbre_jax.representations import LogMel

SMALL = LogMel(length=8000, n_frames=0)


def test_mixed_sounds_are_drawn_from_the_seed():
    again = [mixed_sounds(number=6, seed=seed, nsynth="", sample_rate=16000, samples=8000) for seed in (0, 0, 1)]
    assert again[0].names == again[1].names != again[2].names
    np.testing.assert_array_equal(again[0].waves, again[1].waves)
    assert again[0].waves.shape == (6, 8000)
    assert np.all(np.abs(again[0].waves).max(axis=1) > 0)
    # Cut at the end: faded.
    assert np.abs(again[0].waves[:, -1]).max() < 0.01


def test_folder_sounds_leave_broken_files_out(tmp_path, capsys):
    (tmp_path / "kicks").mkdir()
    soundfile.write(tmp_path / "kicks" / "a.wav", sounds.sine(100.0, 0.5, length=4000), 16000)
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    found = folder_sounds(str(tmp_path), number=5, seed=0, sample_rate=16000, samples=8000)
    assert found.names == ["kicks/a.wav"]
    assert "b.wav" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no folder"):
        inversion.load_sounds(inversion.Inversion(sounds=str(tmp_path / "none")))


@pytest.mark.slow
def test_rows_are_measured_and_ordered_as_they_must_be():
    f0s = (110.0, 220.0, 331.0)
    waves = np.stack([sounds.harmonic_tone(f0, 0.2 / np.arange(1, 12), length=8000) for f0 in f0s])
    set_of = Sounds([str(f0) for f0 in f0s], ["a", "b", "c"], waves, 16000)
    names = ["stft/no_phase", "stft/pghi", "mel/pghi_fast_griffin_lim/bands", "mel/librosa"]
    found = inversion.measure(set_of, names, SMALL)
    convergence = {name: found[name]["convergence_db"].mean() for name in names}
    for name in ("stft/pghi", "mel/pghi_fast_griffin_lim/bands"):
        assert convergence[name] < convergence["stft/no_phase"] - 5.0
    assert found["mel/pghi_fast_griffin_lim/bands"]["lsd_db"].mean() < found["mel/librosa"]["lsd_db"].mean()
    assert all(values.shape == (3,) and np.isfinite(values).all() for row in found.values() for values in row.values())
    results = inversion.results(found, set_of.groups)
    rows = {row.name: row for row in results}
    above = rows["mel/pghi_fast_griffin_lim/bands/odg_above_librosa"]
    difference = found["mel/pghi_fast_griffin_lim/bands"]["odg"] - found["mel/librosa"]["odg"]
    assert above.value == pytest.approx(difference.mean())
    assert above.low <= above.value <= above.high
    table = inversion.summary(results)
    assert len(table.rows) == 4
    told = dict(zip(table.column("row"), table.column("odg_above_librosa"), strict=True))
    assert told["mel/pghi_fast_griffin_lim/bands"].startswith(f"{difference.mean():.2f} (")
    assert told["mel/librosa"] is None


def test_unknown_rows_and_sounds_of_another_length_are_refused():
    silent = Sounds(["a"], ["a"], np.zeros((1, 4000), np.float32), 16000)
    with pytest.raises(ValueError, match="mel/librosa"):
        inversion.measure(silent, ["mel/wavenet"], SMALL)
    with pytest.raises(ValueError, match="4000 samples"):
        inversion.measure(silent, ["stft/pghi"], SMALL)


def test_both_sides_of_the_benchmark_come_as_near_to_the_magnitudes():
    from timbre_jax.audio.distances import spectral_convergence
    from timbre_jax.audio.stft import stft

    waves = benchmark.noisy_tones()[:3]
    magnitudes = np.abs(np.asarray(stft(waves, n_fft=benchmark.WINDOW, hop=benchmark.HOP)))
    found = [
        np.mean(20 * np.log10(spectral_convergence(side(magnitudes), waves, n_fft=benchmark.WINDOW, hop=benchmark.HOP)))
        for side in (benchmark.ours, benchmark.theirs)
    ]
    assert found[0] < found[1] + 1.0
