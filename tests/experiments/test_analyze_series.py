"""analyze, evaluate, map and similar on spaces with a latent a frame."""

from __future__ import annotations

import re

import numpy as np
import pytest

from experiments.evaluate import evaluate
from timbre_jax.analysis.series import loudest_part, real_latents
from timbre_jax.metrics.table import read_results
from timbre_jax.report.analyze_run import AnalysisSettings, analyze_run
from timbre_jax.types import Features, Latent

pytestmark = pytest.mark.xdist_group("small_analysis")


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
    assert "Codes coloured by spectral centroid" in page
    rows = {row.name: row for row in read_results(tmp_path / "results.json")}
    perplexity = rows["codes/perplexity/codebook_0"]
    assert 1.0 <= perplexity.value <= 16.0
    assert found.codes.uses.counts.sum() == found.codes.uses.latents
    assert found.explanations is None
    # The gain of the decoder is the input's: levels come back, more or less, before any training.
    assert rows["sound/reconstruction/level_correlation"].value > 0.6


@pytest.mark.slow
def test_both_kinds_are_scored_in_one_table(continuous_run, discrete_run, tmp_path):
    table = evaluate([continuous_run, discrete_run], tmp_path, number=9, sounds=6, progress=False)
    assert table.column("run") == ["continuous", "discrete"]
    rows = {row.name: row for row in read_results(tmp_path / "results.json")}
    for run in ("continuous", "discrete"):
        for measure in ("lsd_db", "mr_stft", "mel_rmse_db", "level_correlation", "mse"):
            assert np.isfinite(rows[f"store/{run}/{measure}"].value)
    assert rows["store/discrete/codebook_0/perplexity"].value >= 1.0
    text = (tmp_path / "scores.md").read_text(encoding="utf-8")
    assert "log-mel of the samples" in text
    assert "Codes that sounds use" in text
    assert (tmp_path / "codes.csv").is_file()


@pytest.mark.slow
def test_maps_and_similar_sounds_go_by_points(continuous_run, small_store, tmp_path):
    from experiments.generate import generate
    from experiments.map import make
    from experiments.similar import similar
    from timbre_jax.audio.io import read_wave, write_wave
    from timbre_jax.data.store import Store

    make(continuous_run, tmp_path / "map", number=12, method="pca", hold=0.3, progress=False)
    assert len(list((tmp_path / "map" / "grid").glob("*.wav"))) == 100
    sound = generate(continuous_run, tmp_path / "new", mode="map", map=tmp_path / "map", at="0.5,0.5", seconds=0.5)["sounds"][0]
    assert len(read_wave(tmp_path / "new" / sound["file"])[0]) == pytest.approx(0.5 * 16000, abs=512)
    store = Store.open(small_store)
    write_wave(tmp_path / "known.wav", store.audio("train", [3])[0], 16000)
    found = similar(continuous_run, [tmp_path / "known.wav"], split="train", k=3, progress=False)["sounds"][0]
    assert found["similar"][0]["id"] == store.metadata("train")["id"][3]
    assert found["similar"][0]["distance"] < 0.1


def test_only_real_latents_count():
    latent = Latent(values=np.arange(12.0).reshape(2, 3, 2), mask=np.array([[1, 1, 0], [1, 0, 0]]))
    values, owner = real_latents(latent)
    np.testing.assert_array_equal(values, [[0, 1], [2, 3], [6, 7]])
    np.testing.assert_array_equal(owner, [0, 0, 1])


def test_the_loudest_part_holds_the_loudest_frame():
    level = np.full((2, 100), -50.0, np.float32)
    level[0, 90], level[1, 0] = -10.0, -10.0
    features = Features(
        values=np.arange(200.0).reshape(2, 100, 1), mask=np.ones((2, 100)), conditions={"loudness": level}, rate=10.0
    )
    found = loudest_part(features, 20)
    assert found.values.shape == (2, 20, 1)
    np.testing.assert_array_equal(found.conditions["loudness"].max(1), -10.0)
    np.testing.assert_array_equal(np.diff(found.values[..., 0]), 1.0)
    assert loudest_part(features, 200).values.shape == (2, 100, 1)
