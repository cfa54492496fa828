"""Series spaces in real time: the same weights and the same numbers as of whole sounds, block by block.

    state = encoder_state(space)
    for block in blocks:                                   # Features, any number of frames each
        state, latent = encode_block(space, state, block)  # what is ready so far
    state, rest = finish_encoding(space, state)            # what the look-ahead still held back

All that came out, one after another, is `space.encode` of the whole within 1e-5, whatever the sizes of the blocks. The state is
explicit, a pytree of arrays: it can be kept, copied, and gone back to. The decoder has the same four functions, from latents to
features. Blocks of one size are compiled once; the first sizes take seconds each.

Latents come late by the encoder's look-ahead, and frames by the decoder's (`look_ahead`): a layer that looks at both sides of a
frame needs frames that have not sounded yet. A model with `causal=True` looks back only and has none of its own. What the
representation waits for (half a window), and its way back to sound, come on top: `look_ahead` says both.

A model that can stream declares it (`TimbreModel.streaming`) and has `look_ahead`, `encoder_state`, `encode_block`,
`decoder_state` and `decode_block`; in those a block is a whole number of latents, goes in at once, and comes out as long as
it went in, late by the look-ahead: the first of what comes out lies before the beginning and has mask 0. This module leaves
that out, and deals with blocks of any size.
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
    """Where a stream is.

    Attributes:
      model: what the model's layers keep.
      pending: features that do not fill a latent yet, or None.
      early: latents still to be left out, which lie before the beginning.
      curves: names of the conditions [B, n] that the blocks have.
    """

    model: object
    pending: Features | None = None
    early: int = flax.struct.field(pytree_node=False, default=0)
    curves: tuple[str, ...] = flax.struct.field(pytree_node=False, default=())


@dataclasses.dataclass(frozen=True)
class LookAhead:
    """How much later than the sound a stream's results can come.

    Attributes:
      encoder, decoder: in latents. stride: frames a latent.
      representation: samples after a frame's center that its analysis reads.
      hop, sample_rate: samples a frame; Hz.
    """

    encoder: int
    decoder: int
    stride: int
    representation: int
    hop: int
    sample_rate: int

    @property
    def seconds(self) -> dict[str, float]:
        """Of each part, and their sum."""
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
            f"({1000 * seconds['representation']:.0f} ms); {1000 * seconds['all']:.0f} ms in all, before the way back to sound"
        )


def look_ahead(space: TimbreSpace) -> LookAhead:
    """Of encoder, decoder and representation. `print` it.

    Raises:
      ValueError: the space cannot be a stream.
    """
    _check(space)
    encoder, decoder = space.model.look_ahead
    representation = space.representation
    return LookAhead(
        encoder, decoder, space.model.stride, representation.look_ahead, representation.hop, representation.sample_rate
    )


def encoder_state(space: TimbreSpace, batch: int = 1) -> StreamState:
    """Of a stream of features that has not begun.

    Raises:
      ValueError: the space cannot be a stream.
    """
    _check(space, batch)
    return StreamState(space.model.encoder_state(batch), early=space.model.look_ahead[0])


def encode_block(space: TimbreSpace, state: StreamState, block: Features) -> tuple[StreamState, Latent]:
    """The state after a block of features [B, n, F], and the latents [B, m, D] that are ready; m may be 0.

    Raises:
      ValueError: blocks of another shape than the stream's.
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
    return _run(space, state, now, "encode_block")


def finish_encoding(space: TimbreSpace, state: StreamState) -> tuple[StreamState, Latent]:
    """The latents that the look-ahead held back, and a state as before the first block."""
    model, batch, outputs = space.model, _batch(state), []
    if state.pending is not None:
        filled = pad_frames(state.pending, model.stride)
        state, latent = _run(space, state.replace(pending=None), filled, "encode_block")
        outputs.append(latent)
    # Where no frame ever came, nothing is held back.
    if state.early < model.look_ahead[0]:
        silence = _silence(space, batch, model.look_ahead[0] * model.stride, state.curves)
        state, latent = _run(space, state, silence, "encode_block")
        outputs.append(latent)
    return encoder_state(space, batch), concatenate_frames(outputs or [_no_latents(space, _silence(space, batch, 0))])


def decoder_state(space: TimbreSpace, batch: int = 1) -> StreamState:
    """Of a stream of latents that has not begun.

    Raises:
      ValueError: the space cannot be a stream.
    """
    _check(space, batch)
    return StreamState(space.model.decoder_state(batch), early=space.model.look_ahead[1])


def decode_block(
    space: TimbreSpace, state: StreamState, block: Latent | Array, key: Array | None = None
) -> tuple[StreamState, Features]:
    """The state after a block of latents [B, m, D], and the frames [B, n, F] that are ready; n may be 0.

    Args:
      key: of what the decoder draws, the same for every block; None is a fixed one.
    """
    block = space.latent(block)
    _check_block(block.values, space.latent_size, "latents", state)
    return _run(space, state, block.replace(mask=frame_mask(block)), "decode_block", key)


def finish_decoding(space: TimbreSpace, state: StreamState, key: Array | None = None) -> tuple[StreamState, Features]:
    """The frames that the look-ahead held back, and a state as before the first block."""
    batch, late = _batch(state), space.model.look_ahead[1]
    if not late:
        return decoder_state(space, batch), _silence(space, batch, 0)
    nothing = space.latent(jnp.zeros((batch, late, space.latent_size)))
    nothing = nothing.replace(mask=jnp.zeros((batch, late)), rate=space.latent_rate)
    _, features = _run(space, state, nothing, "decode_block", key)
    return decoder_state(space, batch), features


def _silence(space: TimbreSpace, batch: int, frames: int, curves: Sequence[str] = ()) -> Features:
    """Returns features of 0 outside the mask, with conditions of 0 that change over time."""
    shape = (batch, frames, space.model.feature_shape[1])
    conditions = {name: jnp.zeros(shape[:2]) for name in curves}
    return Features(jnp.zeros(shape), jnp.zeros(shape[:2]), conditions, rate=space.representation.rate)


def _run(space: TimbreSpace, state: StreamState, block, method: str, key: Array | None = None):
    """Through the model, without what lies before the beginning."""
    frames = space.model.stride if method == "decode_block" else 1
    model, result = _stepped(space, state.model, block, key, method)
    left_out = min(state.early * frames, result.values.shape[1])
    state = state.replace(model=model, early=state.early - left_out // frames)
    return state, slice_frames(result, left_out) if left_out else result


@partial(jax.jit, static_argnames="method")
def _stepped(space: TimbreSpace, state, block, key, method: str):
    drawn = {"key": key} if method == "decode_block" else {}
    return space.model.apply(space.variables, state, block, **drawn, method=method)


def _check(space: TimbreSpace, batch: int = 1) -> None:
    if not space.model.streaming:
        raise ValueError(
            f"a {space.kind} space of the model {type(space.model).__name__} cannot be a stream; series spaces can (FrameVAE)"
        )
    if batch < 1:
        raise ValueError(f"a stream is of at least one sound at a time, not {batch}")


def _check_block(values: Array, width: int, what: str, state: StreamState) -> None:
    batch = _batch(state)
    if values.ndim != 3 or values.shape[-1] != width or values.shape[0] != batch:
        raise ValueError(f"a block of {what} of this stream is [{batch}, n, {width}], not {list(values.shape)}")


def _batch(state: StreamState) -> int:
    return jax.tree.leaves(state.model)[0].shape[0]


def _no_latents(space: TimbreSpace, block: Features) -> Latent:
    batch = block.values.shape[0]
    return Latent(
        values=jnp.zeros((batch, 0, space.latent_size)),
        mask=jnp.zeros((batch, 0)),
        conditions={name: value[:, :0] for name, value in block.conditions.items() if jnp.ndim(value) == 2},
        rate=block.rate / space.model.stride,
    )
