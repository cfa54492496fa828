"""Levels of sounds in decibels, and root mean squares."""

from __future__ import annotations

import math

import jax.numpy as jnp

from timbre_jax.audio.stft import frame
from timbre_jax.types import Array

FLOOR_DB = -100.0


def amplitude_to_db(amplitude: Array, *, floor_db: float = FLOOR_DB) -> Array:
    """Converts amplitudes to decibels.

    Args:
      amplitude: any shape, linear; 1 is 0 dB. NaN stays NaN.
      floor_db: lowest level returned, in dB.

    Returns:
      20 log10(amplitude), at least `floor_db`.
    """
    smallest = 10.0 ** (floor_db / 20.0)
    # The logarithm of the floor is rounded, but callers compare levels with the floor, so it must be exact.
    db = jnp.log(jnp.maximum(amplitude, smallest)) * (20.0 / math.log(10.0))
    return jnp.where(amplitude <= smallest, floor_db, jnp.maximum(db, floor_db))


def db_to_amplitude(db: Array, *, floor_db: float | None = None) -> Array:
    """Converts decibels to amplitudes, 10^(db / 20).

    Args:
      db: any shape, in dB.
      floor_db: levels at or below it become exactly 0; None: no floor.
    """
    amplitude = jnp.exp(db * (math.log(10.0) / 20.0))
    return amplitude if floor_db is None else jnp.where(db > floor_db, amplitude, 0.0)


def safe_sqrt(x: Array) -> Array:
    """Returns the square root, with gradient 0 instead of infinity at 0.

    An infinite gradient of one silent value would make a whole gradient NaN.
    """
    nonzero = x != 0
    return jnp.where(nonzero, jnp.sqrt(jnp.where(nonzero, x, 1.0)), 0.0)


def rms(waves: Array) -> Array:
    """Returns the root mean square, [..., T] -> [...]; a sine of amplitude a has a / sqrt(2)."""
    return safe_sqrt(jnp.mean(jnp.square(waves), axis=-1))


def frame_level(waves: Array, *, hop: int, window_hops: int = 4, floor_db: float = FLOOR_DB) -> Array:
    """Returns the RMS level of centered frames in dB.

    Args:
      waves: [B, T] samples.
      hop: samples between frames.
      window_hops: length of the window in hops, even; frame n is centered on sample n * hop, and the wave is zero beyond its
        ends.
      floor_db: lowest level returned, in dB.

    Returns:
      [B, 1 + T // hop] in dB; a constant 1 has 0 dB.

    Raises:
      ValueError: `window_hops` is odd or less than 2.
    """
    if window_hops < 2 or window_hops % 2:
        raise ValueError(f"window_hops={window_hops}: must be even and at least 2")
    half = window_hops // 2
    count = 1 + waves.shape[-1] // hop
    total = (count - 1 + window_hops) * hop
    padded = jnp.pad(waves, [(0, 0)] * (waves.ndim - 1) + [(half * hop, max(0, total))])[..., :total]
    energy = jnp.sum(jnp.square(padded).reshape(*waves.shape[:-1], total // hop, hop), axis=-1)
    power = jnp.sum(frame(energy, window_hops, 1), axis=-1) / (window_hops * hop)
    return amplitude_to_db(safe_sqrt(power), floor_db=floor_db)
