"""Levels: decibels and root mean squares."""

from __future__ import annotations

import math

import jax.numpy as jnp

from timbre_jax.audio.stft import frame
from timbre_jax.types import Array

FLOOR_DB = -100.0


def amplitude_to_db(amplitude: Array, *, floor_db: float = FLOOR_DB) -> Array:
    """20 log10(amplitude), at least `floor_db`. Any shape; amplitude 1 is 0 dB. NaN stays NaN."""
    smallest = 10.0 ** (floor_db / 20.0)
    # The logarithm of the floor is rounded: what lies on the floor shall be there exactly, to be told apart.
    db = jnp.log(jnp.maximum(amplitude, smallest)) * (20.0 / math.log(10.0))
    return jnp.where(amplitude <= smallest, floor_db, jnp.maximum(db, floor_db))


def db_to_amplitude(db: Array, *, floor_db: float | None = None) -> Array:
    """10^(db / 20). Where `floor_db` is given, levels at or under it give exactly 0."""
    amplitude = jnp.exp(db * (math.log(10.0) / 20.0))
    return amplitude if floor_db is None else jnp.where(db > floor_db, amplitude, 0.0)


def root(x: Array) -> Array:
    """Square root whose slope at 0 is 0, not infinite: one silent number would make a whole gradient NaN."""
    some = x != 0
    return jnp.where(some, jnp.sqrt(jnp.where(some, x, 1.0)), 0.0)


def rms(waves: Array) -> Array:
    """Root mean square over the last axis, [..., T] -> [...]. A sine of amplitude a has a / sqrt(2)."""
    return root(jnp.mean(jnp.square(waves), axis=-1))


def frame_level(waves: Array, *, hop: int, window_hops: int = 4, floor_db: float = FLOOR_DB) -> Array:
    """RMS level of centered frames in dB, [B, T] -> [B, 1 + T // hop]; full scale (a constant 1) is 0 dB.

    Frame n covers `window_hops` (even) hops centered on sample n * hop; beyond the ends of the wave there is silence.
    """
    if window_hops < 2 or window_hops % 2:
        raise ValueError(f"window_hops must be even and at least 2, got {window_hops}")
    half = window_hops // 2
    count = 1 + waves.shape[-1] // hop
    total = (count - 1 + window_hops) * hop
    padded = jnp.pad(waves, [(0, 0)] * (waves.ndim - 1) + [(half * hop, max(0, total))])[..., :total]
    energy = jnp.sum(jnp.square(padded).reshape(*waves.shape[:-1], total // hop, hop), axis=-1)
    power = jnp.sum(frame(energy, window_hops, 1), axis=-1) / (window_hops * hop)
    return amplitude_to_db(root(power), floor_db=floor_db)
