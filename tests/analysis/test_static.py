"""Tests of the analysis of a static space without a run or store."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.planted import fitted_space, planted_notes
from timbre_jax.analysis.examples import static_examples
from timbre_jax.analysis.static import analyze_static
from timbre_jax.evaluation.sounds import SoundArrays
from timbre_jax.report.results import results
from timbre_jax.report.tables import tables


@pytest.fixture(scope="module")
def analyzed():
    planted = planted_notes(24)
    space = fitted_space(planted, latent_size=2)
    waves = np.asarray(space.synthesize(planted.features))
    pitch = np.round(60 + 10 * planted.factors[:, 0]).astype(int)
    labels = {"instrument": planted.instruments.astype(str), "pitch": pitch}
    sounds = SoundArrays.from_waves(space, waves, labels)
    return space, sounds, analyze_static(space, sounds, explained=3)


def test_missing_labels_are_unknown(analyzed):
    _, sounds, _ = analyzed
    assert sounds.features.values.shape == (24, 24, 8)
    assert set(sounds.labels) == {"id", "instrument", "family", "source", "pitch", "velocity"}
    assert np.unique(sounds.labels["velocity"]).tolist() == [-1]
    part = sounds.part(np.array([3, 5]))
    np.testing.assert_array_equal(part.audio([1]), sounds.audio([5]))
    np.testing.assert_array_equal(part.features.values, sounds.features.values[[3, 5]])
    assert sounds.varying_lengths([0, 1], most=10) is None
    assert sounds.lengths([0]).tolist() == [sounds.waves.shape[1]]


def test_planted_pitch_is_correlated(analyzed):
    space, _, result = analyzed
    assert result.description == "24 notes of 12 instruments"
    assert result.model == f"PCA with 2 latents on {space.representation.name.replace('_', ' ')}"
    spearman = result.correlations["spearman"]
    assert spearman.names[0] == "pitch"
    assert "velocity" not in spearman.names
    assert np.abs(spearman.value[:, 0]).max() > 0.9
    assert result.quality.baselines == {}
    assert len(result.explanations.groups) == 3


def test_record_has_unique_results_all_tables_and_examples(analyzed):
    space, sounds, result = analyzed
    names = [result.name for result in results(result)]
    assert len(set(names)) == len(names)
    assert "shapley/ssim/mean/latent_1" in names
    assert {"latents", "agreement", "directions", "paper_statements"} <= {table.name for table in tables(result)}
    examples = static_examples(space, sounds, result, number=2)
    assert [len(waves) for _, waves in examples.sounds] == [7, 7]
    assert [name for name, _ in examples.sweeps] == ["latent 0", "latent 1"]
    assert len(examples.images["ablations"]) == 4
