"""Runs every script of examples/ with tiny settings on the shared small store and runs."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

import timbre_jax
from tests.helpers.small_analysis import SMALL_SERIES

EXAMPLES = Path(__file__).parents[2] / "examples"
MOST_LINES = 80


@pytest.fixture(scope="module")
def moving_run(small_store, tmp_path_factory):
    """Returns the run of a series space after a few steps; before them its mean is silent."""
    config = {**SMALL_SERIES["continuous"], "data": {"store": str(small_store)}}
    config["train"] = {"steps": 150, "batch_size": 8, "crop_frames": 32, "eval_every": 150}
    config["optimizer"] = {"learning_rate": 5e-3}
    workdir = tmp_path_factory.mktemp("runs") / "moving"
    timbre_jax.train_and_evaluate(config, workdir, progress=False)
    return workdir


def example(name: str):
    """Returns the module of an example."""
    return importlib.import_module(f"examples.{name}")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example_is_short_and_starts_with_its_command(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < MOST_LINES
    assert f"    python examples/{path.name} --out=" in text.split('"""')[1]


def test_train_and_explain_writes_a_run_and_a_sweep(small_store, tmp_path, capsys):
    space = example("train_and_explain").main(
        tmp_path, store=small_store, steps=4, sounds=4, latent_size=3, basis_size=8, width=16
    )
    assert space.latent_size == 3
    assert len(list((tmp_path / "sweep").glob("*.wav"))) == 5
    assert timbre_jax.load(tmp_path / "run").kind == "static"
    assert "velocity" in capsys.readouterr().out


def test_own_model_learns_and_is_analyzed(small_store, tmp_path, capsys):
    space = example("analyses_of_your_own_model").main(tmp_path, store=small_store, steps=200)
    notes = timbre_jax.open_store(small_store).audio("train", range(20))
    features = space.analyze(notes)
    error = float(np.mean((space.decode(space.encode(features)).values - features.values) ** 2))
    assert error < float(np.var(np.asarray(features.values)))
    printed = capsys.readouterr().out
    assert "all but 3" in printed
    assert printed.count("| latent |") == 1


def test_custom_representation_reconstructs_a_sine(small_store, tmp_path):
    space = example("custom_representation").main(tmp_path, store=small_store, latent_size=3, length=8000)
    time = np.arange(8000) / 16000
    sine = 0.5 * np.sin(2 * np.pi * 440.0 * time).astype(np.float32)[None]
    again = np.asarray(space.synthesize(space.analyze(sine)))[0, 2000:6000]
    spectrum = np.abs(np.fft.rfft(again * np.hanning(len(again))))
    assert abs(np.argmax(spectrum) * 16000 / len(again) - 440.0) < 8.0
    assert np.sqrt(np.mean(again**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)
    assert (tmp_path / "reconstruction.wav").is_file()


def test_sample_map_makes_sounds_between_sounds(pca_run, tmp_path, capsys):
    example("sample_map").main(tmp_path, run=pca_run, number=20)
    assert len(list((tmp_path / "sounds").glob("*.wav"))) == 5
    assert timbre_jax.load_map(tmp_path / "map.npz").coordinates.shape == (20, 2)
    assert "flute" in capsys.readouterr().out


def test_curves_and_conversion_write_sounds_and_curves(moving_run, tmp_path):
    manifest = example("curves_and_conversion").main(tmp_path, run=moving_run, seconds=0.5, rate=2.0)
    assert manifest["mode"] == "control"
    assert len(list((tmp_path / "controlled").glob("*_curves.csv"))) == 1
    converted = json.loads((tmp_path / "converted" / "manifest.json").read_text(encoding="utf-8"))
    assert [sound["file"] for sound in converted["sounds"]] == ["000_pluck_original.wav", "000_pluck_converted.wav"]
    edited, _ = timbre_jax.read_wave(tmp_path / "edited.wav")
    assert len(edited) == pytest.approx(8000, abs=512)


def test_cluster_locally_runs_a_sweep(small_store, tmp_path):
    printed = example("cluster_locally").main(tmp_path, store=small_store, sizes=(2,))
    assert "#SBATCH" in printed["script"]
    assert "sbatch" in printed["script"]
    assert "1 done" in printed["status"] or "finished" in printed["status"]
    assert (tmp_path / "here" / "sweep.csv").is_file()
