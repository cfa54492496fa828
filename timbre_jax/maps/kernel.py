"""Kernel map: a projection that is fitted together with its inverse.

PCA, t-SNE and UMAP do not take the inverse into account. The kernel map places sounds such that the inverse is accurate:
the latent of every sound is predicted from the *other* sounds by the kernel regression of `timbre_jax.maps.inverse`
(leave-one-out), so that a map with dissimilar sounds at nearby points has a large error.

    minimize over y:  mean_i |z_i - f_{-i}(y_i)|^2 / var(z)  +  weight * mean_i KL(p_i || q_i)
    f_{-i}(y) = sum_{j != i} k(y - y_j) z_j / sum_{j != i} k(y - y_j),   k a Gaussian of width 1

The first term is unsupervised kernel regression (Meinicke, Klanke, Memisevic & Ritter 2005, IEEE TPAMI 27(9)), the second is
the objective of t-SNE (van der Maaten & Hinton 2008), which also initializes the map.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from timbre_jax.analysis.projection import Projection, pca_map, tsne_map
from timbre_jax.analysis.statistics import points
from timbre_jax.metrics.knn import nearest_neighbors
from timbre_jax.types import Array

FEWEST = 8
"""Smallest number of sounds that are optimized; fewer sounds are placed by PCA."""
_CHUNK = 50
_BATCH = 512
_LANDMARKS = 3000


def kernel_map(
    latents: np.ndarray,
    *,
    neighborhood: float = 3.0,
    perplexity: float = 30.0,
    steps: int = 400,
    learning_rate: float = 0.1,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Projection:
    """Fits a kernel map.

    A step compares up to 512 sounds with all others. Of more than 3,000 sounds, t-SNE places 3,000, and the others start next
    to the nearest of these.

    Args:
      latents: [M, D].
      neighborhood: weight of the t-SNE term; 0 for the regression alone.
      perplexity: perplexity of the t-SNE term and of the initialization, at most a third of the sounds.
      steps: steps of Adam.
      learning_rate: initial learning rate of a cosine schedule.
      seed: random seed.
      progress: called with the number of steps since its last call.

    Returns:
      The projection, in units of the kernel width.

    Raises:
      ValueError: no sounds, or latents that are not finite.
    """
    latents = np.asarray(points(latents), np.float32)
    count = len(latents)
    settings = {
        "neighborhood": neighborhood, "perplexity": min(perplexity, (count - 1) / 3.0), "steps": steps,
        "learning_rate": learning_rate, "seed": seed,
    }  # fmt: skip
    variance = float(np.sum(np.var(latents.astype(np.float64), axis=0)))
    if count < FEWEST or variance == 0.0:
        linear = pca_map(latents).points
        return Projection("kernel", _normalized(linear) * 3.0, np.arange(count), None, {}, settings)
    start = _initial_coordinates(latents, settings["perplexity"], seed)
    weights, near = neighbor_weights(latents, settings["perplexity"])
    # The area grows with the number of sounds, so that a kernel covers a constant number of them.
    coordinates = jnp.asarray(_normalized(start) * np.sqrt(count) / 6.0, jnp.float32)
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    state, key = optimizer.init(coordinates), jax.random.key(seed)
    for first in range(0, steps, _CHUNK):
        number = min(_CHUNK, steps - first)
        coordinates, state = _run_steps(
            coordinates, state, jnp.asarray(latents), near, weights, variance, neighborhood, key, first, number,
            learning_rate, steps,
        )  # fmt: skip
        if progress is not None:
            coordinates.block_until_ready()
            progress(number)
    return Projection("kernel", np.asarray(coordinates, np.float64), np.arange(count), None, {}, settings)


def neighbor_weights(latents: np.ndarray, perplexity: float) -> tuple[np.ndarray, np.ndarray]:
    """Computes the conditional probabilities p_{j|i} of t-SNE.

    The width of the Gaussian of each sound is found by bisection, such that its entropy is log(perplexity).

    Args:
      latents: [M, D].
      perplexity: effective number of neighbors.

    Returns:
      Weights [M, K] that sum to 1, and the rows [M, K] of the neighbors, with K = 3 * perplexity.
    """
    count = len(latents)
    size = int(min(count - 1, max(3, round(3 * perplexity))))
    neighbors = nearest_neighbors(latents, latents, k=size + 1)
    # A sound is its own nearest neighbor, but not always the first among sounds with equal latents.
    own = neighbors.indices == np.arange(count)[:, None]
    own[~own.any(1), -1] = True
    near = neighbors.indices[~own].reshape(count, size)
    squared = neighbors.distances[~own].reshape(count, size) ** 2
    squared = squared / np.maximum(squared.mean(1, keepdims=True), 1e-30)
    low, high = np.full(count, -30.0), np.full(count, 30.0)
    for _ in range(50):
        middle = 0.5 * (low + high)
        weight = np.exp(-(squared - squared.min(1, keepdims=True)) * np.exp(middle)[:, None])
        weight /= weight.sum(1, keepdims=True)
        entropy = -np.sum(weight * np.log(np.maximum(weight, 1e-30)), axis=1)
        wide = entropy > np.log(min(perplexity, size))
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    return weight.astype(np.float32), near.astype(np.int32)


def _normalized(coordinates: np.ndarray) -> np.ndarray:
    """Returns centered coordinates with a mean square radius of 2; zeros remain zeros."""
    centered = coordinates - coordinates.mean(0)
    return centered / max(float(np.sqrt(np.mean(centered**2))), 1e-30)


def _initial_coordinates(latents: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    landmarks = tsne_map(latents, perplexity=perplexity, seed=seed, most=_LANDMARKS, iterations=500)
    if len(landmarks.rows) == len(latents):
        return landmarks.points
    nearest = nearest_neighbors(latents[landmarks.rows], latents, k=1).indices[:, 0]
    jitter = np.random.default_rng(seed).standard_normal((len(latents), 2)) * 0.01 * landmarks.points.std()
    jitter[landmarks.rows] = 0.0
    return landmarks.points[nearest] + jitter


@partial(jax.jit, static_argnames=("number", "steps"))
def _run_steps(
    coordinates, state, latents, near, weights, variance, neighborhood, key, first, number: int, learning_rate, steps: int
):
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    count = len(latents)

    def step(carry, index):
        coordinates, state = carry
        rows = jnp.arange(count)
        if count > _BATCH:
            rows = jax.random.choice(jax.random.fold_in(key, index), count, (_BATCH,), replace=False)
        gradient = jax.grad(_loss)(coordinates, rows, latents, near[rows], weights[rows], variance, neighborhood)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(coordinates, updates), state), None

    (coordinates, state), _ = jax.lax.scan(step, (coordinates, state), first + jnp.arange(number))
    return coordinates, state


def _loss(coordinates: Array, rows: Array, latents: Array, near: Array, weights: Array, variance, neighborhood) -> Array:
    """Returns the objective over sounds `rows` [B] with neighbors [B, K], up to a constant."""
    selected = coordinates[rows]
    # Differences instead of the expanded square, which loses small distances in float32.
    squared = sum(jnp.square(selected[:, axis, None] - coordinates[None, :, axis]) for axis in (0, 1))
    others = jnp.arange(len(coordinates))[None, :] != rows[:, None]
    share = jax.nn.softmax(jnp.where(others, -0.5 * squared, -jnp.inf), axis=1)
    error = jnp.mean(jnp.sum(jnp.square(share @ latents - latents[rows]), axis=1)) / variance
    close = jnp.sum(jnp.square(selected[:, None, :] - coordinates[near]), axis=-1)
    attraction = jnp.mean(jnp.sum(weights * jnp.log1p(close), axis=1))
    repulsion = jnp.log(jnp.mean(jnp.sum(jnp.where(others, 1.0 / (1.0 + squared), 0.0), axis=1)))
    return error + neighborhood * (attraction + repulsion)
