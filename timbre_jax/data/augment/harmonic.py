"""Random changes of harmonic tracks that leave them the tracks of a note that could be."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax.numpy as jnp

from timbre_jax.data.augment.base import Augmentation, normal
from timbre_jax.representations.base import Representation
from timbre_jax.settings import setting
from timbre_jax.types import Array


@dataclasses.dataclass(frozen=True)
class HarmonicAugment(Augmentation):
    """Random changes of harmonic tracks that leave them the tracks of a note that could be.

    Each setting but the last two is the standard deviation of a normal draw for the whole note; 0 turns it off.

    Attributes:
      rate: frames a second.
      f0_per_semitone, value_per_db: how many of the features' units these are.
      f0_low, f0_octaves, nyquist: where row 0 starts (Hz), how many octaves it spans, half the sample rate (Hz), to floor
        harmonics that the new pitch puts above Nyquist.
    """

    level_db: float = setting(4.0, "All harmonics louder or softer.", low=0)
    tilt_db: float = setting(2.0, "Spectral tilt, dB an octave.", low=0)
    harmonic_db: float = setting(3.0, "Every harmonic on its own (an instrument's formants).", low=0)
    decay_db: float = setting(2.0, "Linear change over the note, dB a second.", low=0)
    harmonic_decay_db: float = setting(1.0, "The same, every harmonic on its own.", low=0)
    pitch_semitones: float = setting(1.0, "f0 higher or lower.", low=0)
    time_warp: float = setting(
        0.0, "Exponent gamma = exp(normal) of t -> t^gamma over the held part, which makes attacks slower or faster.", low=0
    )
    probability: float = setting(0.8, "Probability that a note is changed.", low=0, high=1)
    held_seconds: float = setting(
        3.0, "Seconds until the key is released; the warp leaves what comes after in place.", low=1e-3
    )
    rate: float = 16000 / 172
    f0_per_semitone: float = 0.0
    value_per_db: float = 0.01
    f0_low: float = 80.0
    f0_octaves: float = 4.714
    nyquist: float = 8000.0

    num_keys = 8

    def _change(self, keys: Array, values: Array) -> Array:
        n_frames, n_harmonics = values.shape[0], values.shape[1] - 1
        f0, amplitude = values[:, :1], values[:, 1:]
        if self.time_warp:
            warped = self._warp(keys[0], values)
            f0, amplitude = warped[:, :1], warped[:, 1:]
        floor = amplitude <= 0.0
        octave = jnp.log2(jnp.arange(1, n_harmonics + 1, dtype=values.dtype))
        seconds = jnp.arange(n_frames, dtype=values.dtype)[:, None] / self.rate
        gain = normal(self.level_db, keys[1])
        gain += normal(self.tilt_db, keys[2]) * octave
        gain += normal(self.harmonic_db, keys[3], (n_harmonics,))
        slope = normal(self.decay_db, keys[4])
        slope += normal(self.harmonic_decay_db, keys[5], (n_harmonics,))
        amplitude = jnp.clip(amplitude + self.value_per_db * (gain + slope * seconds), 0.0, 1.0)
        f0 = jnp.clip(f0 + normal(self.f0_per_semitone * self.pitch_semitones, keys[6]), 0.0, 1.0)
        frequency = self.f0_low * jnp.exp2(self.f0_octaves * f0 + octave)
        amplitude = jnp.where(floor | (frequency >= self.nyquist), 0.0, amplitude)
        return jnp.concatenate([f0, amplitude], axis=1)

    def _warp(self, key: Array, values: Array) -> Array:
        n_frames = values.shape[0]
        held = self.held_seconds * self.rate
        time = jnp.arange(n_frames, dtype=values.dtype)
        gamma = jnp.exp(normal(self.time_warp, key))
        source = jnp.where(time < held, held * (time / held) ** gamma, time)
        low = jnp.clip(jnp.floor(source).astype(jnp.int32), 0, n_frames - 2)
        part = (source - low)[:, None]
        return values[low] * (1 - part) + values[low + 1] * part

    @classmethod
    def units(cls, representation: Representation) -> dict[str, Any]:
        """As `Augmentation.units`: harmonic tracks with a logarithmic f0 are needed."""
        if representation.name != "harmonic_tracks" or representation.f0_scale != "log":
            raise ValueError(
                "augmentation 'harmonic' needs the representation 'harmonic_tracks' with f0_scale='log', not "
                f"{representation.name!r} with f0_scale={representation.f0_scale!r}"
            )
        octaves = math.log2(representation.f0_range[1] / representation.f0_range[0])
        return {
            "rate": representation.sample_rate / representation.hop,
            "f0_per_semitone": 1.0 / (12.0 * octaves),
            "value_per_db": 1.0 / (representation.amplitude_range[1] - representation.amplitude_range[0]),
            "f0_low": float(representation.f0_range[0]),
            "f0_octaves": octaves,
            "nyquist": representation.sample_rate / 2,
        }
