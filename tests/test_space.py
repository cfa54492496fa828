"""Tests of `TimbreSpace` on an untrained model."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.checkpoint import init_variables
from timbre_jax.models import make_model
from timbre_jax.models.base import TimbreModel
from timbre_jax.representations import make_representation, representation_settings
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features, Latent, Posterior


@pytest.fixture(scope="module")
def space():
    representation = make_representation("harmonic_tracks", n_frames=20, n_harmonics=3, length=4000)
    model = make_model("conv_vae", feature_shape=representation.feature_shape, latent_size=3, channels=(4,))
    variables = jax.jit(lambda: init_variables(model, jax.random.key(0)))()
    statistics = {"latent_mean": jnp.zeros(3), "latent_std": jnp.ones(3)}
    return TimbreSpace(variables=variables, statistics=statistics, model=model, representation=representation)


@pytest.fixture(scope="module")
def waves():
    t = np.arange(4000) / 16000
    return np.stack([0.3 * np.sin(2 * np.pi * f * t) for f in (220.0, 440.0)]).astype(np.float32)


def test_embed_render_and_reconstruct_compose_the_single_steps(space, waves):
    features = space.analyze(waves)
    latent = space.embed(waves)
    assert latent.values.shape == (2, 3)
    np.testing.assert_array_equal(latent.values, space.encode(features).values)
    np.testing.assert_array_equal(latent.values, space.embed(waves).values)
    rendered = space.render(latent)
    assert rendered.shape == (2, 4000)
    np.testing.assert_array_equal(rendered, space.synthesize(space.decode(latent)))
    np.testing.assert_array_equal(rendered, space.reconstruct(waves))
    expected = space.model.reconstruct(space.variables, features).values
    np.testing.assert_allclose(space.decode(latent).values, expected, atol=1e-6)


def test_values_alone_are_accepted_as_latents(space):
    z = np.zeros((4, 3))
    np.testing.assert_array_equal(space.decode(z).values, space.decode(Latent(values=jnp.zeros((4, 3)))).values)
    assert space.render(z).shape == (4, 4000)
    assert (space.decode(z).mask == 1).all()


def test_reconstruction_restores_the_real_length(space, waves):
    reconstruction = space.reconstruct(waves, lengths=np.array([2000, 4000]))
    assert np.abs(reconstruction[0, 2600:]).max() == 0
    assert space.embed(waves, lengths=np.array([2000, 4000])).mask[0].sum() < 20


@pytest.mark.parametrize("shape", [(3,), (2, 4), (1, 2, 3)])
def test_latents_of_another_shape_are_refused(space, shape):
    with pytest.raises(ValueError, match=r"latents: must be \[B, D\] with D = 3 for this static space \(got"):
        space.decode(np.zeros(shape))


def test_waves_of_another_shape_are_refused(space):
    with pytest.raises(ValueError, match=r"waves: must be \[B, T\]"):
        space.embed(np.zeros(4000))


def test_a_space_is_a_pytree_for_map_jit_and_vmap(space):
    doubled = jax.tree.map(lambda x: 2 * x, space)
    assert isinstance(doubled, TimbreSpace)
    np.testing.assert_array_equal(doubled.statistics["latent_std"], 2.0)
    assert doubled.model == space.model
    assert hash((doubled.model, doubled.representation)) == hash((space.model, space.representation))
    leaves, structure = jax.tree.flatten(space)
    assert structure == jax.tree.structure(doubled)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    z = jnp.ones((2, 3))
    jitted = jax.jit(lambda s, z: s.decode(z).values)(space, z)
    np.testing.assert_allclose(jitted, space.decode(z).values, atol=1e-6)
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), space, doubled)
    each = jax.vmap(lambda s: s.decode(z).values)(both)
    np.testing.assert_allclose(each[1], doubled.decode(z).values, atol=1e-5)


def test_decoding_is_differentiable(space):
    assert np.abs(jax.grad(lambda z: space.decode(z).values.sum())(jnp.ones((1, 3)))).max() > 0


class Frames(TimbreModel):
    """Series model whose latents are the first features of each frame."""

    kind = "series"

    def posterior(self, features, *, train=False):
        z = features.values[..., : self.latent_size]
        return Posterior(z, jnp.full_like(z, -jnp.inf), features.mask, features.conditions, features.rate)

    def decode(self, latent, *, train=False):
        rest = self.feature_shape[1] - self.latent_size
        return Features(jnp.pad(latent.values, ((0, 0), (0, 0), (0, rest))), jnp.ones(latent.values.shape[:2]))


def test_a_series_space_has_one_latent_per_frame(space, waves):
    series = dataclasses.replace(space, variables={}, model=Frames(feature_shape=(20, 4), latent_size=2))
    assert (series.kind, space.kind) == ("series", "static")
    assert series.embed(waves).values.shape == (2, 20, 2)
    assert series.render(series.embed(waves)).shape == (2, 4000)
    with pytest.raises(ValueError, match=r"latents: must be \[B, M, D\] with D = 2 for this series space"):
        series.decode(np.zeros((2, 2)))


def test_settings_of_the_representation_are_json(space):
    settings = json.loads(json.dumps(representation_settings(space.representation)))
    assert make_representation("harmonic_tracks", **settings) == space.representation
    assert (space.sample_rate, space.latent_size) == (16000, 3)
