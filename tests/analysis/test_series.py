"""Tests of the selection of latents and frames in a series."""

from __future__ import annotations

import numpy as np

from timbre_jax.analysis.series import loudest_part, real_latents
from timbre_jax.types import Features, Latent


def test_padding_latents_are_removed():
    latent = Latent(values=np.arange(12.0).reshape(2, 3, 2), mask=np.array([[1, 1, 0], [1, 0, 0]]))
    values, owner = real_latents(latent)
    np.testing.assert_array_equal(values, [[0, 1], [2, 3], [6, 7]])
    np.testing.assert_array_equal(owner, [0, 0, 1])


def test_loudest_part_contains_the_loudest_frame():
    level = np.full((2, 100), -50.0, np.float32)
    level[0, 90], level[1, 0] = -10.0, -10.0
    features = Features(
        values=np.arange(200.0).reshape(2, 100, 1), mask=np.ones((2, 100)), conditions={"loudness": level}, rate=10.0
    )
    result = loudest_part(features, 20)
    assert result.values.shape == (2, 20, 1)
    np.testing.assert_array_equal(result.conditions["loudness"].max(1), -10.0)
    np.testing.assert_array_equal(np.diff(result.values[..., 0]), 1.0)
    assert loudest_part(features, 200).values.shape == (2, 100, 1)
