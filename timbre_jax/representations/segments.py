"""Analyzes and synthesizes long sounds in parts, which bounds the memory.

In analysis, parts overlap by the reach of a frame, so that the features equal those of the whole sound within 1e-5. In
synthesis, parts of features that are samples are independent. For features without phases (log-mel), each part keeps the
spectra of the last frames of the previous part as known and is cross-faded with it, so that phases are continuous.

Sounds are padded with frames outside the mask to one of a few lengths (powers of two, then multiples of a part), so that sounds
of any length share a few compilations.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.stft import stft
from timbre_jax.representations.base import Representation
from timbre_jax.types import Features, concatenate_frames, pad_frames, slice_frames

PART = 1024
"""Number of frames of a part."""
MIN_FRAMES = 32
"""Smallest padded number of frames."""
OVERLAP = 16
"""Frames of the previous part that are known to the next, at least two windows; the second half is cross-faded."""


def frames_within(representation: Representation, samples: int) -> int:
    """Returns the number of frames of a sound, at least 1."""
    return max(1, -(-samples // representation.hop))


def padded_frames(count: int, *, part: int = PART) -> int:
    """Rounds a number of frames up to a power of two, or beyond a part to whole parts."""
    if count > part:
        return -(-count // part) * part
    return min(part, max(MIN_FRAMES, 1 << (count - 1).bit_length()))


def analyze_in_parts(representation: Representation, wave: np.ndarray, *, part: int = PART) -> Features:
    """Computes features [1, N, F] of a wave of any length, N = ceil(T / hop).

    The result equals `analyze` of a representation of that length within 1e-5. A representation whose frames depend on the
    whole sound (`Representation.reach`) analyzes it at once.

    Args:
      representation: any representation.
      wave: [T] in [-1, 1].
      part: number of frames of a part.

    Returns:
      The features as numpy arrays, with a mask of ones.

    Raises:
      ValueError: `wave` does not have the shape [T], or has no sample.
    """
    wave = np.asarray(wave, np.float32)
    if wave.ndim != 1 or not len(wave):
        raise ValueError(f"wave: must have shape [T] with at least one sample (got {wave.shape})")
    hop, count, reach = representation.hop, frames_within(representation, len(wave)), representation.reach
    if reach is None:
        return jax.tree.map(np.asarray, representation.with_length(len(wave)).analyze(wave[None]))
    size = padded_frames(count, part=part)
    each, context = min(size, part), -(-reach // hop)
    whole = np.pad(wave, (context * hop, (size + context) * hop - len(wave)))
    piece = representation.with_length((each + 2 * context) * hop)
    parts = []
    for start in range(0, size, each):
        features = piece.analyze(whole[None, start * hop : (start + each + 2 * context) * hop])
        parts.append(slice_frames(jax.tree.map(np.asarray, features), context, context + each))
    return slice_frames(concatenate_frames(parts), 0, count)


def synthesize_in_parts(representation: Representation, features: Features, key=None, *, part: int = PART) -> np.ndarray:
    """Synthesizes the wave [N * hop] of features [1, N, F] of any length.

    Args:
      representation: any representation that synthesizes.
      features: features of one sound.
      key: see `Representation.synthesize`.
      part: number of frames of a part.

    Raises:
      ValueError: the features are not those of one sound.
    """
    features, hop = jax.tree.map(np.asarray, features), representation.hop
    values = features.values
    if values.ndim != 3 or len(values) != 1 or not values.shape[1]:
        raise ValueError(f"features: must have shape [1, N, F], one sound (got {values.shape})")
    count = values.shape[1]
    if representation.texture_db:
        # Noise of the whole sound at once has no seams between parts.
        features = representation.add_texture(jax.tree.map(jnp.asarray, features), key)
        representation = dataclasses.replace(representation, texture_db=0.0)
        features = jax.tree.map(np.asarray, features)
    if representation.reach is None:
        return np.asarray(representation.with_length(count * hop).synthesize(features, key))[0]
    if not representation.is_mel or count <= part:
        # Features that are samples, or a sound of one part.
        size = padded_frames(count, part=part)
        each = min(size, part)
        piece = representation.with_length(each * hop)
        whole = pad_frames(features, size)
        waves = [piece.synthesize(slice_frames(whole, start, start + each), key)[0] for start in range(0, size, each)]
        return np.concatenate([np.asarray(wave) for wave in waves])[: count * hop]
    return _invert_in_parts(representation, features, key, part)


def _invert_in_parts(representation, features: Features, key, part: int) -> np.ndarray:
    """Inverts parts one after another, each with overlapping frames on both sides.

    The next part replaces the frames behind a part, which lack the sound after its end.
    """
    count, hop = np.shape(features.values)[1], representation.hop
    overlap = max(OVERLAP, 2 * -(-representation.n_fft // hop))
    size = -(-count // part) * part
    whole = pad_frames(features, size + overlap)
    length = (overlap + part + overlap) * hop
    piece = representation.with_length(length)
    wave = np.zeros(size * hop, np.float32)
    fade = np.linspace(0.0, 1.0, overlap // 2 * hop, endpoint=False, dtype=np.float32)
    known = None
    for start in range(0, size, part):
        first = max(0, start - overlap)
        end = start + part + overlap
        frames = slice_frames(whole, first, end) if start else pad_frames(slice_frames(whole, 0, end), overlap + end)
        sound = np.asarray(piece.synthesize(jax.tree.map(jnp.asarray, frames), key, known))[0]
        if start:
            # The first half of the overlap keeps the previous part.
            middle = (start - (overlap - overlap // 2)) * hop
            faded = slice(middle, middle + len(fade))
            own = sound[middle - first * hop : middle - first * hop + len(fade)]
            wave[faded] = (1.0 - fade) * wave[faded] + fade * own
        wave[start * hop : (start + part) * hop] = sound[(start - first) * hop : (start + part - first) * hop]
        known = _spectra(piece, jnp.asarray(sound[None]), start + part - overlap - first, overlap)
    return wave[: count * hop]


@functools.partial(jax.jit, static_argnums=(0, 3))
def _spectra(representation, waves, first, count: int):
    """Returns the spectra [1, count, K] of the frames of a sound from `first` on."""
    settings = {"hop": representation.hop, "window": representation.window, "window_length": representation.window_length}
    spectra = stft(waves, n_fft=representation.n_fft, **settings)
    return jax.lax.dynamic_slice_in_dim(spectra, first, count, axis=1)
