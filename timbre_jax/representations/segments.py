"""Sounds of any length through a representation, part by part: the memory beside the result is that of one part.

There, parts overlap by what a frame reads of the sound, and the frames are those of the whole (1e-5). Back, where frames are
the samples themselves, so are the parts. Where phases have to be found (log-mel), each part goes on from the spectra of the
last frames of the part before, which it holds on to, and both are faded into one another there: no phase jumps.

Every sound is filled up to one of a few lengths (powers of two, then whole parts) by frames outside the mask, so that sounds of
any length share a few compilations.
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
"""Frames of a part."""
LEAST = 32
OVERLAP = 16
"""Frames of the part before that a part holds on to, over the second half of which both are faded; where a window is longer
than half of that, two windows."""


def frames_within(representation: Representation, samples: int) -> int:
    """Frames of a sound of so many samples, at least 1."""
    return max(1, -(-samples // representation.hop))


def padded_frames(count: int, *, part: int = PART) -> int:
    """`count` filled up: to a power of two up to a part, to whole parts beyond."""
    if count > part:
        return -(-count // part) * part
    return min(part, max(LEAST, 1 << (count - 1).bit_length()))


def analyze_in_parts(representation: Representation, wave: np.ndarray, *, part: int = PART) -> Features:
    """A wave [T] of any length to features [1, N, F], N = ceil(T / hop), as numpy; all of its frames are real.

    As `analyze` of a representation of that length, within 1e-5. A representation that looks at the whole sound at once
    (`Representation.reach`) gets it whole.

    Raises:
      ValueError: not a wave [T] with at least one sample.
    """
    wave = np.asarray(wave, np.float32)
    if wave.ndim != 1 or not len(wave):
        raise ValueError(f"a sound is [T] with at least one sample, not {wave.shape}")
    hop, count, sees = representation.hop, frames_within(representation, len(wave)), representation.reach
    if sees is None:
        return jax.tree.map(np.asarray, representation.with_length(len(wave)).analyze(wave[None]))
    size = padded_frames(count, part=part)
    each, context = min(size, part), -(-sees // hop)
    whole = np.pad(wave, (context * hop, (size + context) * hop - len(wave)))
    piece = representation.with_length((each + 2 * context) * hop)
    parts = []
    for start in range(0, size, each):
        found = piece.analyze(whole[None, start * hop : (start + each + 2 * context) * hop])
        parts.append(slice_frames(jax.tree.map(np.asarray, found), context, context + each))
    return slice_frames(concatenate_frames(parts), 0, count)


def synthesize_in_parts(representation: Representation, features: Features, key=None, *, part: int = PART) -> np.ndarray:
    """Features [1, N, F] of any length to the wave [N * hop]. `key`: as `synthesize` takes it.

    Raises:
      ValueError: features of more than one sound.
    """
    features, hop = jax.tree.map(np.asarray, features), representation.hop
    values = features.values
    if values.ndim != 3 or len(values) != 1 or not values.shape[1]:
        raise ValueError(f"features of one sound are [1, N, F], not {values.shape}")
    count = values.shape[1]
    if representation.texture_db:
        # Of the whole at once: drawn for each part it would change where they meet.
        features = representation.textured(jax.tree.map(jnp.asarray, features), key)
        representation = dataclasses.replace(representation, texture_db=0.0)
        features = jax.tree.map(np.asarray, features)
    if representation.reach is None:
        return np.asarray(representation.with_length(count * hop).synthesize(features, key))[0]
    if not representation.is_mel or count <= part:
        # The samples themselves, or so short that one part is all of it.
        size = padded_frames(count, part=part)
        each = min(size, part)
        piece = representation.with_length(each * hop)
        whole = pad_frames(features, size)
        waves = [piece.synthesize(slice_frames(whole, start, start + each), key)[0] for start in range(0, size, each)]
        return np.concatenate([np.asarray(wave) for wave in waves])[: count * hop]
    return _inverted_in_parts(representation, features, key, part)


def _inverted_in_parts(representation, features: Features, key, part: int) -> np.ndarray:
    """Part after part, each with `overlap` frames of the one before in front and as many behind, which the next makes anew:
    there the sound beyond the part's end is missing."""
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
        first = max(0, start - overlap)  # of the frames of this part
        end = start + part + overlap
        frames = slice_frames(whole, first, end) if start else pad_frames(slice_frames(whole, 0, end), overlap + end)
        made = np.asarray(piece.synthesize(jax.tree.map(jnp.asarray, frames), key, known))[0]
        if start:
            # Up to the middle of what overlaps the part before stays as it is.
            middle = (start - (overlap - overlap // 2)) * hop
            faded = slice(middle, middle + len(fade))
            own = made[middle - first * hop : middle - first * hop + len(fade)]
            wave[faded] = (1.0 - fade) * wave[faded] + fade * own
        wave[start * hop : (start + part) * hop] = made[(start - first) * hop : (start + part - first) * hop]
        known = _known(piece, jnp.asarray(made[None]), start + part - overlap - first, overlap)
    return wave[: count * hop]


@functools.partial(jax.jit, static_argnums=(0, 3))
def _known(representation, waves, first, count: int):
    """Spectra [1, count, K] of a made sound's frames from `first` on."""
    settings = {"hop": representation.hop, "window": representation.window, "window_length": representation.window_length}
    spectra = stft(waves, n_fft=representation.n_fft, **settings)
    return jax.lax.dynamic_slice_in_dim(spectra, first, count, axis=1)
