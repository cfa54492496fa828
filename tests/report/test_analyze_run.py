"""Tests of the report of small runs: its files, their contents, and errors."""

from __future__ import annotations

import csv
import json
import re
import shutil
import wave

import numpy as np
import pytest

from tests.helpers.library import write_library
from tests.helpers.library_runs import library_run, library_store
from timbre_jax.metrics.table import read_results
from timbre_jax.report.analyze_run import AnalysisSettings, analyze_run

pytestmark = pytest.mark.xdist_group("small_analysis")


def analyze(workdir, out, **settings):
    return analyze_run(AnalysisSettings(workdir, out, progress=False, **settings))


@pytest.fixture(scope="module")
def out(pca_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("analysis")
    result = analyze(pca_run, folder, explained=6, players=1)
    return folder, result


def test_page_is_complete_and_self_contained(out):
    folder, _ = out
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    outside = re.findall(r"""(?:src|href|data-sound)=["'](?!data:|#)([^"']*)""", page)
    assert outside == []
    assert "http:" not in page
    assert "https:" not in page
    assert page.count("data:image/png;base64,") >= 14
    assert page.count("data:audio/wav;base64,") >= 3 + 2 * 3 + 3 * 5
    assert len(page) < 20e6
    for title in ("Summary", "Audio examples", "Latent importance", "Latent maps", "Comparison with Natsiou"):
        assert title in page


def test_results_have_stable_names_and_definitions(out):
    folder, analysis = out
    rows = {row.name: row for row in read_results(folder / "results.json")}
    for name in (
        "reconstruction/mse", "reconstruction/ssim", "baseline/mean_image/mse", "baseline/pca_3/ssim", "family/knn_accuracy",
        "sound/reconstruction/log_spectral_distance", "latents/active", "agreement",
        "ablation/mean/without/mse/latent_2", "ablation/zero/only/ssim/latent_0", "perturbation/percent/ssim_fall/latent_1",
        "perturbation/deviation/mse_rise/latent_1", "sensitivity/latent_0", "shapley/mse/mean/latent_0", "sage/latent_2",
        "integrated_gradients/mse/mean/latent_0", "correlation/spearman/pitch/latent_0", "separation/family/latent_0",
    ):  # fmt: skip
        assert name in rows, name
        assert "18 notes of 3 instruments" in rows[name].definition or name == "agreement"
    assert all(row.definition for row in rows.values())
    mse = rows["reconstruction/mse"]
    assert mse.low <= mse.value <= mse.high < rows["baseline/mean_image/mse"].value
    assert mse.value == pytest.approx(analysis.quality.scores.mse.mean())
    # The run is a PCA of the notes that the PCA baseline is fitted to.
    assert rows["baseline/pca_3/mse"].value == pytest.approx(mse.value, rel=0.01)
    assert rows["integrated_gradients/mse/mean/residual"].value < 0.01


def test_planted_factors_are_recovered_from_sounds(out):
    _, analysis = out
    spearman = analysis.correlations["spearman"]
    pitch, velocity = (np.abs(spearman.value[:, spearman.names.index(name)]) for name in ("pitch", "velocity"))
    assert pitch.max() > 0.9
    assert velocity.max() > 0.8
    assert pitch.argmax() != velocity.argmax()
    assert analysis.quality.families.accuracy > 0.8
    assert analysis.quality.families.baseline < 0.5


def test_tables_and_sounds_are_written(out):
    folder, analysis = out
    with open(folder / "tables" / "latents.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18
    assert float(rows[4]["latent_1"]) == pytest.approx(analysis.points[4, 1])
    names = {path.name for path in (folder / "tables").glob("*.csv")}
    assert {"scores.csv", "ablation_mean.csv", "shapley_mse_mean.csv", "agreement.csv", "paper_statements.csv"} <= names
    sounds = sorted(path.name for path in (folder / "audio").glob("*.wav"))
    assert len(sounds) == 3 + 2 * 3 + 3 * 5
    assert any(name.endswith("_only_2.wav") for name in sounds)
    assert "sweep_latent_1_4.wav" in sounds
    with wave.open(str(folder / "audio" / sounds[0])) as file:
        assert (file.getframerate(), file.getnframes(), file.getnchannels()) == (16000, 64000, 1)
    assert len(list((folder / "plots").glob("*.png"))) >= 14


def test_collapsed_space_is_reported(mean_run, tmp_path):
    result = analyze(mean_run, tmp_path, players=1)
    assert result.explanations is None
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "has the same value" in page or "have the same value" in page
    assert "No explanations" in page
    rows = {row.name: row.value for row in read_results(tmp_path / "results.json")}
    assert rows["latents/active"] == 0
    assert rows["reconstruction/mse"] == pytest.approx(rows["baseline/mean_image/mse"], rel=1e-4)
    assert not any(name.startswith("shapley") for name in rows)


@pytest.mark.slow
def test_space_of_spectrograms_is_not_described_as_harmonic(tmp_path):
    # A FlowVAE, whose layers have custom gradients, on sounds without pitch.
    store = library_store(tmp_path / "store", write_library(tmp_path / "files", 40))
    run = library_run(
        tmp_path / "run", store, train={"steps": 60, "batch_size": 8, "kl_weight": 0.01}, name="flow_vae", latent_size=3,
        channels=(4, 4), pools=((2, 2), (2, 2)), hidden=16, flows=1, dropout=0.0,
    )  # fmt: skip
    result = analyze(run, tmp_path / "out", explained=4, players=1)
    assert result.active.any()
    assert np.all(np.isfinite(result.explanations.sensitivity.norms))
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "log-mel spectrogram of a sound" in page
    assert "Latent importance" in page
    for text in ("fundamental frequency", "Comparison with Natsiou", "pitch (MIDI)", "kick -1"):
        assert text not in page


def test_moved_store_is_given_as_an_option(mean_run, small_store, tmp_path):
    moved = tmp_path / "run"
    shutil.copytree(mean_run, moved)
    config = json.loads((moved / "config.json").read_text())
    config["config"]["data"]["store"] = str(tmp_path / "gone")
    (moved / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="give its path with --store"):
        analyze(moved, tmp_path / "out")
    result = analyze(moved, tmp_path / "out", store=small_store, number=6, explained=2, players=0)
    assert result.quality.families is None
    assert result.quality.baselines == {}
    assert len(result.points) == 6
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workdir": "nowhere"}, "nowhere: no such folder"),
        ({"split": "holdout"}, "no split 'holdout', expected one of train, valid, test"),
        ({"store": "nothing"}, "no such store"),
    ],
)
def test_wrong_input_is_a_one_line_error(pca_run, tmp_path, change, message):
    arguments = {"workdir": pca_run, "out": tmp_path / "out", **change}
    with pytest.raises(ValueError, match=message) as error:
        analyze(**arguments)
    assert "\n" not in str(error.value)


def test_out_that_is_a_file_is_refused(pca_run, tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ValueError, match="is a file"):
        analyze(pca_run, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "precious"


def check_page(folder, titles):
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    assert re.findall(r"""(?:src|href|data-sound)=["'](?!data:|#)([^"']*)""", page) == []
    for title in titles:
        assert title in page
    return page


@pytest.mark.slow
def test_report_of_a_continuous_space_is_complete(continuous_run, tmp_path):
    result = analyze_run(AnalysisSettings(continuous_run, tmp_path, number=9, explained=4, players=1, progress=False))
    page = check_page(tmp_path, ("Latent movement", "Latent axes", "Latent importance", "Latent maps"))
    assert page.count("data:audio/wav;base64,") >= 3 + 3 * 5
    rows = {row.name: row for row in read_results(tmp_path / "results.json")}
    for name in (
        "sound/reconstruction/mel_rmse_db", "sound/representation/lsd_db", "sound/reconstruction/level_correlation",
        "series/memory/latent_0", "series/speed/latent_2", "correlation/centroid/axis_0",
        "importance/ablation/one_disabled/latent_1",
    ):  # fmt: skip
        assert name in rows, name
        assert "9 sounds of 3 recordings" in rows[name].definition
    assert rows["sound/representation/mel_rmse_db"].value < rows["sound/reconstruction/mel_rmse_db"].value
    assert result.points.shape == (9, 3)
    assert (np.diff(result.axes.deviation) <= 1e-6).all()
    assert {path.stem for path in (tmp_path / "tables").glob("*.csv")} >= {
        "series", "points", "axes", "correlation_axes", "sound_quality", "ablation_mean", "distribution",
    }  # fmt: skip
    assert (tmp_path / "plots" / "sound_0.png").is_file()


@pytest.mark.slow
def test_report_of_a_discrete_space_describes_codes(discrete_run, tmp_path):
    result = analyze_run(AnalysisSettings(discrete_run, tmp_path, number=9, players=1, progress=False))
    page = check_page(tmp_path, ("Codes", "No explanations", "coordinates of code vectors"))
    assert "colored by the spectral centroid of each code" in page
    rows = {row.name: row for row in read_results(tmp_path / "results.json")}
    perplexity = rows["codes/perplexity/codebook_0"]
    assert 1.0 <= perplexity.value <= 16.0
    assert result.codes.uses.counts.sum() == result.codes.uses.latents
    assert result.explanations is None
    # The decoder uses the gain of the input, so that levels are similar before any training.
    assert rows["sound/reconstruction/level_correlation"].value > 0.6
