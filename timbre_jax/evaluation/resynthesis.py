"""Floors, sounds and their distances for a run's notes: what analyze and evaluate both report."""

from __future__ import annotations

import numpy as np

from timbre_jax.evaluation.runs import even_choice, take
from timbre_jax.evaluation.sounds import Sounds
from timbre_jax.inference.pooled import held_space
from timbre_jax.metrics.reconstruction import (
    Scores,
    batches_of,
    decode_features,
    decode_values,
    encode_features,
    mean_image_scores,
    pair_scores,
    spectral_distances,
)
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

    wanted, mask = np.asarray(target.values), np.asarray(target.mask)
    parts = [score(variables, wanted[batch], mask[batch]) for batch in batches_of(len(wanted), None)]
    mse, ssim = (np.concatenate([np.asarray(part[i], np.float64) for part in parts])[: len(wanted)] for i in (0, 1))
    return {**floors, f"pca_{size}": Scores(mse, ssim)}


def sound_points(space: TimbreSpace, features: Features) -> np.ndarray:
    """One latent a sound, [M, D]: of a series the mean of its latents weighted by amplitude (`inference.pooled`)."""
    return np.asarray(encode_features(held_space(space), features).values)


def render_values(space: TimbreSpace, values: np.ndarray) -> np.ndarray:
    """Waves [V, T] of latents [V, D]."""
    latent = space.latent(np.asarray(values, np.float32))
    return _synthesise_values(space, decode_values(space, latent))


def _synthesise_values(space: TimbreSpace, values: np.ndarray) -> np.ndarray:
    """Waves [V, T] of feature values [V, N, F] of whole length."""
    mask = np.ones(values.shape[:2], np.float32)
    return synthesise_features(space, Features(values=values, mask=mask, rate=getattr(space.representation, "rate", 0.0)))


def without_clipping(waves: np.ndarray) -> np.ndarray:
    """Waves [..., T] with those that leave [-1, 1] turned down as a whole to a peak of 1; the others as they are."""
    return waves / np.maximum(np.abs(waves).max(axis=-1, keepdims=True, initial=0.0), 1.0)


def synthesise_features(space: TimbreSpace, features: Features, *, batch_size: int = 16) -> np.ndarray:
    """Waves [M, T] of any number of features, in batches of one size, filled up: one compilation for all of a run."""
    count = len(features.values)
    waves = [
        np.asarray(space.synthesise(take(features, np.minimum(np.arange(start, start + batch_size), count - 1))))
        for start in range(0, count, batch_size)
    ]
    return np.concatenate(waves)[:count]


def made_sounds(space: TimbreSpace, features: Features) -> dict[str, np.ndarray]:
    """Waves [M, T] of notes that a run gives back, level and real length as they were, by name.

    "reconstruction": through the latents. "representation": analysed and synthesised without the model, which is as good
    as any model of this representation can get.
    """
    latents = encode_features(space, features, kind=None)
    decoded = decode_features(space, latents, frames=features.values.shape[1])
    return {
        "reconstruction": synthesise_features(space, decoded),
        "representation": synthesise_features(space, features),
    }


def fitted(waves: np.ndarray, samples: int) -> np.ndarray:
    """Waves [M, T] cut, or followed by silence, to `samples`."""
    return np.pad(waves[:, :samples], ((0, 0), (0, max(0, samples - waves.shape[1]))))


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

    By name: those of `made_sounds` (`made`, where they are there already) and, where given in the space's own features
    [N, F], "mean_image".
    """
    rows = even_choice(notes.labels["instrument"], number, seed=seed)
    part = notes.part(rows)
    recorded = notes.audio(rows)
    made = dict(made_sounds(space, part.features) if made is None else made)
    if mean_image is not None:
        made["mean_image"] = np.repeat(_synthesise_values(space, mean_image[None]), len(rows), axis=0)
    # What lies behind the part that the representation sees is not the model's fault.
    length = min(recorded.shape[1], getattr(space.representation, "length", 0) or recorded.shape[1])
    ends = notes.varying_lengths(rows, most=length)
    return {
        name: spectral_distances(fitted(wave, length), recorded[:, :length], lengths=ends) for name, wave in made.items()
    }, rows
