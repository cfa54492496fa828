"""Points of notes in a run's space, and spectral distances of resynthesized notes to their recordings."""

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
    """Returns one latent for each sound, [M, D]; of a series the mean weighted by amplitude (`inference.pooled`)."""
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
    """Returns log-spectral distances to the recordings of some of the notes, in dB.

    Args:
      space: resynthesizes the notes.
      notes: as the space sees them.
      number: how many of them are compared, even over the instruments.
      mean_image: [N, F] in the space's own features; adds the distances of this image's sound.
      waves: the resynthesized waves of these notes by name, if the caller has them; None: `resynthesize` makes them.
      seed: of the choice.

    Returns:
      Distances [number] by name ("reconstruction", "representation", "mean_image"), and the rows of the notes compared.
    """
    rows = even_choice(notes.labels["instrument"], number, seed=seed)
    recorded = notes.audio(rows)
    waves = dict(resynthesize(space, notes.part(rows).features) if waves is None else waves)
    if mean_image is not None:
        waves["mean_image"] = np.repeat(synthesize_values(space, mean_image[None]), len(rows), axis=0)
    # The model does not answer for samples behind the part that its representation covers.
    length = min(recorded.shape[1], space.representation.length or recorded.shape[1])
    ends = notes.varying_lengths(rows, most=length)
    distances = {
        name: spectral_distances(fit_length(wave, length), recorded[:, :length], lengths=ends) for name, wave in waves.items()
    }
    return distances, rows
