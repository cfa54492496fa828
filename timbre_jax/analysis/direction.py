"""What a listener hears when one latent moves: pitch, level, brightness and course in time of the decoded sound."""

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

QUALITIES = ("pitch_semitones", "level_db", "brightness_harmonics", "temporal_centroid_seconds")


@dataclasses.dataclass(frozen=True)
class DirectionEffects:
    """Qualities of sounds on a sweep of every latent, the others at a point.

    Attributes:
      positions: [D, S], values of the swept latent.
      qualities: each [D, S] by name (`QUALITIES`): mean f0 in semitones (MIDI number); level of the loudest frame in
        dB; the amplitude-weighted mean harmonic number, which is brightness without pitch; center of gravity in time.
    """

    positions: np.ndarray
    qualities: dict[str, np.ndarray]

    def table(self) -> Table:
        """One row a latent: what changes from the low end to the high end of its range."""
        rows = tuple(
            (
                d,
                float(self.positions[d, 0]),
                float(self.positions[d, -1]),
                *(float(q[d, -1] - q[d, 0]) for q in self.qualities.values()),
            )
            for d in range(len(self.positions))
        )
        columns = ("latent", "from", "to", *(f"change_of_{name}" for name in self.qualities))
        return Table("directions", columns, rows, "What changes from one end of a latent's range to the other.")


def direction_effects(space: TimbreSpace, point: np.ndarray | None = None, *, steps: int = 9) -> DirectionEffects:
    """Sweeps every latent from its 1st to its 99th percentile, from a point [D] (default: the training mean).

    Raises:
      ValueError: the representation does not say f0 and harmonics (it has no `denormalize`).
    """
    if not space.representation.is_harmonic:
        raise ValueError(f"features of {space.representation.name} have no f0 and harmonics to read qualities from")
    start = jnp.asarray(space.statistics["latent_mean"] if point is None else point, jnp.float32)
    size = space.latent_size
    latents = np.stack([np.asarray(sweep(space, start, d, steps=steps)) for d in range(size)])
    values = decode_values(space, space.latent(jnp.asarray(latents.reshape(-1, size))))
    harmonic = cast(HarmonicTracks, space.representation)
    f0, decibel = (np.asarray(x, np.float64) for x in harmonic.denormalize(jnp.asarray(values)))
    found = harmonic_qualities(f0, decibel, rate=space.representation.rate)
    positions = latents[np.arange(size), :, np.arange(size)]
    return DirectionEffects(positions, {name: quality.reshape(size, steps) for name, quality in found.items()})


def harmonic_qualities(f0: np.ndarray, decibel: np.ndarray, *, rate: float) -> dict[str, np.ndarray]:
    """`QUALITIES` [B] of f0 [B, N] in Hz and harmonic amplitudes [B, N, H] in dB, frames `rate` a second.

    Frames count by their power, so that the silence after a note says nothing. The temporal centroid is the center of
    gravity of the amplitude over time (Peeters et al. 2011): early for plucked sounds, late for held ones.
    """
    power = 10.0 ** (decibel / 10.0)
    frame = power.sum(-1)
    amplitude = 10.0 ** (decibel / 20.0)
    pitch = 69.0 + 12.0 * np.log2(np.maximum(f0, 1e-3) / 440.0)
    loudness = np.sqrt(frame)
    harmonic = amplitude * np.arange(1, decibel.shape[-1] + 1)
    qualities = (
        (pitch * frame).sum(-1) / np.maximum(frame.sum(-1), 1e-30),
        10.0 * np.log10(np.maximum(frame.max(-1), 1e-30)),
        harmonic.sum((-1, -2)) / np.maximum(amplitude.sum((-1, -2)), 1e-30),
        (loudness * np.arange(frame.shape[-1]) / rate).sum(-1) / np.maximum(loudness.sum(-1), 1e-30),
    )
    return dict(zip(QUALITIES, qualities, strict=True))
