"""Sounds of any length through series spaces: the latents of the whole, in bounded parts."""

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
    return _space(MEL, "frame_vae", channels=(8, 8, 8), strided=1)


@pytest.fixture(scope="module")
def sound():
    return moving_sound(5 * PART * 128 - 77)


def whole_latent(space, wave):
    representation = space.representation.with_length(len(wave))
    return space.encode(representation.analyze(wave[None]))


def test_latents_in_parts_are_those_of_the_whole(space, sound):
    found, whole = chunked.embed_long(space, sound, part=PART), whole_latent(space, sound)
    assert found.rate == whole.rate
    assert found.values.shape[1] == -(-len(sound) // (space.representation.hop * space.model.stride))
    np.testing.assert_allclose(found.values, whole.values, atol=1e-4)
    np.testing.assert_allclose(found.mask, whole.mask)
    np.testing.assert_allclose(found.conditions["loudness"], whole.conditions["loudness"], atol=1e-3)
    decoded, expected = chunked.decode_long(space, found, part=PART), space.decode(whole)
    np.testing.assert_allclose(decoded.values, expected.values, atol=1e-4)
    np.testing.assert_allclose(decoded.mask, expected.mask)


@pytest.mark.parametrize("samples", [1, 5000])
def test_short_sounds_and_single_frames_too(space, samples):
    wave = moving_sound(samples)
    found, whole = chunked.embed_long(space, wave, part=PART), whole_latent(space, wave)
    np.testing.assert_allclose(found.values, whole.values, atol=1e-4)
    again = chunked.render_long(space, found, samples=samples, part=PART)
    assert again.shape == (samples,)
    assert np.isfinite(again).all()


def test_long_sounds_come_back_as_long_as_they_were(space, sound):
    again = chunked.reconstruct_long(space, sound, part=PART)
    assert again.shape == sound.shape
    assert np.isfinite(again).all()
    assert again.std() > 0


def test_a_model_that_is_no_stream_gets_the_sound_whole(sound):
    space = linear_space()
    found, whole = chunked.embed_long(space, sound, part=PART), whole_latent(space, sound)
    np.testing.assert_allclose(found.values, whole.values, atol=1e-4)
    decoded = chunked.decode_long(space, found, part=PART)
    np.testing.assert_allclose(decoded.values, space.decode(whole).values, atol=1e-4)


def test_silence_stays_finite(space):
    found = chunked.embed_long(space, np.zeros(3000, np.float32), part=PART)
    assert np.isfinite(found.values).all()
    np.testing.assert_array_equal(found.conditions["loudness"], -100.0)
    assert np.isfinite(chunked.render_long(space, found, part=PART)).all()


def test_static_spaces_and_wrong_shapes_are_said(space):
    representation = make_representation("harmonic_tracks", n_frames=20, n_harmonics=3, length=4000)
    static = TimbreSpace({}, {}, make_model("pca", feature_shape=(20, 4)), representation)
    with pytest.raises(ValueError, match="needs a series space"):
        chunked.embed_long(static, np.zeros(4000, np.float32))
    with pytest.raises(ValueError, match="latents of one sound"):
        chunked.decode_long(space, np.zeros((2, 3, 3), np.float32))


PEAK = """
import resource, sys
import jax, numpy as np
from tests.inference.test_chunked import MEL, _space
from timbre_jax.inference import chunked
import dataclasses
space = _space(dataclasses.replace(MEL, iterations=2, nnls_iterations=2), "frame_vae", channels=(8, 8, 8), strided=1)
minutes = float(sys.argv[1])
wave = np.random.default_rng(0).normal(0, 0.1, round(minutes * 60 * 16000)).astype(np.float32)
again = chunked.reconstruct_long(space, wave)
assert again.shape == wave.shape and np.isfinite(again).all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_ten_minutes_take_the_memory_of_their_results_and_of_one_part():
    """Beside the wave, features and latents (here 0.1 MB a second in all their copies), nothing grows with the length."""
    peaks = []
    for minutes in ("0.5", "10"):
        done = subprocess.run([sys.executable, "-c", PEAK, minutes], capture_output=True, text=True, check=True)
        peaks.append(float(done.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 400, peaks
