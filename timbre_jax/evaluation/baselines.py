"""Baselines of the reconstruction scores: mean image and PCA, fitted to training features."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.inference.batched import map_batches
from timbre_jax.metrics.reconstruction import Scores, image_scores
from timbre_jax.models import make_model
from timbre_jax.types import Features


def baseline_scores(training: Features, target: Features, *, latent_size: int) -> dict[str, Scores]:
    """Scores the mean image and a PCA on notes.

    Args:
      training: training features on the common scale, to which both are fitted.
      target: features of the notes to score, on the common scale.
      latent_size: number of latents of the PCA, limited to the number of training notes minus one.

    Returns:
      Scores by name: "mean_image", and "pca_N" with N latents if there are at least two training notes.
    """
    values = np.asarray(training.values, np.float32)
    mean = np.broadcast_to(values.mean(0), np.shape(target.values))
    scores = {"mean_image": image_scores(mean, target)}
    size = min(latent_size, len(values) - 1)
    if size < 1:
        return scores
    model = make_model("pca", feature_shape=values.shape[1:], latent_size=size)
    variables = model.fit(lambda: (values[start : start + 512] for start in range(0, len(values), 512)))

    @jax.jit
    def reconstruct(variables, values, mask):
        return jnp.clip(model.reconstruct(variables, Features(values=values, mask=mask)).values, 0.0, 1.0)

    decoded = map_batches(functools.partial(reconstruct, variables), target.values, target.mask)
    return scores | {f"pca_{size}": image_scores(decoded, target)}
