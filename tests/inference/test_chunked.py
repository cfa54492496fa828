"""Tests of encoding and decoding of sounds of any length in parts."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.series import linear_space
from tests.representations.test_segments import MEL, moving_sound
from timbre_jax.checkpoint import init_variables
from timbre_jax.inference import chunked
from timbre_jax.models import make_model
from timbre_jax.representations import make_representation
from timbre_jax.space import TimbreSpace

PART = 64


def _space(representation, name, **settings):
    model = make_model(name, feature_shape=representation.feature_shape, latent_size=3, **settings)
    variables = jax.jit(lambda: init_variables(model, jax.random.key(0)))()
    statistics = {"latent_mean": jnp.zeros(3), "latent_std": jnp.ones(3), "condition_loudness": jnp.float32(-20.0)}
    return TimbreSpace(variables, statistics, model, representation)


@pytest.fixture(scope="module")
def space():
    return _space(MEL, "frame_vae", channels=(8, 8, 8), strided_layer=1)


@pytest.fixture(scope="module")
def sound():
    return moving_sound(5 * PART * 128 - 77)


def whole_latent(space, wave):
    representation = space.representation.with_length(len(wave))
    return space.encode(representation.analyze(wave[None]))


def test_parts_give_the_latents_and_features_of_the_whole(space, sound):
    latent, whole = chunked.embed_long(space, sound, part=PART), whole_latent(space, sound)
    assert latent.rate == whole.rate
    assert latent.values.shape[1] == -(-len(sound) // (space.representation.hop * space.model.stride))
    np.testing.assert_allclose(latent.values, whole.values, atol=1e-4)
    np.testing.assert_allclose(latent.mask, whole.mask)
    np.testing.assert_allclose(latent.conditions["loudness"], whole.conditions["loudness"], atol=1e-3)
    decoded, expected = chunked.decode_long(space, latent, part=PART), space.decode(whole)
    np.testing.assert_allclose(decoded.values, expected.values, atol=1e-4)
    np.testing.assert_allclose(decoded.mask, expected.mask)


@pytest.mark.parametrize("samples", [1, 5000])
def test_short_sounds_give_the_latents_of_the_whole(space, samples):
    wave = moving_sound(samples)
    latent, whole = chunked.embed_long(space, wave, part=PART), whole_latent(space, wave)
    np.testing.assert_allclose(latent.values, whole.values, atol=1e-4)
    rendered = chunked.render_long(space, latent, samples=samples, part=PART)
    assert rendered.shape == (samples,)
    assert np.isfinite(rendered).all()


def test_reconstruction_keeps_the_length(space, sound):
    wave = chunked.reconstruct_long(space, sound, part=PART)
    assert wave.shape == sound.shape
    assert np.isfinite(wave).all()
    assert wave.std() > 0


def test_a_model_that_cannot_stream_encodes_the_whole(sound):
    space = linear_space()
    latent, whole = chunked.embed_long(space, sound, part=PART), whole_latent(space, sound)
    np.testing.assert_allclose(latent.values, whole.values, atol=1e-4)
    decoded = chunked.decode_long(space, latent, part=PART)
    np.testing.assert_allclose(decoded.values, space.decode(whole).values, atol=1e-4)


def test_silence_is_encoded_and_rendered_as_finite_numbers(space):
    latent = chunked.embed_long(space, np.zeros(3000, np.float32), part=PART)
    assert np.isfinite(latent.values).all()
    np.testing.assert_array_equal(latent.conditions["loudness"], -100.0)
    assert np.isfinite(chunked.render_long(space, latent, part=PART)).all()


def test_static_spaces_and_wrong_shapes_are_refused(space):
    representation = make_representation("harmonic_tracks", n_frames=20, n_harmonics=3, length=4000)
    static = TimbreSpace({}, {}, make_model("pca", feature_shape=(20, 4)), representation)
    with pytest.raises(ValueError, match="needs a series space"):
        chunked.embed_long(static, np.zeros(4000, np.float32))
    with pytest.raises(ValueError, match="latents: expected one sound"):
        chunked.decode_long(space, np.zeros((2, 3, 3), np.float32))


PEAK = """
import sys
import jax, numpy as np
from tests.inference.test_chunked import MEL, _space
from timbre_jax.inference import chunked
from timbre_jax.training.profiling import peak_memory
import dataclasses
space = _space(dataclasses.replace(MEL, iterations=2, nnls_iterations=2), "frame_vae", channels=(8, 8, 8), strided_layer=1)
minutes = float(sys.argv[1])
wave = np.random.default_rng(0).normal(0, 0.1, round(minutes * 60 * 16000)).astype(np.float32)
reconstruction = chunked.reconstruct_long(space, wave)
assert reconstruction.shape == wave.shape and np.isfinite(reconstruction).all()
print(peak_memory().process / 2**20)
"""


@pytest.mark.slow
def test_memory_grows_only_with_the_wave_features_and_latents():
    # The wave, features and latents and their copies take 0.1 MB per second of sound here.
    peaks = []
    for minutes in ("0.5", "10"):
        process = subprocess.run([sys.executable, "-c", PEAK, minutes], capture_output=True, text=True, check=True)
        peaks.append(float(process.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 400, peaks
