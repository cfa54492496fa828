"""Tests of streams in blocks of any sizes against the whole sound."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timbre_jax.inference import streaming
from timbre_jax.models import make_model
from timbre_jax.representations import LogMel
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features, Latent, concatenate_frames, slice_frames

MEL = LogMel(length=6400, hop=128, n_mels=6, n_frames=0, reference="fixed", loudness=True)
N = 23


def sounds(frames=N):
    generator = np.random.default_rng(0)
    mask = np.ones((2, frames), np.float32)
    mask[1, 13:] = 0.0
    loudness = generator.uniform(-60, -10, (2, frames)).astype(np.float32)
    values = generator.random((2, frames, 6)).astype(np.float32)
    return Features(values=values, mask=mask, conditions={"loudness": loudness}, rate=MEL.rate)


def make_space():
    model = make_model(
        "frame_vae", feature_shape=(N, 6), latent_size=3, channels=(8, 8), strided_layer=1, kernel=3, relative_range_db=60.0
    )
    variables = model.initialize(dict(jax.jit(model.init)(jax.random.key(0), sounds())), lambda: [sounds()])
    stats = jax.tree.map(lambda x: x + 0.1, variables["batch_stats"])
    return TimbreSpace(
        variables={**variables, "batch_stats": stats},
        statistics={"condition_loudness": jnp.float32(-30.0)},
        model=model,
        representation=MEL,
    )


@pytest.fixture(scope="module")
def spaces():
    space = make_space()
    by_causality = {causal: space.replace(model=space.model.clone(causal=causal)) for causal in (False, True)}
    return {causal: (space, space.encode(sounds())) for causal, space in by_causality.items()}


def in_blocks(record, sizes):
    """Yields a record in blocks of sizes that repeat."""
    place, count = 0, record.values.shape[1]
    for size in itertools.cycle(sizes):
        yield slice_frames(record, place, min(place + size, count))
        place += size
        if place >= count:
            return


@pytest.mark.parametrize("direction", ["encode", "decode"])
@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.sampled_from([1, 2, 3, 5, 30]), min_size=1, max_size=6), causal=st.booleans())
def test_a_stream_in_blocks_of_any_size_equals_the_whole(spaces, direction, sizes, causal):
    space, latent = spaces[causal]
    if direction == "encode":
        record, whole = sounds(), latent
        begin, step, finish = streaming.encoder_state, streaming.encode_block, streaming.finish_encoding
    else:
        record, whole = latent, space.decode(latent)
        begin, step, finish = streaming.decoder_state, streaming.decode_block, streaming.finish_decoding
    state, parts = begin(space, 2), []
    for block in in_blocks(record, sizes):
        state, part = step(space, state, block)
        parts.append(part)
    _, rest = finish(space, state)
    result = concatenate_frames([*parts, rest])
    np.testing.assert_allclose(result.values, whole.values, atol=1e-5)
    np.testing.assert_array_equal(result.mask, whole.mask)
    np.testing.assert_allclose(result.conditions["loudness"], whole.conditions["loudness"], atol=1e-5)
    assert result.rate == whole.rate


def test_results_are_delayed_by_exactly_the_look_ahead(spaces):
    for causal, (space, whole) in spaces.items():
        late = streaming.look_ahead(space)
        assert (late.encoder, late.decoder) == ((0, 0) if causal else space.model.look_ahead)
        assert causal or late.encoder > 0
        state, counts = streaming.encoder_state(space, 2), []
        for block in in_blocks(sounds(), [2]):
            state, latent = streaming.encode_block(space, state, block)
            counts.append(latent.values.shape[1])
        full = N // 2
        assert counts[:full] == [0] * late.encoder + [1] * (full - late.encoder)
        assert late.seconds["representation"] == pytest.approx(256 / 16000)
        assert late.seconds["all"] == pytest.approx((late.encoder + late.decoder) * 256 / 16000 + 256 / 16000)
        assert f"encoder {late.encoder} latents" in str(late)
        assert whole.values.shape[1] == 12


def test_states_can_be_restored_and_reused_after_finishing(spaces):
    space, whole = spaces[False]
    state = streaming.encoder_state(space, 2)
    state, first = streaming.encode_block(space, state, slice_frames(sounds(), 0, 9))
    kept = state
    streaming.encode_block(space, state, slice_frames(sounds(), 3, 9))
    state, second = streaming.encode_block(space, kept, slice_frames(sounds(), 9, N))
    state, rest = streaming.finish_encoding(space, state)
    np.testing.assert_allclose(concatenate_frames([first, second, rest]).values, whole.values, atol=1e-5)
    state, again = streaming.encode_block(space, state, sounds())
    _, rest = streaming.finish_encoding(space, state)
    np.testing.assert_allclose(concatenate_frames([again, rest]).values, whole.values, atol=1e-5)


def test_values_alone_are_decoded_at_the_median_loudness(spaces):
    space, latent = spaces[True]
    _, features = streaming.decode_block(space, streaming.decoder_state(space, 2), latent.values)
    expected = Latent(values=latent.values, conditions={"loudness": jnp.full(latent.values.shape[:2], -30.0)})
    np.testing.assert_allclose(features.values, space.decode(expected).values, atol=1e-5)


def test_empty_streams_and_single_frames_are_encoded(spaces):
    space, _ = spaces[False]
    _, empty = streaming.finish_encoding(space, streaming.encoder_state(space, 1))
    assert float(np.sum(empty.mask)) == 0.0
    one = jax.tree.map(lambda leaf: leaf[:1, :1], sounds())
    state, early = streaming.encode_block(space, streaming.encoder_state(space, 1), one)
    assert early.values.shape == (1, 0, 3)
    _, latent = streaming.finish_encoding(space, state)
    np.testing.assert_allclose(latent.values, space.encode(one).values, atol=1e-5)


def test_wrong_streams_are_refused(spaces):
    space, _ = spaces[False]
    state = streaming.encoder_state(space, 2)
    with pytest.raises(ValueError, match=r"block of features: expected \[2, n, 6\] \(got \[1, 4, 6\]\)"):
        streaming.encode_block(space, state, jax.tree.map(lambda leaf: leaf[:1], slice_frames(sounds(), 0, 4)))
    with pytest.raises(ValueError, match=r"latents: must be \[B, M, D\]"):
        streaming.decode_block(space, streaming.decoder_state(space, 2), jnp.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match=r"batch must be at least 1 \(got 0\)"):
        streaming.encoder_state(space, 0)
    static = dataclasses.replace(space, model=make_model("mean_image", feature_shape=(N, 6)))
    for function in (streaming.encoder_state, streaming.decoder_state, streaming.look_ahead):
        with pytest.raises(ValueError, match="the model MeanImage of this static space cannot stream"):
            function(static)


def test_conditions_of_the_whole_sound_are_passed_on(spaces):
    space, _ = spaces[False]
    features = sounds()
    level = jnp.asarray([-20.0, -30.0])
    state, parts = streaming.encoder_state(space, 2), []
    for block in in_blocks(features, [3]):
        state, latent = streaming.encode_block(space, state, block.replace(conditions={**block.conditions, "level_db": level}))
        parts.append(latent)
    _, last = streaming.finish_encoding(space, state)
    result = concatenate_frames([*parts, last])
    np.testing.assert_allclose(result.values[0, :11], space.encode(features).values[0, :11], atol=1e-5)
