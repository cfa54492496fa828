"""Random changes of log-mel spectrograms that leave them the spectrogram of a sound that could be."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.mel import hz_to_mel, mel_to_hz
from timbre_jax.data.augment.base import Augmentation, normal
from timbre_jax.representations.base import Representation
from timbre_jax.types import Array


@dataclasses.dataclass(frozen=True)
class MelAugment(Augmentation):
    """Another size, material and room for a sound, drawn anew for every example and step.

    Each number is a standard deviation of a normal draw for the whole sound; 0 turns it off.

    Attributes:
      pitch_semitones: all frequencies by one factor (a smaller or larger drum). Frequencies above the highest band are held.
      stretch_semitones: the course in time by another factor, in semitones (12 is twice as fast). Frames are repeated or left
        out, not averaged: the texture of noise stays as rough as it was.
      tilt_db: from the lowest to the highest band. color_db: a random smooth curve over the bands, by knots.
      decay_db: faster decay, dB a second: the absolute value of the draw is taken off.
      probability: that a sound is changed at all.
      knots: of the color's curve, over all bands.
      rate: frames a second. value_per_db: how many of the features' units a dB is.
      centers: [F] Hz of the bands, rising.
      relative: values are relative to the sound's own loudest, which is 1 again after the change.
    """

    settings: ClassVar[tuple[str, ...]] = (
        "pitch_semitones", "stretch_semitones", "tilt_db", "color_db", "decay_db", "probability", "knots",
    )  # fmt: skip

    pitch_semitones: float = 2.0
    stretch_semitones: float = 2.0
    tilt_db: float = 4.0
    color_db: float = 3.0
    decay_db: float = 8.0
    probability: float = 0.9
    knots: int = 9
    rate: float = 125.0
    value_per_db: float = 1 / 80
    centers: tuple[float, ...] = ()
    relative: bool = True

    def _one(self, key: Array, values: Array, mask: Array) -> Array:
        n_frames, n_bands = values.shape
        draw = jax.random.split(key, 6)
        changed = values
        if self.stretch_semitones:
            factor = jnp.exp2(normal(self.stretch_semitones / 12.0, draw[0]))
            source = jnp.round(jnp.arange(n_frames) * factor).astype(jnp.int32)
            changed = jnp.where((source < n_frames)[:, None], changed[jnp.minimum(source, n_frames - 1)], 0.0)
        if self.pitch_semitones:
            factor = jnp.exp2(normal(self.pitch_semitones / 12.0, draw[1]))
            centers = jnp.asarray(self.centers, values.dtype)
            place = jnp.interp(centers / factor, centers, jnp.arange(n_bands, dtype=values.dtype))
            # Linear interpolation as a product: XLA's gather along the last axis takes several times as long on a CPU.
            weights = jnp.maximum(1.0 - jnp.abs(jnp.arange(n_bands)[:, None] - place), 0.0)
            changed = changed @ weights

        band = jnp.linspace(-0.5, 0.5, n_bands, dtype=values.dtype)
        gain = normal(self.tilt_db, draw[2]) * band
        # A random walk: neighboring knots are alike, so the curve is smooth; less its mean, which is level and not color.
        walk = jnp.cumsum(jax.random.normal(draw[3], (self.knots,), jnp.float32))
        curve = jnp.interp(band, jnp.linspace(-0.5, 0.5, self.knots), walk - jnp.mean(walk))
        gain = gain + self.color_db * curve * (2.0 / self.knots) ** 0.5
        slope = -jnp.abs(normal(self.decay_db, draw[4]))
        seconds = jnp.arange(n_frames, dtype=values.dtype)[:, None] / self.rate
        louder = changed + self.value_per_db * (gain + slope * seconds)
        if self.relative:
            sounding = jnp.max(jnp.where(changed > 0.0, louder, -jnp.inf))
            louder = louder + jnp.where(jnp.isfinite(sounding), 1.0 - sounding, 0.0)
        changed = jnp.where(changed > 0.0, jnp.clip(louder, 0.0, 1.0), 0.0)
        return self._chosen(draw[5], changed, values, mask)

    @classmethod
    def of(cls, representation: Representation, **settings: float) -> MelAugment:
        """For a representation's bands and units.

        Raises:
          ValueError: not a log-mel spectrogram.
        """
        if representation.name != "log_mel":
            raise ValueError(f"augmentation 'mel' needs the representation 'log_mel', not {representation.name!r}")
        highest = representation.fmax or representation.sample_rate / 2
        ends = hz_to_mel(np.array([representation.fmin, highest]), scale=representation.scale)
        centers = mel_to_hz(np.linspace(*ends, representation.n_mels + 2)[1:-1], scale=representation.scale)
        return cls(
            **settings,
            rate=representation.rate,
            value_per_db=1.0 / representation.range_db,
            centers=tuple(float(f) for f in centers),
            relative=representation.reference == "file",
        )
