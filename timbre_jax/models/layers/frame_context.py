"""Adds neighbors to frames for synthesis, in a whole series or a stream of blocks."""

from __future__ import annotations

import flax.struct
import jax.numpy as jnp
from jax import lax

from timbre_jax.types import Array


@flax.struct.dataclass
class FrameContext:
    """State of a stream of frames.

    Attributes:
      number: [B] int32 index of the next frame in the series; negative before its start.
      frames: [B, before + after, K] latest frames.
      mask: [B, after] mask of the latest frames.
      last_unmasked: [B, K] latest frame within the mask.
      has_unmasked: [B] bool, whether any frame was within the mask.
    """

    number: Array
    frames: Array
    mask: Array
    last_unmasked: Array
    has_unmasked: Array


def initial_context(batch: int, width: int, *, before: int, after: int, delay: int = 0) -> FrameContext:
    """Returns the state of a stream that starts with `delay` frames of padding."""
    return FrameContext(
        number=jnp.full((batch,), -delay, jnp.int32),
        frames=jnp.zeros((batch, before + after, width)),
        mask=jnp.zeros((batch, after)),
        last_unmasked=jnp.zeros((batch, width)),
        has_unmasked=jnp.zeros((batch,), bool),
    )


def add_neighbors(
    frames: Array, mask: Array | None, context: FrameContext | None = None, *, before: int, after: int
) -> tuple[Array, Array, FrameContext | None]:
    """Adds neighbors to frames, [B, N, K] -> [B, before + N + after, K].

    The first frame repeats before the start. The last frame within the mask replaces those outside of it and repeats after the
    end, so that the padding of a batch does not influence the ends of sounds.

    Args:
      frames: [B, N, K].
      mask: [B, N], or None if all frames are within the sound.
      context: state of a stream, whose output is delayed by `after` frames; None if `frames` is the whole series.
      before: number of neighbors before each frame.
      after: number of neighbors after each frame.

    Returns:
      The frames with neighbors, the mask [B, N] of the N middle ones, and the next state of the stream.
    """
    count = frames.shape[1]
    mask = jnp.ones(frames.shape[:2], frames.dtype) if mask is None else mask
    latest = lax.cummax(jnp.where(mask > 0, jnp.arange(count), -1), axis=1)
    latest_frames = jnp.take_along_axis(frames, jnp.maximum(latest, 0)[..., None], axis=1)
    if context is None:
        frames = jnp.where(latest[..., None] >= 0, latest_frames, frames)
        return jnp.pad(frames, ((0, 0), (before, after), (0, 0)), mode="edge"), mask, None
    earlier = jnp.where(context.has_unmasked[:, None, None], context.last_unmasked[:, None], frames)
    frames = jnp.where(latest[..., None] >= 0, latest_frames, earlier)
    joined = jnp.concatenate([context.frames, frames], axis=1)
    neighbors = before + after
    numbers = context.number[0] - neighbors + jnp.arange(neighbors + count)
    first = lax.dynamic_slice_in_dim(joined, jnp.clip(neighbors - context.number[0], 0, neighbors + count - 1), 1, axis=1)
    joined = jnp.where((numbers < 0)[:, None], first, joined)
    waiting = jnp.concatenate([context.mask, mask], axis=1)
    has_unmasked = context.has_unmasked | jnp.any(mask > 0, axis=1)
    next_context = FrameContext(
        number=context.number + count,
        frames=joined[:, count:],
        mask=waiting[:, count:],
        last_unmasked=jnp.where(has_unmasked[:, None], frames[:, -1], context.last_unmasked),
        has_unmasked=has_unmasked,
    )
    return joined, waiting[:, :count], next_context
