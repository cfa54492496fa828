"""Descriptors of sound that musicians have words for."""

from __future__ import annotations

import jax.numpy as jnp

from timbre_jax.audio.stft import stft
from timbre_jax.records import Array


def spectral_centroid(waves: Array, *, sample_rate: int, n_fft: int = 1024, hop: int = 256) -> Array:
    """ "Brightness": the centre of gravity of each frame's magnitude spectrum in Hz, [B, T] -> [B, 1 + T // hop].

    sum(f |X|) / sum(|X|) with a Hann window, as in `librosa.feature.spectral_centroid`. Frames of silence give 0.
    """
    magnitude = jnp.abs(stft(waves, n_fft=n_fft, hop=hop))
    frequencies = jnp.arange(n_fft // 2 + 1, dtype=jnp.float32) * (sample_rate / n_fft)
    total = jnp.sum(magnitude, axis=-1)
    return jnp.where(total > 0, magnitude @ frequencies / jnp.where(total > 0, total, 1.0), 0.0)


def brightness(waves: Array, *, sample_rate: int, n_fft: int = 1024, hop: int = 256) -> Array:
    """One spectral centroid a sound in Hz, [B, T] -> [B]: its frames' mean, weighted by their summed magnitude.

    So the release and the silence around a note hardly count. 0 for silence.
    """
    magnitude = jnp.sum(jnp.abs(stft(waves, n_fft=n_fft, hop=hop)), axis=-2)
    frequencies = jnp.arange(n_fft // 2 + 1, dtype=jnp.float32) * (sample_rate / n_fft)
    total = jnp.sum(magnitude, axis=-1)
    return jnp.where(total > 0, magnitude @ frequencies / jnp.where(total > 0, total, 1.0), 0.0)
