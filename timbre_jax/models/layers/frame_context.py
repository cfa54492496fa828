"""Frames with their neighbors, for what is made of several: of a whole series, and of one that comes block by block."""

from __future__ import annotations

import flax.struct
import jax.numpy as jnp
from jax import lax

from timbre_jax.types import Array


@flax.struct.dataclass
class FrameContext:
    """What is kept of a stream of frames.

    Attributes:
      number: int32 [B], absolute number of the frame that comes next; below 0 before the beginning.
      frames: [B, before + after, K], the last ones. mask: [B, after].
      inside: [B, K], the last frame within the mask. seen: [B] bool, whether there was one.
    """

    number: Array
    frames: Array
    mask: Array
    inside: Array
    seen: Array


def first_context(batch: int, width: int, *, before: int, after: int, late: int = 0) -> FrameContext:
    """Of a stream that has not begun and whose first `late` frames lie before the beginning."""
    return FrameContext(
        number=jnp.full((batch,), -late, jnp.int32),
        frames=jnp.zeros((batch, before + after, width)),
        mask=jnp.zeros((batch, after)),
        inside=jnp.zeros((batch, width)),
        seen=jnp.zeros((batch,), bool),
    )


def with_neighbors(
    frames: Array, mask: Array | None, context: FrameContext | None = None, *, before: int, after: int
) -> tuple[Array, Array, FrameContext | None]:
    """Frames [B, N, K] with `before` in front of them and `after` behind: [B, before + N + after, K].

    The first frame is held before the beginning. Frames outside the mask hold the last one inside it, and the last one is held
    after the end: so what a batch pads sounds with changes nothing at their ends.

    Args:
      mask: [B, N]; None: all inside.
      context: of a stream. The frames are then those that came before and these, N more than `before + after`: what is made of
        them is late by `after` frames. None: they are the whole series.

    Returns:
      The frames, the mask [B, N] of those in the middle, and the stream's next context.
    """
    count = frames.shape[1]
    mask = jnp.ones(frames.shape[:2], frames.dtype) if mask is None else mask
    latest = lax.cummax(jnp.where(mask > 0, jnp.arange(count), -1), axis=1)
    known = jnp.take_along_axis(frames, jnp.maximum(latest, 0)[..., None], axis=1)
    if context is None:
        frames = jnp.where(latest[..., None] >= 0, known, frames)
        return jnp.pad(frames, ((0, 0), (before, after), (0, 0)), mode="edge"), mask, None
    earlier = jnp.where(context.seen[:, None, None], context.inside[:, None], frames)
    frames = jnp.where(latest[..., None] >= 0, known, earlier)
    joined = jnp.concatenate([context.frames, frames], axis=1)
    kept = before + after
    numbers = context.number[0] - kept + jnp.arange(kept + count)
    first = lax.dynamic_slice_in_dim(joined, jnp.clip(kept - context.number[0], 0, kept + count - 1), 1, axis=1)
    joined = jnp.where((numbers < 0)[:, None], first, joined)
    waiting = jnp.concatenate([context.mask, mask], axis=1)
    seen = context.seen | jnp.any(mask > 0, axis=1)
    after_this = FrameContext(
        number=context.number + count,
        frames=joined[:, count:],
        mask=waiting[:, count:],
        inside=jnp.where(seen[:, None], frames[:, -1], context.inside),
        seen=seen,
    )
    return joined, waiting[:, :count], after_this
