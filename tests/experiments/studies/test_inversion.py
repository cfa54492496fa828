"""Tests of the study of inversion."""

import numpy as np
import pytest
import soundfile

from experiments.benchmarks import fast_griffin_lim as benchmark
from experiments.studies import inversion
from experiments.studies.inversion_sounds import Sounds, folder_sounds, mixed_sounds
from tests.helpers import sounds
from timbre_jax.representations import LogMel

SMALL = LogMel(length=8000, n_frames=0)


def test_mixed_sounds_depend_on_the_seed_only():
    sets = [mixed_sounds(number=6, seed=seed, nsynth="", sample_rate=16000, samples=8000) for seed in (0, 0, 1)]
    assert sets[0].names == sets[1].names != sets[2].names
    np.testing.assert_array_equal(sets[0].waves, sets[1].waves)
    assert sets[0].waves.shape == (6, 8000)
    assert np.all(np.abs(sets[0].waves).max(axis=1) > 0)
    # Sounds that are cut fade out.
    assert np.abs(sets[0].waves[:, -1]).max() < 0.01


def test_folder_sounds_leave_broken_files_out(tmp_path, capsys):
    (tmp_path / "kicks").mkdir()
    soundfile.write(tmp_path / "kicks" / "a.wav", sounds.sine(100.0, 0.5, length=4000), 16000)
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    drawn = folder_sounds(str(tmp_path), number=5, seed=0, sample_rate=16000, samples=8000)
    assert drawn.names == ["kicks/a.wav"]
    assert "b.wav" in capsys.readouterr().out
    with pytest.raises(ValueError, match="neither a folder nor a store"):
        inversion.load_sounds(inversion.Inversion(sounds=str(tmp_path / "none")))


@pytest.mark.slow
def test_better_inverters_score_better_and_grades_are_compared_with_librosa():
    f0s = (110.0, 220.0, 331.0)
    waves = np.stack([sounds.harmonic_tone(f0, 0.2 / np.arange(1, 12), length=8000) for f0 in f0s])
    set_of = Sounds([str(f0) for f0 in f0s], ["a", "b", "c"], waves, 16000)
    names = ["stft/no_phase", "stft/pghi", "mel/pghi_fast_griffin_lim/bands", "mel/librosa"]
    scores = inversion.measure(set_of, names, SMALL)
    convergence = {name: scores[name]["convergence_db"].mean() for name in names}
    for name in ("stft/pghi", "mel/pghi_fast_griffin_lim/bands"):
        assert convergence[name] < convergence["stft/no_phase"] - 5.0
    assert scores["mel/pghi_fast_griffin_lim/bands"]["lsd_db"].mean() < scores["mel/librosa"]["lsd_db"].mean()
    assert all(values.shape == (3,) and np.isfinite(values).all() for row in scores.values() for values in row.values())
    results = inversion.results(scores, set_of.groups)
    rows = {row.name: row for row in results}
    above = rows["mel/pghi_fast_griffin_lim/bands/odg_above_librosa"]
    difference = scores["mel/pghi_fast_griffin_lim/bands"]["odg"] - scores["mel/librosa"]["odg"]
    assert above.value == pytest.approx(difference.mean())
    assert above.low <= above.value <= above.high
    table = inversion.summary(results)
    assert len(table.rows) == 4
    differences = dict(zip(table.column("row"), table.column("odg_above_librosa"), strict=True))
    assert differences["mel/pghi_fast_griffin_lim/bands"].startswith(f"{difference.mean():.2f} (")
    assert differences["mel/librosa"] is None


def test_unknown_rows_and_sounds_of_another_length_are_refused():
    silent = Sounds(["a"], ["a"], np.zeros((1, 4000), np.float32), 16000)
    with pytest.raises(ValueError, match="mel/librosa"):
        inversion.measure(silent, ["mel/wavenet"], SMALL)
    with pytest.raises(ValueError, match="4000 samples"):
        inversion.measure(silent, ["stft/pghi"], SMALL)


def test_benchmark_of_fast_griffin_lim_compares_equally_good_sounds():
    from timbre_jax.audio.distances import spectral_convergence
    from timbre_jax.audio.stft import stft

    waves = benchmark.noisy_tones()[:3]
    magnitudes = np.abs(np.asarray(stft(waves, n_fft=benchmark.WINDOW, hop=benchmark.HOP)))
    convergence = [
        np.mean(20 * np.log10(spectral_convergence(side(magnitudes), waves, n_fft=benchmark.WINDOW, hop=benchmark.HOP)))
        for side in (benchmark.ours, benchmark.theirs)
    ]
    assert convergence[0] < convergence[1] + 1.0
