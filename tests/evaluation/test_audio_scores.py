"""Tests of the comparison of sounds, on a small sample library and a log-mel space."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from tests.helpers.evaluations import evaluate
from tests.helpers.library import write, write_library
from tests.helpers.library_runs import library_run, library_store
from timbre_jax.data.prepare.make_store import prepare
from timbre_jax.evaluation.settings import EvaluationSettings
from timbre_jax.metrics import fingerprint
from timbre_jax.metrics.sound_pairs import pair_distances
from timbre_jax.metrics.table import read_results

pytestmark = pytest.mark.xdist_group("small_analysis")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Returns a folder of 60 one-shots of three classes, its store, and two runs on it."""
    folder = tmp_path_factory.mktemp("library")
    files = write_library(folder / "files", 60)
    store = library_store(folder / "store", files)
    runs = [
        library_run(folder / "pca", store, name="pca", latent_size=12),
        library_run(folder / "mean", store, name="mean_image"),
    ]
    return files, store, runs


@pytest.fixture(scope="module")
def scored(library, tmp_path_factory):
    _, _, runs = library
    out = tmp_path_factory.mktemp("scores")
    table = evaluate(runs, out, bins=6, metrics=["lsd", "stft", "odg", "ndb", "frechet", "kernel"])
    with open(out / "sounds.csv", encoding="utf-8") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    return table, rows, out


def test_baselines_and_upper_bounds_are_rows(scored):
    table, rows, _ = scored
    assert table.column("run") == ["pca", "mean"]
    assert list(rows) == [
        "<unrelated sounds>", "<nearest known>", "<real sounds>", "<known halves>", "pca", "<log_mel>", "mean",
    ]  # fmt: skip

    def value(run: str, name: str) -> float:
        return float(rows[run][name])

    for name in ("lsd_db", "mr_stft"):
        assert value("<log_mel>", name) < value("pca", name) < value("mean", name) < 1.5 * value("<unrelated sounds>", name)
        assert value("<nearest known>", name) < value("<unrelated sounds>", name)
        assert value("pca", f"{name}_low") <= value("pca", name) <= value("pca", f"{name}_high")
    assert value("<log_mel>", "odg") > value("<unrelated sounds>", "odg")
    assert all(rows[run]["ndb"] == "" for run in ("<unrelated sounds>", "<nearest known>"))
    assert value("<real sounds>", "ndb") <= value("<real sounds>", "ndb_chance_high")
    assert value("mean", "kernel") > value("<real sounds>", "kernel")
    assert value("<real sounds>", "kernel_low") < value("<real sounds>", "kernel") < value("<real sounds>", "kernel_high")
    # The table of scores has the same distance.
    assert table.column("sound_db")[0] == pytest.approx(value("pca", "lsd_db"))
    assert table.column("representation_db")[0] == pytest.approx(value("<log_mel>", "lsd_db"))


def test_paired_differences_are_relative_to_the_reference_run(scored):
    _, rows, out = scored
    with open(out / "paired.csv", encoding="utf-8") as file:
        paired = {row["run"]: row for row in csv.DictReader(file)}
    assert "pca" not in paired
    assert {"mean", "<log_mel>", "<nearest known>"} <= set(paired)
    results = {result.name: result for result in read_results(out / "results.json")}
    name = next(name for name in results if name.endswith("/mean/lsd_db_less_pca"))
    # The mean of differences is the difference of means; the interval is that of the differences.
    expected = float(rows["mean"]["lsd_db"]) - float(rows["pca"]["lsd_db"])
    assert results[name].value == pytest.approx(expected, abs=1e-6)
    assert 0.0 < results[name].low < results[name].value < results[name].high
    assert paired["mean"]["lsd_db"].startswith("+")
    assert paired["<log_mel>"]["lsd_db"].startswith("-")


def test_classes_have_rows_and_results_have_baselines(scored):
    _, rows, out = scored
    with open(out / "classes.csv", encoding="utf-8") as file:
        classes = [row for row in csv.DictReader(file) if row["run"] == "pca"]
    assert [row["class"] for row in classes] == ["hat", "kick", "snare"]
    counts = np.array([int(row["sounds"]) for row in classes])
    assert counts.sum() == int(rows["pca"]["sounds"])
    means = np.array([float(row["lsd_db"]) for row in classes])
    assert np.sum(means * counts) / counts.sum() == pytest.approx(float(rows["pca"]["lsd_db"]))
    assert all(float(row["odg_best"]) >= float(row["odg"]) for row in classes)
    results = {result.name: result for result in read_results(out / "results.json")}
    of_pca = results["store/pca/odg"]
    assert of_pca.baseline == pytest.approx(float(rows["<unrelated sounds>"]["odg"]))
    assert "undefined bandwidth counts as 0" in of_pca.definition
    assert results["store/pca/ndb"].baseline == pytest.approx(float(rows["pca"]["ndb_chance"]))
    assert results["store/pca/kernel"].baseline == pytest.approx(float(rows["<real sounds>"]["kernel"]))
    text = (out / "scores.md").read_text(encoding="utf-8")
    assert "\\<unrelated sounds>" in text
    assert "Natsiou" not in text
    assert "n_mels 32" in text


def test_markdown_tables_have_at_most_seven_columns_and_say_what_is_better(scored):
    _, _, out = scored
    text = (out / "scores.md").read_text(encoding="utf-8")
    rows = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    assert max(row.count("|") - 1 for row in rows) <= 7
    for sentence in (
        "LSD, dB (lsd_db, lower is better)", "ODG (odg, higher is better)", "NDB (ndb, lower is better)",
        "Fréchet, kernel (lower is better)", "Lower is better for LSD, dB; multi-resolution STFT", "above 0 is better for odg",
    ):  # fmt: skip
        assert sentence in text
    assert "| store (sounds of groups) | run | NDB of 6 | NDB by chance | JS, nats | Fréchet | kernel |" in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Reconstruction of features", "## Sounds", "## Sounds by class", "## Differences to the reference run",
    ]  # fmt: skip
    assert text.count("<") == text.count("\\<")
    # Sets are scored for other rows than pairs.
    pairs, sets = text.split("| store (sounds of groups) | run | NDB of 6 ")
    assert "| \\<nearest known> |" in pairs
    assert "| \\<real sounds> |" not in pairs
    assert "| \\<real sounds> |" in sets


def test_harmonic_runs_compare_sounds_only_on_request(pca_run, tmp_path):
    evaluate([pca_run], tmp_path / "alone", sounds=4)
    assert not (tmp_path / "alone" / "sounds.csv").exists()
    evaluate([pca_run], tmp_path / "asked", sounds=4, metrics=["lsd"])
    with open(tmp_path / "asked" / "sounds.csv", encoding="utf-8") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"<unrelated sounds>", "<nearest known>", "pca3", "<harmonic_tracks>"}
    assert float(rows["<harmonic_tracks>"]["lsd_db"]) < float(rows["<unrelated sounds>"]["lsd_db"])
    assert "ndb" not in rows["pca3"]


def test_runs_of_different_rates_are_rejected(library, tmp_path):
    files, _, runs = library
    store = library_store(tmp_path / "store", files, rate=22050)
    other = library_run(tmp_path / "other", store, rate=22050, name="mean_image")
    with pytest.raises(ValueError, match=r"different sample rates \(pca 16000 Hz, other 22050 Hz\); score runs of one rate"):
        evaluate([runs[0], other], tmp_path / "out")
    with pytest.raises(ValueError, match=r"must have the sample rate of the runs, 16000 Hz \(got 22050 Hz\)"):
        evaluate(runs, tmp_path / "out", store=store)


def test_scores_of_different_representations_are_marked_as_not_comparable(library, pca_run, small_store, tmp_path):
    _, _, runs = library
    table = evaluate([pca_run, runs[0]], tmp_path, store=small_store, families=(), sounds=0, number=6)
    assert "MSE and SSIM of different definitions are not comparable: pca3: " in table.caption
    assert table.column("mse_vs_reference_percent") == [None, None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": ("lsd", "best")}, "metrics='best': must be among lsd, stft, mel, level, odg"),
        ({"metrics": ("odg",), "peaq": "other"}, "peaq='other': must be one of"),
        ({"metrics": ("odg",), "undefined_bandwidth": "one"}, "undefined_bandwidth=one: must be one of"),
        ({"metrics": ("kernel",), "embedding": "vggish"}, "embedding='vggish'"),
    ],
)
def test_wrong_settings_fail_before_scoring(change, message):
    with pytest.raises(ValueError, match=message):
        EvaluationSettings(**change)


def test_missing_fingerprint_programs_fail_before_scoring(monkeypatch):
    def missing():
        raise fingerprint.FingerprintMissing("pip install it")

    monkeypatch.setattr(fingerprint, "_ffmpeg_path", missing)
    with pytest.raises(ValueError, match="pip install it"):
        EvaluationSettings(metrics=("fingerprint",))


def test_missing_set_metrics_are_explained(library, tmp_path):
    _, _, (pca, _) = library
    evaluate([pca], tmp_path / "few", bins=50, metrics=["lsd", "ndb", "kernel"])
    text = (tmp_path / "few" / "scores.md").read_text(encoding="utf-8")
    assert "no ndb: split “train” has fewer sounds than there are bins (50)" in text
    evaluate([pca], tmp_path / "own", split="train", metrics=["lsd", "ndb", "kernel"])
    text = (tmp_path / "own" / "scores.md").read_text(encoding="utf-8")
    assert "no ndb, kernel: split “train” is missing or is the one that is scored" in text


def test_padding_does_not_change_pair_distances(tmp_path):
    """Checks that one long sound in a store does not change the distances of the others."""
    files = write_library(tmp_path / "files", 24)
    short = prepare(out=str(tmp_path / "a"), source="folder", path=[str(files)], seconds=0.0, splits=(0.5, 0.0, 0.5), workers=1)
    rate, silent = 16000, np.zeros(4000)
    long = np.concatenate([np.sin(2 * np.pi * 330 * np.arange(rate) / rate) * np.linspace(1, 0, rate), silent])
    write(files / "kick" / "long.wav", np.concatenate([long] * 4).astype(np.float32), rate)
    both = prepare(out=str(tmp_path / "b"), source="folder", path=[str(files)], seconds=0.0, splits=(0.5, 0.0, 0.5), workers=1)
    assert both.samples > 2 * short.samples
    lengths = {}
    for store in (short, both):
        waves = store.audio("test", range(store.length("test")))
        reference = waves - 0.9 * np.pad(waves, ((0, 0), (1, 0)))[:, :-1]
        measures = pair_distances(waves, reference, rate, ("lsd", "stft", "mel", "level"), lengths=store.lengths("test"))
        # Skip the longest sound of the first store, which is not padded there.
        ids = [
            name if length < short.samples else ""
            for name, length in zip(store.metadata("test")["id"].tolist(), store.lengths("test"), strict=True)
        ]
        lengths[store.path.name] = {name: dict(zip(ids, values, strict=True)) for name, values in measures.items()}
    for name in ("lsd_db", "mr_stft", "mel_rmse_db", "level_correlation"):
        one, other = lengths["a"][name], lengths["b"][name]
        shared = sorted((set(one) & set(other)) - {""})
        assert len(shared) >= 3
        np.testing.assert_allclose([one[key] for key in shared], [other[key] for key in shared], rtol=1e-3, err_msg=name)
