"""Tests of the registry of benchmarks and of single benchmarks."""

import numpy as np
import pytest

from experiments.benchmarks import configs, harmonic_features, registry
from experiments.config_flags import config_names, load_config
from tests.helpers import sounds
from timbre_jax.representations import HarmonicTracks
from timbre_jax.training.config import default_config, model_section, representation_section, resolve


def test_librosa_side_computes_the_same_harmonic_features():
    wave = sounds.harmonic_tone(330.0, 0.3 / np.arange(1.0, 8.0), phases=np.arange(7.0))
    their_f0, their_db = harmonic_features.librosa_features(wave)
    tracks = HarmonicTracks().track(wave[None])
    held = slice(10, 360)
    assert their_f0.shape == (372,)
    assert their_db.shape == (372, 7)
    assert np.abs(sounds.cents(their_f0[held], tracks.f0[0, held])).max() < 10.0
    np.testing.assert_allclose(their_db[held], tracks.amplitude_db[0, held], atol=0.2)


def test_unknown_name_is_refused_with_the_known_names():
    with pytest.raises(ValueError, match="harmonic_features"):
        registry.run_benchmarks(["harmonics"])


def test_comparisons_and_configurations_have_separate_tables():
    compared = {"name": "a/b", "ours": 314.15, "theirs": 100.0, "ratio": 3.1415, "unit": "notes/s"}
    rows = [
        {"name": f"config/b:small/{column}", "ours": 10 + number, "theirs": None, "ratio": None, "unit": column}
        for number, column in enumerate(configs.COLUMNS)
    ]
    rows.append({**rows[1], "name": "config/a/examples/s"})
    first, second = registry.format_table([compared, *rows]).split("\n\n")
    assert first.splitlines()[2] == "| a/b | 314.1 | 100.0 | 3.142 | notes/s |"
    head, _, small, a = second.splitlines()
    assert head.split(" | ")[1:3] == ["steps/s", "examples/s"]
    assert small == f"| b:small | {' | '.join(str(10 + number) for number in range(len(configs.COLUMNS)))} |"
    assert a.replace("–", " ").split() == ["|", "a", *"||", "11", *"|||||||"]
    assert registry.format_table(rows) == second


def test_every_configuration_is_a_benchmark():
    assert {"natsiou2023", "rebnord2022", "caillon2020_continuous"} <= set(config_names())
    for name in config_names():
        assert load_config(name).model.name
    assert load_config("rebnord2022:8_dim").model.latent_size == 8
    with pytest.raises(ValueError, match="--config=natsiou: no such configuration"):
        registry.run_benchmarks(["harmonic_features", "config/natsiou"])


def test_columns_of_a_configuration_are_consistent(tmp_path):
    config = default_config()
    config.representation = representation_section("log_mel", n_mels=8, n_frames=6)
    config.model = model_section("dense_vae", latent_size=3, basis_size=4, width=5, depth=1)
    config.train.batch_size, config.train.steps = 4, 10
    config = resolve(config)
    config.data.store = str(configs.make_store(config, tmp_path / "store", sounds=8))
    measured = configs.measure_training(config, tmp_path / "run", steps=2, seconds=0.0)
    assert set(measured) == set(configs.COLUMNS)
    assert all(value > 0 for value in measured.values()), measured
    assert measured["examples/s"] == pytest.approx(4 * measured["steps/s"])
    assert measured["GFLOP/s"] == pytest.approx(measured["GFLOP/step"] * measured["steps/s"])
    assert measured["% of peak"] < 100
    # The basis projects 48 values to 4 and back, which with or without gradients takes two to six products.
    products = 2 * 4 * 48 * 4
    assert 2 * products < measured["GFLOP/step"] * 1e9 < 12 * products
