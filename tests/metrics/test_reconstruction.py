"""Tests of reconstruction scores on the common scale, for different normalizations."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from tests.helpers.planted import fitted_space, planted_notes, small_tracks
from timbre_jax.audio.distances import mse, ssim
from timbre_jax.inference.batched import encode_features
from timbre_jax.metrics.reconstruction import (
    common_features,
    common_values,
    image_scores,
    pair_scores,
    reconstruction_scores,
    score_definition,
    score_latents,
)
from timbre_jax.representations import HarmonicTracks, Representation
from timbre_jax.types import Features

# Compiled once, not operation by operation.
jit_pair_scores = jax.jit(pair_scores)
jit_common_values = jax.jit(common_values, static_argnums=0)


@pytest.fixture(scope="module")
def planted():
    return planted_notes(40)


def test_common_scale_equals_defaults_of_harmonic_tracks(planted):
    values = np.asarray(planted.features.values)
    np.testing.assert_allclose(jit_common_values(planted.representation, values), values, atol=1e-6)
    fitted = dataclasses.replace(planted.representation, f0_scale="hz", f0_range=(90.0, 1900.0), amplitude_range=(-80.0, -10.0))
    own = jax.jit(lambda x: fitted.normalize(*planted.representation.denormalize(x)))(values)
    assert np.abs(np.asarray(own) - values).max() > 0.05
    inside = (np.asarray(own) > 0) & (np.asarray(own) < 1)
    np.testing.assert_allclose(np.asarray(jit_common_values(fitted, own))[inside], values[inside], atol=1e-5)


def test_only_the_first_seven_harmonics_are_scored():
    wide = dataclasses.replace(small_tracks(), n_harmonics=20)
    f0, level = np.full((2, 24), 200.0), np.linspace(-60, -10, 20) * np.ones((2, 24, 1))
    narrow = jax.jit(HarmonicTracks(n_harmonics=7).normalize)(f0, level[..., :7])
    np.testing.assert_allclose(jit_common_values(wide, jax.jit(wide.normalize)(f0, level)), narrow, atol=1e-6)
    assert "first 7 harmonics" in score_definition(wide)
    assert "first 3 harmonics" in score_definition(dataclasses.replace(wide, n_harmonics=3))


def test_padding_does_not_count():
    generator = np.random.default_rng(0)
    a, b = generator.random((2, 1, 30, 8)).astype(np.float32)
    full = jit_pair_scores(a, b, np.ones((1, 30), np.float32))
    np.testing.assert_allclose(full, jax.jit(lambda a, b: (mse(a, b), ssim(a, b)))(a, b), rtol=1e-5)
    pad = ((0, 0), (0, 25), (0, 0))
    mask = np.pad(np.ones((1, 30), np.float32), ((0, 0), (0, 25)))
    longer_a, longer_b = np.pad(a, pad, constant_values=0.7), np.pad(b, pad, constant_values=0.1)
    error, similarity = jit_pair_scores(longer_a, longer_b, mask)
    np.testing.assert_allclose(error, full[0], rtol=1e-5)
    # Windows at the end of the sound include padding (zero in both), so SSIM is not exactly equal.
    np.testing.assert_allclose(similarity, full[1], atol=0.15)
    untouched = jit_pair_scores(longer_a, longer_b, np.ones_like(mask))
    assert untouched[0][0] > 1.2 * error[0]


def test_perfect_reconstruction_scores_better_than_the_mean_image(planted):
    space = fitted_space(planted, latent_size=4)
    scores = reconstruction_scores(space, planted.features)
    assert scores.mse.max() < 1e-6
    assert scores.ssim.min() > 0.999
    target = common_features(planted.representation, planted.features)
    mean_image = image_scores(np.broadcast_to(np.asarray(target.values).mean(0), target.values.shape), target)
    assert mean_image.mse.mean() == pytest.approx(np.asarray(target.values).var(0).mean(), rel=1e-4)


def test_scores_do_not_depend_on_batches(planted):
    space = fitted_space(planted, latent_size=2)
    notes = encode_features(space, planted.features, batch_size=7)
    one = score_latents(space, notes.values, notes, planted.features, batch_size=16)
    order = np.random.default_rng(0).permutation(40)
    other = score_latents(space, notes.values[order], notes, planted.features, rows=order, batch_size=5)
    np.testing.assert_allclose(other.mse, one.mse[order], rtol=1e-4)
    np.testing.assert_allclose(other.ssim, one.ssim[order], rtol=1e-4)
    swapped = score_latents(space, notes.values, notes, planted.features, rows=order)
    assert swapped.mse.mean() > 2 * one.mse.mean()
    with pytest.raises(ValueError, match="got 3 for 40"):
        score_latents(space, notes.values, notes, planted.features, rows=np.arange(3))


def test_common_target_includes_clipping_by_fitted_ranges(planted):
    narrow = dataclasses.replace(planted.representation, amplitude_range=(-55.0, -45.0))
    denormalize = planted.representation.denormalize
    values = jax.jit(lambda x: narrow.normalize(*denormalize(x)))(planted.features.values)
    own = planted.features.replace(values=np.asarray(values))
    space = fitted_space(dataclasses.replace(planted, representation=narrow, features=own), latent_size=8)
    flattered = reconstruction_scores(space, own).mse.mean()
    honest = reconstruction_scores(space, own, target=common_features(planted.representation, planted.features)).mse.mean()
    assert honest > 1.3 * flattered


def test_other_features_are_scored_unchanged():
    class Plain(Representation):
        name = "plain"
        feature_shape = (10, 8)

        def analyze(self, waves, lengths=None):
            raise NotImplementedError

    values = np.random.default_rng(0).random((1, 10, 8))
    assert common_values(Plain(), values) is values
    assert "not comparable" in score_definition(Plain())
    assert Features(values=values, mask=np.ones((1, 10))).values is values
