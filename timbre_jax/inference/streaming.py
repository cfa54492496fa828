"""Encodes and decodes sounds with a series space block by block, in real time.

    state = encoder_state(space)
    for block in blocks:                                   # Features of any number of frames
        state, latent = encode_block(space, state, block)  # the latents that are ready
    state, rest = finish_encoding(space, state)            # the latents delayed by the look-ahead

The concatenated results equal `space.encode` of the whole sound within 1e-5, for blocks of any sizes. The state is an explicit
pytree of arrays: it can be stored, copied and restored. The decoder has the same functions, from latents to features. Each
block size is compiled once, which takes seconds.

Latents are delayed by the look-ahead of the encoder, and frames by that of the decoder, because a layer that depends on both
sides of a frame must wait for later frames. A model with `causal=True` depends only on the past and has no look-ahead. The
analysis of the representation adds half a window. Its synthesis adds a delay that `look_ahead` does not include.

A model that can stream sets `TimbreModel.streaming` and has `look_ahead`, `encoder_state`, `encode_block`, `decoder_state` and
`decode_block`. Its blocks are whole numbers of latents, and each block returns as many latents or frames as it contains,
delayed by the look-ahead, so that the first results precede the sound and have mask 0. This module removes them and accepts
blocks of any size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp

from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Features, Latent, concatenate_frames, frame_mask, pad_frames, slice_frames


class StreamState(flax.struct.PyTreeNode):
    """State of a stream between two blocks.

    Attributes:
      model: state of the layers of the model.
      pending: features that do not fill a latent yet, or None.
      early: number of latents still to be removed, which precede the sound.
      curves: names of the per-frame conditions [B, n] of the blocks.
    """

    model: object
    pending: Features | None = None
    early: int = flax.struct.field(pytree_node=False, default=0)
    curves: tuple[str, ...] = flax.struct.field(pytree_node=False, default=())


@dataclasses.dataclass(frozen=True)
class LookAhead:
    """Look-ahead of a stream: the delay of its results behind the sound.

    Attributes:
      encoder: look-ahead of the encoder in latents.
      decoder: look-ahead of the decoder in latents.
      stride: frames per latent.
      representation: samples after the center of a frame that its analysis reads.
      hop: samples per frame.
      sample_rate: samples per second.
    """

    encoder: int
    decoder: int
    stride: int
    representation: int
    hop: int
    sample_rate: int

    @property
    def seconds(self) -> dict[str, float]:
        """Returns the look-ahead of each part, and their sum "all", in seconds."""
        latent = self.stride * self.hop / self.sample_rate
        parts = {
            "representation": self.representation / self.sample_rate,
            "encoder": self.encoder * latent,
            "decoder": self.decoder * latent,
        }
        return {**parts, "all": sum(parts.values())}

    def __str__(self) -> str:
        seconds = self.seconds
        return (
            f"look-ahead: encoder {self.encoder} latents ({1000 * seconds['encoder']:.0f} ms), decoder {self.decoder} latents "
            f"({1000 * seconds['decoder']:.0f} ms), analysis {self.representation} samples "
            f"({1000 * seconds['representation']:.0f} ms); {1000 * seconds['all']:.0f} ms in all, without the synthesis"
        )


def look_ahead(space: TimbreSpace) -> LookAhead:
    """Returns the look-ahead of encoder, decoder and representation.

    Raises:
      ValueError: the model of the space cannot stream.
    """
    _check_streaming(space)
    encoder, decoder = space.model.look_ahead
    representation = space.representation
    return LookAhead(
        encoder, decoder, space.model.stride, representation.look_ahead, representation.hop, representation.sample_rate
    )


def encoder_state(space: TimbreSpace, batch: int = 1) -> StreamState:
    """Returns the state of an encoder stream before its first block.

    Args:
      space: series space whose model can stream.
      batch: number B of sounds that are encoded in parallel.

    Raises:
      ValueError: the model of the space cannot stream, or `batch` is below 1.
    """
    _check_streaming(space, batch)
    return StreamState(space.model.encoder_state(batch), early=space.model.look_ahead[0])


def encode_block(space: TimbreSpace, state: StreamState, block: Features) -> tuple[StreamState, Latent]:
    """Encodes a block of features.

    Args:
      space: space of the stream.
      state: state before the block.
      block: features [B, n, F] of any number of frames.

    Returns:
      The state after the block, and the latents [B, m, D] that are ready; m may be 0.

    Raises:
      ValueError: the block has another shape than the stream.
    """
    model = space.model
    _check_block(block.values, model.feature_shape[1], "features", state)
    if state.pending is not None:
        block = concatenate_frames([state.pending, block])
    names = sorted(name for name, value in block.conditions.items() if jnp.ndim(value) == 2)
    state = state.replace(curves=tuple(names))
    whole = block.values.shape[1] - block.values.shape[1] % model.stride
    now, later = slice_frames(block, 0, whole), slice_frames(block, whole)
    state = state.replace(pending=later if later.values.shape[1] else None)
    if not whole:
        return state, _no_latents(space, block)
    return _run_block(space, state, now, "encode_block")


def finish_encoding(space: TimbreSpace, state: StreamState) -> tuple[StreamState, Latent]:
    """Ends an encoder stream: returns the state of a new one and the delayed latents.

    Args:
      space: space of the stream.
      state: state after the last block.
    """
    model, batch, outputs = space.model, _batch_size(state), []
    if state.pending is not None:
        filled = pad_frames(state.pending, model.stride)
        state, latent = _run_block(space, state.replace(pending=None), filled, "encode_block")
        outputs.append(latent)
    # A stream without any frame has no delayed latents.
    if state.early < model.look_ahead[0]:
        silence = _silence(space, batch, model.look_ahead[0] * model.stride, state.curves)
        state, latent = _run_block(space, state, silence, "encode_block")
        outputs.append(latent)
    return encoder_state(space, batch), concatenate_frames(outputs or [_no_latents(space, _silence(space, batch, 0))])


def decoder_state(space: TimbreSpace, batch: int = 1) -> StreamState:
    """Returns the state of a decoder stream before its first block.

    Args:
      space: series space whose model can stream.
      batch: number B of sounds that are decoded in parallel.

    Raises:
      ValueError: the model of the space cannot stream, or `batch` is below 1.
    """
    _check_streaming(space, batch)
    return StreamState(space.model.decoder_state(batch), early=space.model.look_ahead[1])


def decode_block(
    space: TimbreSpace, state: StreamState, block: Latent | Array, key: Array | None = None
) -> tuple[StreamState, Features]:
    """Decodes a block of latents.

    Args:
      space: space of the stream.
      state: state before the block.
      block: latents [B, m, D], or their values alone.
      key: random key of a stochastic decoder, the same for all blocks; None for a fixed key.

    Returns:
      The state after the block, and the features [B, n, F] that are ready; n may be 0.

    Raises:
      ValueError: the block has another shape than the stream.
    """
    block = space.latent(block)
    _check_block(block.values, space.latent_size, "latents", state)
    return _run_block(space, state, block.replace(mask=frame_mask(block)), "decode_block", key)


def finish_decoding(space: TimbreSpace, state: StreamState, key: Array | None = None) -> tuple[StreamState, Features]:
    """Ends a decoder stream: returns the state of a new one and the delayed features.

    Args:
      space: space of the stream.
      state: state after the last block.
      key: key of `decode_block`.
    """
    batch, late = _batch_size(state), space.model.look_ahead[1]
    if not late:
        return decoder_state(space, batch), _silence(space, batch, 0)
    nothing = space.latent(jnp.zeros((batch, late, space.latent_size)))
    nothing = nothing.replace(mask=jnp.zeros((batch, late)), rate=space.latent_rate)
    _, features = _run_block(space, state, nothing, "decode_block", key)
    return decoder_state(space, batch), features


def _silence(space: TimbreSpace, batch: int, frames: int, curves: Sequence[str] = ()) -> Features:
    """Returns features with values, mask and per-frame conditions of 0."""
    shape = (batch, frames, space.model.feature_shape[1])
    conditions = {name: jnp.zeros(shape[:2]) for name in curves}
    return Features(jnp.zeros(shape), jnp.zeros(shape[:2]), conditions, rate=space.representation.rate)


def _run_block(space: TimbreSpace, state: StreamState, block, method: str, key: Array | None = None):
    """Passes a block through the model and removes the results that precede the sound."""
    frames = space.model.stride if method == "decode_block" else 1
    model, result = _apply(space, state.model, block, key, method)
    removed = min(state.early * frames, result.values.shape[1])
    state = state.replace(model=model, early=state.early - removed // frames)
    return state, slice_frames(result, removed) if removed else result


@partial(jax.jit, static_argnames="method")
def _apply(space: TimbreSpace, state, block, key, method: str):
    """Applies a block method of the model; compiled."""
    key_argument = {"key": key} if method == "decode_block" else {}
    return space.model.apply(space.variables, state, block, **key_argument, method=method)


def _check_streaming(space: TimbreSpace, batch: int = 1) -> None:
    if not space.model.streaming:
        model = type(space.model).__name__
        raise ValueError(f"streaming: the model {model} of this {space.kind} space cannot stream; use a space of FrameVAE")
    if batch < 1:
        raise ValueError(f"streaming: batch must be at least 1 (got {batch})")


def _check_block(values: Array, width: int, noun: str, state: StreamState) -> None:
    batch = _batch_size(state)
    if values.ndim != 3 or values.shape[-1] != width or values.shape[0] != batch:
        raise ValueError(f"block of {noun}: expected [{batch}, n, {width}] (got {list(values.shape)})")


def _batch_size(state: StreamState) -> int:
    return jax.tree.leaves(state.model)[0].shape[0]


def _no_latents(space: TimbreSpace, block: Features) -> Latent:
    batch = block.values.shape[0]
    return Latent(
        values=jnp.zeros((batch, 0, space.latent_size)),
        mask=jnp.zeros((batch, 0)),
        conditions={name: value[:, :0] for name, value in block.conditions.items() if jnp.ndim(value) == 2},
        rate=block.rate / space.model.stride,
    )
