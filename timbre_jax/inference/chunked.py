"""Sounds of any length through a series space and back: 20 ms or 10 minutes, with the memory of one part beside the result.

    latent = embed_long(space, wave)            # wave [T] -> Latent [1, M, D]
    wave = render_long(space, latent)           # and back

Latents are those of the whole sound within 1e-4: a long sound goes through the model as a stream (`inference.streaming`), a
short one at once, filled up by frames outside the mask to one of a few lengths, so that sounds of any length share a few
compilations. Of `representations.segments`: what happens between waves and features.
"""

from __future__ import annotations

import jax
import numpy as np

from timbre_jax.inference import streaming
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
    _check(space)
    return encode_long(space, analyze_in_parts(space.representation, wave, part=part), part=part)


def encode_long(space: TimbreSpace, features: Features, *, part: int = PART) -> Latent:
    """Features [1, N, F] of any length to latents [1, M, D] as numpy."""
    _check(space)
    stride = space.model.stride
    features = jax.tree.map(np.asarray, features)
    count = features.values.shape[1]
    latents = -(-count // stride)
    if not _has_parts(space):
        return jax.tree.map(np.asarray, space.encode(features))
    each = part - part % stride
    size = padded_frames(count, part=each)
    whole = pad_frames(features, size + -size % stride)
    if size <= each:
        return slice_frames(jax.tree.map(np.asarray, space.encode(whole)), 0, latents)
    state, parts = streaming.encoder_state(space), []
    for start in range(0, size, each):
        state, found = streaming.encode_block(space, state, slice_frames(whole, start, start + each))
        parts.append(jax.tree.map(np.asarray, found))
    _, found = streaming.finish_encoding(space, state)
    return slice_frames(concatenate_frames([*parts, jax.tree.map(np.asarray, found)]), 0, latents)


def decode_long(space: TimbreSpace, latent: Latent | Array, key: Array | None = None, *, part: int = PART) -> Features:
    """Latents [1, M, D] of any length to features [1, stride * M, F] as numpy. `key`: as `space.decode` takes it."""
    _check(space)
    latent = jax.tree.map(np.asarray, space.latent(latent))
    stride = space.model.stride
    count = latent.values.shape[1]
    if latent.values.shape[0] != 1 or not count:
        raise ValueError(f"latents of one sound are [1, M, D] with M at least 1, not {latent.values.shape}")
    given = {} if key is None else {"key": key}
    if not _has_parts(space):
        return jax.tree.map(np.asarray, space.decode(latent, **given))
    each = max(1, part // stride)
    size = padded_frames(count, part=each)
    whole = pad_frames(latent, size)
    if size <= each:
        return slice_frames(jax.tree.map(np.asarray, space.decode(whole, **given)), 0, count * stride)
    state, parts = streaming.decoder_state(space), []
    for start in range(0, size, each):
        state, found = streaming.decode_block(space, state, slice_frames(whole, start, start + each), **given)
        parts.append(jax.tree.map(np.asarray, found))
    _, found = streaming.finish_decoding(space, state, **given)
    return slice_frames(concatenate_frames([*parts, jax.tree.map(np.asarray, found)]), 0, count * stride)


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
    if samples is None:
        return wave
    return np.pad(wave[:samples], (0, max(0, samples - len(wave))))


def reconstruct_long(space: TimbreSpace, wave: np.ndarray, key: Array | None = None, *, part: int = PART) -> np.ndarray:
    """A wave [T] through the latents, [T]."""
    return render_long(space, embed_long(space, wave, part=part), key, samples=len(wave), part=part)


def _check(space: TimbreSpace) -> None:
    if space.kind != "series":
        raise ValueError("sounds of any length need a series space (a latent a frame); this one is static")


def _has_parts(space: TimbreSpace) -> bool:
    return space.model.streaming and space.representation.reach is not None
