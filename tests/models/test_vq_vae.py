import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.audio.distances import multi_resolution_stft_distance
from timbre_jax.inference import streaming
from timbre_jax.models import make_model
from timbre_jax.models.layers.codebook import perplexity
from timbre_jax.representations import make_representation
from timbre_jax.space import TimbreSpace
from timbre_jax.training.state import create_state, make_optimizer
from timbre_jax.training.step import make_train_step
from timbre_jax.types import concatenate_frames

RATE, HOP, WINDOW, FRAMES = 8000, 64, 256, 20
SMALL = {
    "vq_vae": {"channels": (4, 4, 8), "kernel": 5, "width": 16, "depth": 1},
    "spectral_vq_vae": {"channels": (24,), "kernel": 3},
}
# What both share and takes long to compile is tried quickly with one of them.
ONE = pytest.mark.parametrize("name", ["spectral_vq_vae", pytest.param("vq_vae", marks=pytest.mark.slow)])
SLOW_BOTH = pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in sorted(SMALL)])


def sounds(count, *, seed=0):
    """Tones of four harmonics with a decay, of different pitch, brightness and level."""
    generator, t = np.random.default_rng(seed), np.arange(FRAMES * HOP) / RATE
    f0, tilt = generator.uniform(200, 900, count), generator.uniform(0.3, 0.9, count)
    waves = sum(tilt[:, None] ** h * np.sin(2 * np.pi * h * f0[:, None] * t) for h in range(1, 5))
    return (generator.uniform(0.05, 0.3, count)[:, None] * waves * np.exp(-3 * t)).astype(np.float32)


@functools.cache
def representation():
    return make_representation("wave_frames", sample_rate=RATE, length=FRAMES * HOP, hop=HOP, window=WINDOW)


@functools.cache
def space(name, books=1):
    """An untrained model, initialized from sounds."""
    features = representation().analyze(jnp.asarray(sounds(12)))
    settings = {"codes": 16, "latent_size": 8, "window": WINDOW, "num_codebooks": books, **SMALL[name]}
    model = make_model(name, feature_shape=features.values.shape[1:], **settings)
    variables = model.initialize(dict(jax.jit(model.init)(jax.random.key(0), features)), lambda: [features])
    return TimbreSpace(variables=variables, statistics={}, model=model, representation=representation())


def blocks(record, sizes):
    start = 0
    for size in sizes:
        yield jax.tree.map(lambda x, a=start, b=start + size: x[:, a:b], record)
        start += size


@pytest.mark.parametrize("sizes", [(5, 5, 5, 5), pytest.param((1, 5, 14), marks=pytest.mark.slow)])
@ONE
def test_a_stream_is_the_whole(name, sizes):
    of, key = space(name), jax.random.key(4)
    features = representation().analyze(jnp.asarray(sounds(2, seed=5)))
    whole = of.encode(features)
    sound = of.decode(whole, key)
    state, parts = streaming.encoder_state(of, 2), []
    for block in blocks(features, sizes):
        state, part = streaming.encode_block(of, state, block)
        parts.append(part)
    found = concatenate_frames([*parts, streaming.finish_encoding(of, state)[1]])
    np.testing.assert_array_equal(found.codes, whole.codes)
    np.testing.assert_allclose(found.values, whole.values, atol=1e-5)
    np.testing.assert_allclose(found.conditions["gain_db"], whole.conditions["gain_db"], atol=1e-4)
    state, parts = streaming.decoder_state(of, 2), []
    for block in blocks(whole, sizes):
        state, part = streaming.decode_block(of, state, block, key)
        parts.append(part)
    made = concatenate_frames([*parts, streaming.finish_decoding(of, state, key)[1]])
    np.testing.assert_allclose(made.values, sound.values, atol=1e-5)
    np.testing.assert_array_equal(made.mask, sound.mask)
    assert streaming.look_ahead(of).encoder == (1 if name == "vq_vae" else 3)
    assert streaming.look_ahead(of).decoder == (2 if name == "vq_vae" else 5)


@ONE
def test_codes_carry_no_level_and_the_gain_is_the_level(name):
    of, waves = space(name), sounds(3, seed=2)
    loud, quiet = of.embed(waves), of.embed(0.1 * waves)
    np.testing.assert_array_equal(loud.codes, quiet.codes)
    np.testing.assert_allclose(quiet.conditions["gain_db"], loud.conditions["gain_db"] - 20.0, atol=1e-3)
    level = 10 * np.log10(np.mean(np.square(of.render(loud)), -1) / np.mean(np.square(waves), -1))
    np.testing.assert_allclose(level, 0.0, atol=2.0)
    np.testing.assert_allclose(of.render(quiet), 0.1 * of.render(loud), atol=2e-4)


@SLOW_BOTH
def test_what_pads_a_sound_changes_nothing(name):
    of, key, length = space(name), jax.random.key(1), 12 * HOP
    short = make_representation("wave_frames", sample_rate=RATE, length=length, hop=HOP, window=WINDOW)
    wave = sounds(1)[:, :length]
    alone = of.replace(representation=short).reconstruct(wave, key)
    padded = of.reconstruct(np.pad(wave, ((0, 0), (0, FRAMES * HOP - length))), key, jnp.asarray([length]))
    np.testing.assert_allclose(padded[:, :length], alone, atol=1e-5)
    assert float(jnp.abs(padded[:, length:]).max()) == 0.0


@ONE
def test_silence_and_a_sound_of_one_frame(name):
    of = space(name)
    np.testing.assert_array_equal(of.reconstruct(jnp.zeros((1, FRAMES * HOP))), 0.0)
    one = make_representation("wave_frames", sample_rate=RATE, length=HOP, hop=HOP, window=WINDOW)
    latent = of.replace(representation=one).embed(sounds(1)[:, :HOP])
    assert latent.values.shape == (1, 1, 8)
    assert latent.codes.shape == (1, 1)
    wave = of.replace(representation=one).render(latent)
    assert wave.shape == (1, HOP)
    assert np.isfinite(wave).all()


@pytest.mark.parametrize("books", [1, pytest.param(2, marks=pytest.mark.slow)])
@ONE
def test_codes_are_values(name, books):
    of = space(name, books)
    latent = of.embed(sounds(2))
    assert latent.codes.shape == ((2, FRAMES) if books == 1 else (2, FRAMES, 2))
    assert of.model.codebook(of.variables).shape == ((16, 8) if books == 1 else (2, 16, 8))
    np.testing.assert_array_equal(of.model.from_codes(of.variables, latent.codes), latent.values)
    if books == 2:
        with pytest.raises(ValueError, match=r"codes: must be \[..., 2\]"):
            of.model.from_codes(of.variables, np.zeros((2, 5), int))


def test_noise_is_the_keys():
    of = space("vq_vae")
    latent = of.embed(sounds(1))
    np.testing.assert_array_equal(of.render(latent), of.render(latent))
    first, other = of.render(latent, jax.random.key(1)), of.render(latent, jax.random.key(2))
    assert float(jnp.abs(first - other).max()) > 1e-2
    assert not space("spectral_vq_vae").model.stochastic_decoder


def test_nothing_begins_from_silence():
    of = space("spectral_vq_vae")
    silent = representation().analyze(jnp.zeros((2, FRAMES * HOP)))
    with pytest.raises(ValueError, match="only silence"):
        of.model.initialize(of.variables, lambda: [silent])


@SLOW_BOTH
def test_a_small_training_learns_and_uses_many_codes(name):
    of, steps = space(name), 150
    features = representation().analyze(jnp.asarray(sounds(64)))
    model = of.model.clone(train_frames=10)
    state = create_state(model, make_optimizer(), jax.random.key(0), hyper={"learning_rate": 3e-3, "kl_weight": 1.0})
    variables = model.initialize(dict(state.variables()), lambda: [features])
    state = state.replace(params=variables.pop("params"), mutable=variables)
    step = jax.jit(make_train_step(model, make_optimizer(), total_steps=steps, clip=1.0))
    generator, held_out = np.random.default_rng(0), jnp.asarray(sounds(16, seed=9))
    before = of.replace(variables=state.variables()).reconstruct(held_out)
    for _ in range(steps):
        rows = generator.choice(64, 16, replace=False)
        batch = {"values": features.values[rows], "mask": features.mask[rows], "index": rows.astype(np.int32)}
        state, metrics = step(state, batch, jax.random.key(1))
    assert set(metrics) >= {"perplexity", "restarts", "commitment", "reconstruction"}
    trained = of.replace(variables=state.variables())
    distances = [float(multi_resolution_stft_distance(x, held_out, n_ffts=(256, 128)).mean()) for x in (
        before, trained.reconstruct(held_out)
    )]  # fmt: skip
    assert distances[1] < 0.8 * distances[0]
    counts = np.bincount(np.asarray(trained.embed(held_out).codes).reshape(-1), minlength=16)
    assert float(perplexity(jnp.asarray(counts, jnp.float32))) > 4.0
