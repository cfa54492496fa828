"""Tests of the peak and length of rendered waves."""

from __future__ import annotations

import numpy as np

from timbre_jax.inference.rendering import fit_length, without_clipping


def test_only_waves_that_clip_are_attenuated():
    waves = np.array([[0.5, -0.25], [2.0, -4.0], [0.0, 0.0]], np.float32)
    np.testing.assert_allclose(without_clipping(waves), [[0.5, -0.25], [0.5, -1.0], [0.0, 0.0]])
    assert without_clipping(waves).dtype == np.float32


def test_waves_are_cut_or_padded_to_a_length():
    waves = np.ones((2, 3), np.float32)
    assert fit_length(waves, 2).shape == (2, 2)
    assert fit_length(waves, 5)[0].tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]
