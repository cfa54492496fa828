"""Latents of sounds, and spectral distances of resynthesized sounds to their recordings."""

from __future__ import annotations

import numpy as np

from timbre_jax.evaluation.runs import even_choice
from timbre_jax.evaluation.sounds import Sounds
from timbre_jax.inference.batched import encode_features
from timbre_jax.inference.pooled import held_space
from timbre_jax.inference.rendering import fit_length, resynthesize, synthesize_values
from timbre_jax.metrics.sound_pairs import spectral_distances
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features


def sound_points(space: TimbreSpace, features: Features) -> np.ndarray:
    """Encodes each sound to one latent.

    In a series space, it is the mean of the series, weighted by amplitude (`inference.pooled`).

    Args:
      space: static or series space.
      features: features of M sounds.

    Returns:
      Latents [M, D].
    """
    return np.asarray(encode_features(held_space(space), features).values)


def sound_distances(
    space: TimbreSpace,
    notes: Sounds,
    *,
    number: int,
    mean_image: np.ndarray | None = None,
    waves: dict[str, np.ndarray] | None = None,
    seed: int = 0,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Measures log-spectral distances of resynthesized notes to their recordings in dB.

    Args:
      space: space that resynthesizes the notes.
      notes: notes with features in the representation of the space.
      number: number of notes to compare, evenly over instruments.
      mean_image: [N, F] mean features in the representation of the space, whose sound is also compared; None: not compared.
      waves: resynthesized waves of these notes by name; None: computed by `resynthesize`.
      seed: random seed of the choice of notes.

    Returns:
      Distances [number] by name ("reconstruction", "representation", "mean_image"), and the rows of the compared notes.
    """
    rows = even_choice(notes.labels["instrument"], number, seed=seed)
    recorded = notes.audio(rows)
    waves = dict(resynthesize(space, notes.part(rows).features) if waves is None else waves)
    if mean_image is not None:
        waves["mean_image"] = np.repeat(synthesize_values(space, mean_image[None]), len(rows), axis=0)
    # Samples beyond the length of the representation are not part of the reconstruction.
    length = min(recorded.shape[1], space.representation.length or recorded.shape[1])
    ends = notes.varying_lengths(rows, most=length)
    distances = {
        name: spectral_distances(fit_length(wave, length), recorded[:, :length], lengths=ends) for name, wave in waves.items()
    }
    return distances, rows
