"""Floors, sounds and their distances for a run's notes: what analyze and evaluate both report."""

from __future__ import annotations

import numpy as np

from timbre_jax.evaluation.runs import even_choice
from timbre_jax.evaluation.sounds import Sounds
from timbre_jax.inference.batched import encode_features, map_batches
from timbre_jax.inference.pooled import held_space
from timbre_jax.inference.rendering import fit_length, resynthesize, synthesize_values
from timbre_jax.metrics.reconstruction import Scores, mean_image_scores, pair_scores, spectral_distances
from timbre_jax.models import make_model
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features


def floor_scores(training: Features, target: Features, *, latent_size: int) -> dict[str, Scores]:
    """What the mean image and a PCA of as many latents score, both fitted to training features on the common scale."""
    import jax
    import jax.numpy as jnp

    values = np.asarray(training.values, np.float32)
    floors = {"mean_image": mean_image_scores(values.mean(0), target)}
    size = min(latent_size, len(values) - 1)
    if size < 1:
        return floors
    model = make_model("pca", feature_shape=values.shape[1:], latent_size=size)
    variables = model.fit(lambda: (values[start : start + 512] for start in range(0, len(values), 512)))

    @jax.jit
    def score(variables, wanted, mask):
        decoded = model.reconstruct(variables, Features(values=wanted, mask=mask)).values
        return pair_scores(jnp.clip(decoded, 0.0, 1.0), wanted, mask)

    mse, ssim = map_batches(lambda *some: score(variables, *some), target.values, target.mask)
    return {**floors, f"pca_{size}": Scores(mse.astype(np.float64), ssim.astype(np.float64))}


def sound_points(space: TimbreSpace, features: Features) -> np.ndarray:
    """One latent a sound, [M, D]: of a series the mean of its latents weighted by amplitude (`inference.pooled`)."""
    return np.asarray(encode_features(held_space(space), features).values)


def sound_distances(
    space: TimbreSpace,
    notes: Sounds,
    *,
    number: int,
    mean_image: np.ndarray | None = None,
    made: dict[str, np.ndarray] | None = None,
    seed: int = 0,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Log-spectral distances in dB to the recordings of `number` of the notes, and which rows these are.

    By name: those of `resynthesize` (`made`, where they are there already) and, where given in the space's own features
    [N, F], "mean_image".
    """
    rows = even_choice(notes.labels["instrument"], number, seed=seed)
    part = notes.part(rows)
    recorded = notes.audio(rows)
    made = dict(resynthesize(space, part.features) if made is None else made)
    if mean_image is not None:
        made["mean_image"] = np.repeat(synthesize_values(space, mean_image[None]), len(rows), axis=0)
    # What lies behind the part that the representation sees is not the model's fault.
    length = min(recorded.shape[1], getattr(space.representation, "length", 0) or recorded.shape[1])
    ends = notes.varying_lengths(rows, most=length)
    return {
        name: spectral_distances(fit_length(wave, length), recorded[:, :length], lengths=ends) for name, wave in made.items()
    }, rows
