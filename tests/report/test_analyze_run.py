"""The report of a real small run: its files, their content, and the errors of an analysis that cannot be made."""

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
    found = analyze(pca_run, folder, explained=6, players=1)
    return folder, found


def test_the_page_is_whole_and_needs_nothing_else(out):
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
    for title in ("In short", "Listen", "Which latents matter", "Maps", "The paper"):
        assert title in page


def test_results_have_stable_names_and_a_definition_each(out):
    folder, analysis = out
    rows = {row.name: row for row in read_results(folder / "results.json")}
    for name in (
        "reconstruction/mse", "reconstruction/ssim", "floor/mean_image/mse", "floor/pca_3/ssim", "family/knn_accuracy",
        "sound/reconstruction/log_spectral_distance", "latents/active", "agreement",
        "ablation/mean/without/mse/latent_2", "ablation/zero/only/ssim/latent_0", "perturbation/percent/ssim_fall/latent_1",
        "perturbation/deviation/mse_rise/latent_1", "sensitivity/latent_0", "shapley/mse/mean/latent_0", "sage/latent_2",
        "integrated_gradients/mse/mean/latent_0", "correlation/spearman/pitch/latent_0", "separation/family/latent_0",
    ):  # fmt: skip
        assert name in rows, name
        assert "18 notes of 3 instruments" in rows[name].definition or name == "agreement"
    assert all(row.definition for row in rows.values())
    mse = rows["reconstruction/mse"]
    assert mse.low <= mse.value <= mse.high < rows["floor/mean_image/mse"].value
    assert mse.value == pytest.approx(analysis.quality.scores.mse.mean())
    # The run is a PCA of the same notes that the floor is fitted to.
    assert rows["floor/pca_3/mse"].value == pytest.approx(mse.value, rel=0.01)
    assert rows["integrated_gradients/mse/mean/residual"].value < 0.01


def test_the_planted_factors_are_found_through_the_sound(out):
    _, analysis = out
    spearman = analysis.correlations["spearman"]
    pitch, velocity = (np.abs(spearman.value[:, spearman.names.index(name)]) for name in ("pitch", "velocity"))
    assert pitch.max() > 0.9
    assert velocity.max() > 0.8
    assert pitch.argmax() != velocity.argmax()
    assert analysis.quality.families.accuracy > 0.8
    assert analysis.quality.families.baseline < 0.5


def test_tables_and_sounds_are_files(out):
    folder, analysis = out
    with open(folder / "tables" / "latents.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18
    assert float(rows[4]["latent_1"]) == pytest.approx(analysis.points[4, 1])
    names = {path.name for path in (folder / "tables").glob("*.csv")}
    assert {"scores.csv", "ablation_mean.csv", "shapley_mse_mean.csv", "agreement.csv", "paper_verdicts.csv"} <= names
    sounds = sorted(path.name for path in (folder / "audio").glob("*.wav"))
    assert len(sounds) == 3 + 2 * 3 + 3 * 5
    assert any(name.endswith("_only_2.wav") for name in sounds)
    assert "sweep_latent_1_4.wav" in sounds
    with wave.open(str(folder / "audio" / sounds[0])) as file:
        assert (file.getframerate(), file.getnframes(), file.getnchannels()) == (16000, 64000, 1)
    assert len(list((folder / "plots").glob("*.png"))) >= 14


def test_a_space_that_says_nothing_says_why(mean_run, tmp_path):
    found = analyze(mean_run, tmp_path, players=1)
    assert found.explanations is None
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "has the same value" in page or "have the same value" in page
    assert "Why no latent is explained" in page
    rows = {row.name: row.value for row in read_results(tmp_path / "results.json")}
    assert rows["latents/active"] == 0
    assert rows["reconstruction/mse"] == pytest.approx(rows["floor/mean_image/mse"], rel=1e-4)
    assert not any(name.startswith("shapley") for name in rows)


@pytest.mark.slow
def test_a_space_of_spectrograms_is_explained_as_what_it_is(tmp_path):
    """A FlowVAE, whose layers have gradients of their own; sounds without a pitch."""
    store = library_store(tmp_path / "store", write_library(tmp_path / "files", 40))
    run = library_run(
        tmp_path / "run", store, train={"steps": 60, "batch_size": 8, "kl_weight": 0.01}, name="flow_vae", latent_size=3,
        channels=(4, 4), pools=((2, 2), (2, 2)), hidden=16, flows=1, dropout=0.0,
    )  # fmt: skip
    found = analyze(run, tmp_path / "out", explained=4, players=1)
    assert found.active.any()
    assert np.all(np.isfinite(found.explanations.sensitivity.norms))
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "its spectrogram over time" in page
    assert "Which latents matter" in page
    for told in ("fundamental frequency", "f0 and harmonics", "The paper", "pitch (MIDI)", "kick -1"):
        assert told not in page


def test_the_store_may_have_moved(mean_run, small_store, tmp_path):
    moved = tmp_path / "run"
    shutil.copytree(mean_run, moved)
    config = json.loads((moved / "config.json").read_text())
    config["config"]["data"]["store"] = str(tmp_path / "gone")
    (moved / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="say where it is with --store"):
        analyze(moved, tmp_path / "out")
    found = analyze(moved, tmp_path / "out", store=small_store, number=6, explained=2, players=0)
    assert found.quality.families is None
    assert found.quality.floors == {}
    assert len(found.points) == 6
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workdir": "nowhere"}, "no run nowhere"),
        ({"split": "holdout"}, "no split 'holdout'; it has train, valid, test"),
        ({"store": "nothing"}, "no such store"),
    ],
)
def test_wrong_input_is_one_clear_line(pca_run, tmp_path, change, message):
    arguments = {"workdir": pca_run, "out": tmp_path / "out", **change}
    with pytest.raises(ValueError, match=message) as error:
        analyze(**arguments)
    assert "\n" not in str(error.value)


def test_out_must_not_be_a_file(pca_run, tmp_path):
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
def test_a_continuous_space_is_explained(continuous_run, tmp_path):
    found = analyze_run(AnalysisSettings(continuous_run, tmp_path, number=9, explained=4, players=1, progress=False))
    page = check_page(tmp_path, ("How latents move", "What the axes go along with", "Which latents matter", "Maps"))
    assert page.count("data:audio/wav;base64,") >= 3 + 3 * 5
    rows = {row.name: row for row in read_results(tmp_path / "results.json")}
    for name in (
        "sound/reconstruction/mel_rmse_db", "sound/representation/lsd_db", "sound/reconstruction/level_correlation",
        "series/memory/latent_0", "series/speed/latent_2", "correlation/centroid/axis_0", "importance/one off/latent_1",
    ):  # fmt: skip
        assert name in rows, name
        assert "9 sounds of 3 recordings" in rows[name].definition
    assert rows["sound/representation/mel_rmse_db"].value < rows["sound/reconstruction/mel_rmse_db"].value
    assert found.points.shape == (9, 3)
    assert (np.diff(found.axes.deviation) <= 1e-6).all()
    assert {path.stem for path in (tmp_path / "tables").glob("*.csv")} >= {
        "series", "points", "axes", "correlation_axes", "sound_quality", "ablation_mean", "distribution",
    }  # fmt: skip
    assert (tmp_path / "plots" / "sound_0.png").is_file()


@pytest.mark.slow
def test_a_discrete_space_shows_its_codes_and_says_why_no_latent_is_explained(discrete_run, tmp_path):
    found = analyze_run(AnalysisSettings(discrete_run, tmp_path, number=9, players=1, progress=False))
    page = check_page(tmp_path, ("Codes", "Why no latent is explained", "coordinates of code vectors"))
    assert "Codes colored by spectral centroid" in page
    rows = {row.name: row for row in read_results(tmp_path / "results.json")}
    perplexity = rows["codes/perplexity/codebook_0"]
    assert 1.0 <= perplexity.value <= 16.0
    assert found.codes.uses.counts.sum() == found.codes.uses.latents
    assert found.explanations is None
    # The gain of the decoder is the input's: levels come back, more or less, before any training.
    assert rows["sound/reconstruction/level_correlation"].value > 0.6
