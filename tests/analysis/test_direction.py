"""Tests of the effects of latents on descriptors of notes."""

from __future__ import annotations

import numpy as np

from tests.helpers.planted import FACTORS, fitted_space, planted_notes
from timbre_jax.analysis.direction import direction_effects, harmonic_descriptors


def test_planted_factors_change_their_descriptors():
    space = fitted_space(planted_notes(60), latent_size=4)
    effects = direction_effects(space, steps=5)
    change = {name: np.abs(values[:, -1] - values[:, 0]) for name, values in effects.descriptors.items()}
    assert change["pitch_semitones"].argmax() == FACTORS.index("pitch")
    assert change["level_db"].argmax() == FACTORS.index("level")
    assert change["brightness_harmonics"].argmax() == FACTORS.index("brightness")
    assert change["temporal_centroid_seconds"].argmax() == FACTORS.index("decay")
    assert len(effects.table().rows) == 4


def test_descriptors_equal_known_values():
    f0 = np.full((2, 100), 440.0)
    f0[1] = 880.0
    level = np.full((2, 100, 3), -100.0)
    level[0, :, 0] = -20.0
    level[1, 50:, 2] = -40.0
    descriptors = harmonic_descriptors(f0, level, rate=50.0)
    np.testing.assert_allclose(descriptors["pitch_semitones"], [69, 81])
    np.testing.assert_allclose(descriptors["level_db"], [-20, -40], atol=1e-3)
    np.testing.assert_allclose(descriptors["brightness_harmonics"], [1, 3], atol=0.01)
    np.testing.assert_allclose(descriptors["temporal_centroid_seconds"], [0.99, 1.49], atol=0.01)
