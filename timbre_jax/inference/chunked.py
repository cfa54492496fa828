"""Sounds of any length through a series space and back: 20 ms or 10 minutes, with the memory of one part beside the result.

    latent = embed_long(space, wave)            # wave [T] -> Latent [1, M, D]
    wave = render_long(space, latent)           # and back

Latents are those of the whole sound within 1e-4: a long sound goes through the model as a stream (`inference.streaming`), a
short one at once, filled up by frames outside the mask to one of a few lengths, so that sounds of any length share a few
compilations. Of `representations.segments`: what happens between waves and features.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from timbre_jax.inference import streaming
from timbre_jax.inference.rendering import fit_length
from timbre_jax.inference.streaming import StreamState
from timbre_jax.representations.segments import PART, analyze_in_parts, padded_frames, synthesize_in_parts
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Features, Latent, concatenate_frames, pad_frames, slice_frames


def embed_long(space: TimbreSpace, wave: np.ndarray, *, part: int = PART) -> Latent:
    """A wave [T] of any length to its latents [1, M, D], M = ceil(T / hop / stride), as numpy.

    Args:
      part: frames that go through at once.

    Raises:
      ValueError: not a series space, or not a wave with at least one sample.
    """
    space.check_kind("series")
    return encode_long(space, analyze_in_parts(space.representation, wave, part=part), part=part)


def encode_long(space: TimbreSpace, features: Features, *, part: int = PART) -> Latent:
    """Features [1, N, F] of any length to latents [1, M, D] as numpy."""
    space.check_kind("series")
    features, stride = _as_numpy(features), space.model.stride
    if not _has_parts(space):
        return _as_numpy(space.encode(features))
    count, each = features.values.shape[1], part - part % stride
    size = padded_frames(count, part=each)
    whole = pad_frames(features, size + -size % stride)
    if size <= each:
        latent = _as_numpy(space.encode(whole))
    else:
        step, finish = (partial(f, space) for f in (streaming.encode_block, streaming.finish_encoding))
        latent = _streamed(whole, each, streaming.encoder_state(space), step, finish)
    return slice_frames(latent, 0, -(-count // stride))


def decode_long(space: TimbreSpace, latent: Latent | Array, key: Array | None = None, *, part: int = PART) -> Features:
    """Latents [1, M, D] of any length to features [1, stride * M, F] as numpy. `key`: as `space.decode` takes it."""
    space.check_kind("series")
    latent, stride = _as_numpy(space.latent(latent)), space.model.stride
    count = latent.values.shape[1]
    if latent.values.shape[0] != 1 or not count:
        raise ValueError(f"latents of one sound are [1, M, D] with M at least 1, not {latent.values.shape}")
    if not _has_parts(space):
        return _as_numpy(space.decode(latent, key))
    each = max(1, part // stride)
    whole = pad_frames(latent, padded_frames(count, part=each))
    if whole.values.shape[1] <= each:
        features = _as_numpy(space.decode(whole, key))
    else:
        step, finish = (partial(f, space, key=key) for f in (streaming.decode_block, streaming.finish_decoding))
        features = _streamed(whole, each, streaming.decoder_state(space), step, finish)
    return slice_frames(features, 0, count * stride)


def render_long(
    space: TimbreSpace, latent: Latent | Array, key: Array | None = None, *, samples: int | None = None, part: int = PART
) -> np.ndarray:
    """Latents [1, M, D] of any length to a wave [T] as numpy.

    Args:
      key: of what the decoder and the way back to sound draw; None: fixed.
      samples: T, cut or padded with silence; None: all, M * stride * hop.
    """
    features = decode_long(space, latent, key, part=part)
    wave = synthesize_in_parts(space.representation, features, key, part=part)
    return wave if samples is None else fit_length(wave[None], samples)[0]


def reconstruct_long(space: TimbreSpace, wave: np.ndarray, key: Array | None = None, *, part: int = PART) -> np.ndarray:
    """A wave [T] through the latents, [T]."""
    return render_long(space, embed_long(space, wave, part=part), key, samples=len(wave), part=part)


def _streamed(record: Features | Latent, each: int, state: StreamState, step: Callable, finish: Callable) -> Any:
    """Passes a record through a stream in blocks of `each` frames, and joins the results as numpy."""
    parts = []
    for start in range(0, record.values.shape[1], each):
        state, ready = step(state, slice_frames(record, start, start + each))
        parts.append(_as_numpy(ready))
    _, rest = finish(state)
    return concatenate_frames([*parts, _as_numpy(rest)])


def _as_numpy(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)


def _has_parts(space: TimbreSpace) -> bool:
    return space.model.streaming and space.representation.reach is not None
