"""Random changes of log-mel spectrograms that leave them the spectrogram of a sound that could be."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.mel import hz_to_mel, mel_to_hz
from timbre_jax.data.augment.base import Augmentation, normal
from timbre_jax.representations.base import Representation
from timbre_jax.settings import setting
from timbre_jax.types import Array


@dataclasses.dataclass(frozen=True)
class MelAugment(Augmentation):
    """Another size, material and room for a sound, drawn anew for every example and step.

    Each setting but `probability` and `knots` is the standard deviation of a normal draw for the whole sound; 0 turns it off.

    Attributes:
      rate: frames a second.
      value_per_db: how many of the features' units a dB is.
      centers: [F] Hz of the bands, rising.
      relative: values are relative to the sound's own loudest, which is 1 again after the change.
    """

    pitch_semitones: float = setting(
        2.0, "All frequencies by one factor (a smaller or larger drum); those above the highest band are held.", low=0
    )
    stretch_semitones: float = setting(
        2.0, "The course in time by another factor, in semitones (12 is twice as fast). Frames are repeated or left out, not "
        "averaged: the texture of noise stays as rough as it was.", low=0,
    )  # fmt: skip
    tilt_db: float = setting(4.0, "Tilt from the lowest to the highest band, dB.", low=0)
    color_db: float = setting(3.0, "Random smooth curve over the bands, dB.", low=0)
    decay_db: float = setting(8.0, "Faster decay, dB a second: the absolute value of the draw is taken off.", low=0)
    probability: float = setting(0.9, "Probability that a sound is changed.", low=0, high=1)
    knots: int = setting(9, "Knots of the curve of `color_db`, over all bands.", low=2)
    rate: float = 125.0
    value_per_db: float = 1 / 80
    centers: tuple[float, ...] = ()
    relative: bool = True

    num_keys = 6

    def _change(self, keys: Array, values: Array) -> Array:
        n_frames, n_bands = values.shape
        changed = values
        if self.stretch_semitones:
            factor = jnp.exp2(normal(self.stretch_semitones / 12.0, keys[0]))
            source = jnp.round(jnp.arange(n_frames) * factor).astype(jnp.int32)
            changed = jnp.where((source < n_frames)[:, None], changed[jnp.minimum(source, n_frames - 1)], 0.0)
        if self.pitch_semitones:
            factor = jnp.exp2(normal(self.pitch_semitones / 12.0, keys[1]))
            centers = jnp.asarray(self.centers, values.dtype)
            place = jnp.interp(centers / factor, centers, jnp.arange(n_bands, dtype=values.dtype))
            # Linear interpolation as a product: XLA's gather along the last axis takes several times as long on a CPU.
            weights = jnp.maximum(1.0 - jnp.abs(jnp.arange(n_bands)[:, None] - place), 0.0)
            changed = changed @ weights

        band = jnp.linspace(-0.5, 0.5, n_bands, dtype=values.dtype)
        gain = normal(self.tilt_db, keys[2]) * band
        # A random walk: neighboring knots are alike, so the curve is smooth; less its mean, which is level and not color.
        walk = jnp.cumsum(jax.random.normal(keys[3], (self.knots,), jnp.float32))
        curve = jnp.interp(band, jnp.linspace(-0.5, 0.5, self.knots), walk - jnp.mean(walk))
        gain = gain + self.color_db * curve * (2.0 / self.knots) ** 0.5
        slope = -jnp.abs(normal(self.decay_db, keys[4]))
        seconds = jnp.arange(n_frames, dtype=values.dtype)[:, None] / self.rate
        louder = changed + self.value_per_db * (gain + slope * seconds)
        if self.relative:
            sounding = jnp.max(jnp.where(changed > 0.0, louder, -jnp.inf))
            louder = louder + jnp.where(jnp.isfinite(sounding), 1.0 - sounding, 0.0)
        return jnp.where(changed > 0.0, jnp.clip(louder, 0.0, 1.0), 0.0)

    @classmethod
    def units(cls, representation: Representation) -> dict[str, Any]:
        """As `Augmentation.units`: a log-mel spectrogram is needed."""
        if representation.name != "log_mel":
            raise ValueError(f"augmentation 'mel' needs the representation 'log_mel', not {representation.name!r}")
        highest = representation.fmax or representation.sample_rate / 2
        ends = hz_to_mel(np.array([representation.fmin, highest]), scale=representation.scale)
        centers = mel_to_hz(np.linspace(*ends, representation.n_mels + 2)[1:-1], scale=representation.scale)
        return {
            "rate": representation.rate,
            "value_per_db": 1.0 / representation.range_db,
            "centers": tuple(float(f) for f in centers),
            "relative": representation.reference == "file",
        }
