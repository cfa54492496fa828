"""Encodes and decodes sounds of any length with a series space, in bounded memory.

    latent = embed_long(space, wave)            # wave [T] -> Latent [1, M, D]
    wave = render_long(space, latent)           # Latent [1, M, D] -> wave [T]

A long sound passes through the model as a stream (`inference.streaming`), so that memory contains only the results and one part
of the sound. A short sound is padded to one of a few lengths and processed at once, so that sounds of any length share a few
compilations. Latents differ from those of the whole sound by less than 1e-4. `representations.segments` converts between waves
and features in the same way.
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
    """Encodes a wave of any length to latents.

    Args:
      space: series space.
      wave: samples [T], at least one.
      part: number of frames that are processed at once.

    Returns:
      Latents [1, M, D] as numpy arrays, M = ceil(T / hop / stride).

    Raises:
      ValueError: the space is not a series space, or the wave is empty or not [T].
    """
    space.check_kind("series")
    return encode_long(space, analyze_in_parts(space.representation, wave, part=part), part=part)


def encode_long(space: TimbreSpace, features: Features, *, part: int = PART) -> Latent:
    """Encodes features [1, N, F] of any length to latents [1, M, D], as numpy arrays.

    Args:
      space: series space.
      features: features of one sound.
      part: number of frames that are processed at once.

    Raises:
      ValueError: the space is not a series space.
    """
    space.check_kind("series")
    features, stride = _as_numpy(features), space.model.stride
    if not _can_stream(space):
        return _as_numpy(space.encode(features))
    count, each = features.values.shape[1], part - part % stride
    size = padded_frames(count, part=each)
    whole = pad_frames(features, size + -size % stride)
    if size <= each:
        latent = _as_numpy(space.encode(whole))
    else:
        step, finish = (partial(f, space) for f in (streaming.encode_block, streaming.finish_encoding))
        latent = _run_stream(whole, each, streaming.encoder_state(space), step, finish)
    return slice_frames(latent, 0, -(-count // stride))


def decode_long(space: TimbreSpace, latent: Latent | Array, key: Array | None = None, *, part: int = PART) -> Features:
    """Decodes latents [1, M, D] of any length to features [1, stride * M, F], as numpy arrays.

    Args:
      space: series space.
      latent: latents of one sound, or their values alone.
      key: random key of a stochastic decoder; None for a fixed key.
      part: number of frames that are processed at once.

    Raises:
      ValueError: the space is not a series space, or the latents are empty or of several sounds.
    """
    space.check_kind("series")
    latent, stride = _as_numpy(space.latent(latent)), space.model.stride
    count = latent.values.shape[1]
    if latent.values.shape[0] != 1 or not count:
        raise ValueError(f"latents: expected one sound [1, M, D] with M at least 1 (got {latent.values.shape})")
    if not _can_stream(space):
        return _as_numpy(space.decode(latent, key))
    each = max(1, part // stride)
    whole = pad_frames(latent, padded_frames(count, part=each))
    if whole.values.shape[1] <= each:
        features = _as_numpy(space.decode(whole, key))
    else:
        step, finish = (partial(f, space, key=key) for f in (streaming.decode_block, streaming.finish_decoding))
        features = _run_stream(whole, each, streaming.decoder_state(space), step, finish)
    return slice_frames(features, 0, count * stride)


def render_long(
    space: TimbreSpace, latent: Latent | Array, key: Array | None = None, *, samples: int | None = None, part: int = PART
) -> np.ndarray:
    """Decodes and synthesizes latents [1, M, D] of any length to a wave [T].

    Args:
      space: series space.
      latent: latents of one sound, or their values alone.
      key: random key of the decoder and of the synthesis; None for a fixed key.
      samples: length of the wave, cut or padded with silence; None for M * stride * hop.
      part: number of frames that are processed at once.

    Raises:
      ValueError: the space is not a series space, or the latents are empty or of several sounds.
    """
    features = decode_long(space, latent, key, part=part)
    wave = synthesize_in_parts(space.representation, features, key, part=part)
    return wave if samples is None else fit_length(wave[None], samples)[0]


def reconstruct_long(space: TimbreSpace, wave: np.ndarray, key: Array | None = None, *, part: int = PART) -> np.ndarray:
    """Encodes and decodes a wave of any length to a wave of the same length.

    Args:
      space: series space.
      wave: samples [T], at least one.
      key: random key of the decoder and of the synthesis; None for a fixed key.
      part: number of frames that are processed at once.

    Raises:
      ValueError: the space is not a series space, or the wave is empty or not [T].
    """
    return render_long(space, embed_long(space, wave, part=part), key, samples=len(wave), part=part)


def _run_stream(record: Features | Latent, size: int, state: StreamState, step: Callable, finish: Callable) -> Any:
    """Passes a record through a stream in blocks of frames and concatenates the results."""
    parts = []
    for start in range(0, record.values.shape[1], size):
        state, ready = step(state, slice_frames(record, start, start + size))
        parts.append(_as_numpy(ready))
    _, rest = finish(state)
    return concatenate_frames([*parts, _as_numpy(rest)])


def _as_numpy(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)


def _can_stream(space: TimbreSpace) -> bool:
    return space.model.streaming and space.representation.reach is not None
