"""Effect of each latent on pitch, level, brightness and temporal centroid of sounds."""

from __future__ import annotations

import dataclasses
from typing import cast

import jax.numpy as jnp
import numpy as np

from timbre_jax.generation.static_paths import sweep
from timbre_jax.inference.batched import decode_values
from timbre_jax.metrics.table import Table
from timbre_jax.representations.harmonic_tracks import HarmonicTracks
from timbre_jax.space import TimbreSpace

DESCRIPTORS = ("pitch_semitones", "level_db", "brightness_harmonics", "temporal_centroid_seconds")


@dataclasses.dataclass(frozen=True)
class DirectionEffects:
    """Descriptors of sounds along a sweep of each latent.

    Attributes:
      positions: values [D, S] of the swept latent.
      descriptors: [D, S] by name (`DESCRIPTORS`): mean pitch in semitones (MIDI number); level of the loudest frame in dB;
        amplitude-weighted mean harmonic number (brightness independent of pitch); temporal centroid in seconds.
    """

    positions: np.ndarray
    descriptors: dict[str, np.ndarray]

    def table(self) -> Table:
        """Returns the change of each descriptor over the range of each latent."""
        rows = tuple(
            (
                d,
                float(self.positions[d, 0]),
                float(self.positions[d, -1]),
                *(float(values[d, -1] - values[d, 0]) for values in self.descriptors.values()),
            )
            for d in range(len(self.positions))
        )
        columns = ("latent", "from", "to", *(f"change_of_{name}" for name in self.descriptors))
        return Table(
            "directions", columns, rows, "Change of the decoded sound from the low to the high end of a latent's range."
        )


def direction_effects(space: TimbreSpace, point: np.ndarray | None = None, *, steps: int = 9) -> DirectionEffects:
    """Sweeps every latent from its 1st to its 99th percentile and measures the decoded sounds.

    Args:
      space: a static space with harmonic features.
      point: [D], values of the latents that are not swept; None: the training mean.
      steps: S, sounds in each sweep.

    Raises:
      ValueError: the features are not f0 and harmonics.
    """
    if not space.representation.is_harmonic:
        raise ValueError(f"representation {space.representation.name}: direction effects need features with f0 and harmonics")
    start = jnp.asarray(space.statistics["latent_mean"] if point is None else point, jnp.float32)
    size = space.latent_size
    latents = np.stack([np.asarray(sweep(space, start, d, steps=steps)) for d in range(size)])
    values = decode_values(space, space.latent(jnp.asarray(latents.reshape(-1, size))))
    harmonic = cast(HarmonicTracks, space.representation)
    f0, decibel = (np.asarray(x, np.float64) for x in harmonic.denormalize(jnp.asarray(values)))
    descriptors = harmonic_descriptors(f0, decibel, rate=space.representation.rate)
    positions = latents[np.arange(size), :, np.arange(size)]
    return DirectionEffects(positions, {name: curve.reshape(size, steps) for name, curve in descriptors.items()})


def harmonic_descriptors(f0: np.ndarray, decibel: np.ndarray, *, rate: float) -> dict[str, np.ndarray]:
    """Returns the `DESCRIPTORS` [B] of harmonic features by name.

    Frames are weighted by their power, so that silence after a note has no effect. The temporal centroid is the center of
    gravity of the amplitude over time (Peeters et al. 2011): early for plucked sounds, late for sustained ones.

    Args:
      f0: [B, N] in Hz.
      decibel: amplitudes of the harmonics [B, N, H] in dB.
      rate: frames per second.
    """
    power = 10.0 ** (decibel / 10.0)
    frame = power.sum(-1)
    amplitude = 10.0 ** (decibel / 20.0)
    pitch = 69.0 + 12.0 * np.log2(np.maximum(f0, 1e-3) / 440.0)
    loudness = np.sqrt(frame)
    harmonic = amplitude * np.arange(1, decibel.shape[-1] + 1)
    values = (
        (pitch * frame).sum(-1) / np.maximum(frame.sum(-1), 1e-30),
        10.0 * np.log10(np.maximum(frame.max(-1), 1e-30)),
        harmonic.sum((-1, -2)) / np.maximum(amplitude.sum((-1, -2)), 1e-30),
        (loudness * np.arange(frame.shape[-1]) / rate).sum(-1) / np.maximum(loudness.sum(-1), 1e-30),
    )
    return dict(zip(DESCRIPTORS, values, strict=True))
