"""Tests of evaluation, maps and similar sounds of series spaces."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.evaluations import evaluate
from timbre_jax.metrics.table import read_results

pytestmark = pytest.mark.xdist_group("small_analysis")


@pytest.mark.slow
def test_continuous_and_discrete_spaces_are_scored_in_one_table(continuous_run, discrete_run, tmp_path):
    table = evaluate([continuous_run, discrete_run], tmp_path, number=9, sounds=6, progress=False)
    assert table.column("run") == ["continuous", "discrete"]
    rows = {row.name: row for row in read_results(tmp_path / "results.json")}
    for run in ("continuous", "discrete"):
        for measure in ("lsd_db", "mr_stft", "mel_rmse_db", "level_correlation", "mse"):
            assert np.isfinite(rows[f"store/{run}/{measure}"].value)
    assert rows["store/discrete/codebook_0/perplexity"].value >= 1.0
    text = (tmp_path / "scores.md").read_text(encoding="utf-8")
    assert "log-mel of the samples" in text
    assert "Use of the codes" in text
    assert (tmp_path / "codes.csv").is_file()


@pytest.mark.slow
def test_maps_and_similar_sounds_use_pooled_latents(continuous_run, small_store, tmp_path):
    from timbre_jax.audio.io import read_wave, write_wave
    from timbre_jax.data.store import Store
    from timbre_jax.generation.generate import generate
    from timbre_jax.maps.build import MapSettings, make_map_of_run
    from timbre_jax.maps.generation_mode import MapPoints
    from timbre_jax.maps.similar import SimilarSettings, find_similar

    make_map_of_run(MapSettings(continuous_run, tmp_path / "map", number=12, method="pca", hold=0.3, progress=False))
    assert len(list((tmp_path / "map" / "grid").glob("*.wav"))) == 100
    sound = generate(continuous_run, tmp_path / "new", MapPoints(map=tmp_path / "map", at="0.5,0.5", seconds=0.5))["sounds"][0]
    assert len(read_wave(tmp_path / "new" / sound["file"])[0]) == pytest.approx(0.5 * 16000, abs=512)
    store = Store.open(small_store)
    write_wave(tmp_path / "known.wav", store.audio("train", [3])[0], 16000)
    settings = SimilarSettings(continuous_run, (tmp_path / "known.wav",), split="train", k=3, progress=False)
    sound = find_similar(settings)["sounds"][0]
    assert sound["similar"][0]["id"] == store.metadata("train")["id"][3]
    assert sound["similar"][0]["distance"] < 0.1
