"""A map that is made together with its way back: unsupervised kernel regression with a term for neighborhoods.

PCA, t-SNE and UMAP place the sounds first and leave the way back to whoever asks for it afterwards. Here the places are
sought for which the way back works: the latent of every sound shall follow from the latents of the *other* sounds near it
on the map (leave one out), by the very kernel regression that `inverse_map` later uses between the sounds. Leaving out is
what keeps it honest: a map that folds strangers together is punished for it by the sounds it would lose.

    minimize over y:  mean_i |z_i - f_{-i}(y_i)|^2 / var(z)  +  weight * mean_i KL(p_i || q_i)
    f_{-i}(y) = sum_{j != i} k(y - y_j) z_j / sum_{j != i} k(y - y_j),   k a Gaussian of width 1

The first term is unsupervised kernel regression (Meinicke, Klanke, Memisevic, Ritter 2005, IEEE TPAMI 27(9)), the second
that of t-SNE (van der Maaten & Hinton 2008), from whose map the search starts.
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
"""Below as many sounds there is nothing to seek: PCA's places are taken."""
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
    """Places [M, 2] of latents [M, D], in units of the kernel's width: pass `width=1` on to `inverse_map.kernel_inverse`.

    A step looks at up to 512 sounds against all of them. Above 3,000 sounds t-SNE places 3,000 of them and the others start
    beside the nearest of these. Sounds with equal latents start, and mostly stay, at one place.

    Args:
      neighborhood: weight of the term that keeps neighbors together; 0: the way back alone.
      perplexity: of that term and of the start, cut to a third of the sounds.
      steps, learning_rate: of Adam with a cosine schedule.
      progress: called with the number of steps done since it was called last.

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
        return Projection("kernel", _spread(linear) * 3.0, np.arange(count), None, {}, settings)
    start = _start(latents, settings["perplexity"], seed)
    weights, near = neighbor_weights(latents, settings["perplexity"])
    # About as many sounds under one kernel, whatever their number: their area grows with it.
    places = jnp.asarray(_spread(start) * np.sqrt(count) / 6.0, jnp.float32)
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    state, key = optimizer.init(places), jax.random.key(seed)
    for first in range(0, steps, _CHUNK):
        number = min(_CHUNK, steps - first)
        places, state = _some_steps(
            places, state, jnp.asarray(latents), near, weights, variance, neighborhood, key, first, number,
            learning_rate, steps,
        )  # fmt: skip
        if progress is not None:
            places.block_until_ready()
            progress(number)
    return Projection("kernel", np.asarray(places, np.float64), np.arange(count), None, {}, settings)


def neighbor_weights(latents: np.ndarray, perplexity: float) -> tuple[np.ndarray, np.ndarray]:
    """t-SNE's p_{j|i} over the 3 * perplexity nearest of each sound: weights [M, K] that sum to 1, and who they are [M, K].

    The width of each sound's Gaussian is found by bisection such that its entropy is log(perplexity).
    """
    count = len(latents)
    size = int(min(count - 1, max(3, round(3 * perplexity))))
    found = nearest_neighbors(latents, latents, k=size + 1)
    # A sound is its own nearest neighbor, but need not come first among its doubles.
    own = found.indices == np.arange(count)[:, None]
    own[~own.any(1), -1] = True
    near = found.indices[~own].reshape(count, size)
    squared = found.distances[~own].reshape(count, size) ** 2
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


def _spread(places: np.ndarray) -> np.ndarray:
    """Places around 0 with a mean square radius of 2; all zeros stay zeros."""
    centered = places - places.mean(0)
    return centered / max(float(np.sqrt(np.mean(centered**2))), 1e-30)


def _start(latents: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    found = tsne_map(latents, perplexity=perplexity, seed=seed, most=_LANDMARKS, iterations=500)
    if len(found.rows) == len(latents):
        return found.points
    nearest = nearest_neighbors(latents[found.rows], latents, k=1).indices[:, 0]
    jitter = np.random.default_rng(seed).standard_normal((len(latents), 2)) * 0.01 * found.points.std()
    jitter[found.rows] = 0.0
    return found.points[nearest] + jitter


@partial(jax.jit, static_argnames=("number", "steps"))
def _some_steps(
    places, state, latents, near, weights, variance, neighborhood, key, first, number: int, learning_rate, steps: int
):
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    count = len(latents)

    def step(carry, index):
        places, state = carry
        rows = jnp.arange(count)
        if count > _BATCH:
            rows = jax.random.choice(jax.random.fold_in(key, index), count, (_BATCH,), replace=False)
        gradient = jax.grad(_loss)(places, rows, latents, near[rows], weights[rows], variance, neighborhood)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(places, updates), state), None

    (places, state), _ = jax.lax.scan(step, (places, state), first + jnp.arange(number))
    return places, state


def _loss(places: Array, rows: Array, latents: Array, near: Array, weights: Array, variance, neighborhood) -> Array:
    """The objective of this file over some of the sounds, up to a constant. rows [B], near and weights [B, K]."""
    here = places[rows]
    # Differences, not the expanded square: in float32 that would lose the small distances, which rule here.
    squared = sum(jnp.square(here[:, axis, None] - places[None, :, axis]) for axis in (0, 1))
    others = jnp.arange(len(places))[None, :] != rows[:, None]
    share = jax.nn.softmax(jnp.where(others, -0.5 * squared, -jnp.inf), axis=1)
    error = jnp.mean(jnp.sum(jnp.square(share @ latents - latents[rows]), axis=1)) / variance
    close = jnp.sum(jnp.square(here[:, None, :] - places[near]), axis=-1)
    attraction = jnp.mean(jnp.sum(weights * jnp.log1p(close), axis=1))
    repulsion = jnp.log(jnp.mean(jnp.sum(jnp.where(others, 1.0 / (1.0 + squared), 0.0), axis=1)))
    return error + neighborhood * (attraction + repulsion)
