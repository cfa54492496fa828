"""Augmentation of log-mel spectrograms."""

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
    """Random changes of pitch, duration, spectrum and decay of log-mel spectrograms.

    The changes resemble other sizes, materials and rooms. Every setting but `probability` and `knots` is the standard deviation
    of a normal distribution, drawn once per sound; 0 turns the change off.

    Attributes:
      rate: frames per second.
      value_per_db: change of a feature per dB.
      centers: [F] center frequencies of the mel bands in Hz, ascending.
      relative: whether values are relative to the loudest one of the sound, which then remains 1.
    """

    pitch_semitones: float = setting(
        2.0, "All frequencies in semitones (a smaller or larger drum); bands above the highest repeat it.", low=0
    )
    stretch_semitones: float = setting(
        2.0, "Playback speed in semitones (12 is twice as fast). Frames are repeated or skipped, not averaged, which keeps the "
        "roughness of noise.", low=0,
    )  # fmt: skip
    tilt_db: float = setting(4.0, "Spectral tilt from the lowest to the highest band in dB.", low=0)
    color_db: float = setting(3.0, "Random smooth curve over the bands in dB.", low=0)
    decay_db: float = setting(8.0, "Faster decay in dB per second (the absolute value of the draw).", low=0)
    probability: float = setting(0.9, "Probability that a sound is changed.", low=0, high=1)
    knots: int = setting(9, "Number of knots of the curve of `color_db`.", low=2)
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
            source = jnp.interp(centers / factor, centers, jnp.arange(n_bands, dtype=values.dtype))
            # Linear interpolation as a matrix product: a gather along the last axis takes several times as long on a CPU.
            weights = jnp.maximum(1.0 - jnp.abs(jnp.arange(n_bands)[:, None] - source), 0.0)
            changed = changed @ weights

        band = jnp.linspace(-0.5, 0.5, n_bands, dtype=values.dtype)
        gain = normal(self.tilt_db, keys[2]) * band
        # A random walk is smooth, since neighboring knots are similar; its mean is removed, since it only changes the level.
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
        """Returns the units of a log-mel spectrogram."""
        if representation.name != "log_mel":
            raise ValueError(f"config.augment.name=mel: needs the representation log_mel (got {representation.name})")
        highest = representation.fmax or representation.sample_rate / 2
        ends = hz_to_mel(np.array([representation.fmin, highest]), scale=representation.scale)
        centers = mel_to_hz(np.linspace(*ends, representation.n_mels + 2)[1:-1], scale=representation.scale)
        return {
            "rate": representation.rate,
            "value_per_db": 1.0 / representation.range_db,
            "centers": tuple(float(f) for f in centers),
            "relative": representation.reference == "file",
        }
