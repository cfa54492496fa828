"""Projections of latents to two dimensions: PCA, t-SNE and UMAP.

The kernel map, which is fitted together with its inverse, is in `timbre_jax.maps.kernel`.
"""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np

from timbre_jax.analysis.statistics import points


@dataclasses.dataclass(frozen=True)
class Projection:
    """Latents projected to two dimensions.

    Attributes:
      method: "pca", "tsne", "umap" or "kernel".
      points: [K, 2].
      rows: [K], the row of each point in the latents (t-SNE projects a subset of many sounds).
      explained: share of the variance of both axes, for PCA; None for other methods.
      axes: "directions" [2, D] and "mean" [D] of PCA; empty for other methods.
      settings: settings of the method.
    """

    method: str
    points: np.ndarray
    rows: np.ndarray
    explained: np.ndarray | None
    axes: dict[str, np.ndarray]
    settings: dict[str, float]


def pca_map(latents: np.ndarray) -> Projection:
    """Projects latents [M, D] to their two directions of largest variance.

    The second coordinate of one-dimensional latents is 0.
    """
    latents = points(latents)
    mean = latents.mean(0)
    _, singular, directions = np.linalg.svd(latents - mean, full_matrices=False)
    # The sign of a direction is arbitrary; a positive largest entry makes it repeatable.
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
    directions = directions * np.where(largest < 0, -1.0, 1.0)
    variance = singular**2
    plane = np.zeros((2, latents.shape[1]))
    plane[: min(2, len(directions))] = directions[:2]
    share = np.zeros(2)
    share[: min(2, len(variance))] = variance[:2] / max(variance.sum(), 1e-30)
    return Projection(
        "pca", (latents - mean) @ plane.T, np.arange(len(latents)), share, {"directions": plane, "mean": mean}, {}
    )


def tsne_map(
    latents: np.ndarray, *, perplexity: float = 49.0, seed: int = 0, most: int = 1500, iterations: int = 1000
) -> Projection:
    """Projects latents by t-SNE with PCA initialization (van der Maaten & Hinton 2008).

    Distances between clusters and the sizes of clusters have no meaning in the result.

    Args:
      latents: [M, D].
      perplexity: effective number of neighbors, at most a third of the sounds; 49 as in Natsiou et al. 2023, fig. 8.
      seed: random seed of t-SNE and of the subset.
      most: largest number of sounds; a larger set is reduced to a random subset.
      iterations: optimizer steps, at least 250.

    Raises:
      ValueError: fewer than 5 sounds.
    """
    latents = points(latents)
    if len(latents) < 5:
        raise ValueError(f"latents: t-SNE needs at least 5 sounds (got {len(latents)})")
    rows = np.arange(len(latents))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
    subset = latents[rows]
    perplexity = float(min(perplexity, (len(rows) - 1) / 3.0))
    settings = {"perplexity": perplexity, "iterations": iterations, "seed": seed}
    if np.ptp(subset, axis=0).max() == 0:
        return Projection("tsne", np.zeros((len(rows), 2)), rows, None, {}, settings)
    from sklearn.manifold import TSNE

    init = "pca" if latents.shape[1] >= 2 else "random"
    model = TSNE(2, perplexity=perplexity, init=init, random_state=seed, max_iter=max(250, iterations))
    return Projection("tsne", model.fit_transform(subset.astype(np.float32)).astype(np.float64), rows, None, {}, settings)


def umap_model(latents: np.ndarray, *, neighbors: int = 100, min_dist: float = 0.8, seed: int = 0):
    """Fits UMAP (McInnes, Healy & Melville 2018) and returns the model of umap-learn.

    The model has `embedding_` [M, 2], `transform` and `inverse_transform`. The first import of umap-learn on a machine
    compiles for up to a minute.

    Args:
      latents: [M, D].
      neighbors: number of neighbors of each sound; 100 was chosen in Rebnord 2022, section 7.2.2.
      min_dist: smallest distance between sounds, from 0 to 1; 0.8 was chosen in Rebnord 2022, section 7.2.2.
      seed: random seed.

    Raises:
      ValueError: fewer than 5 sounds, or umap-learn is not installed.
    """
    latents = points(latents)
    if len(latents) < 5:
        raise ValueError(f"latents: UMAP needs at least 5 sounds (got {len(latents)})")
    with warnings.catch_warnings():
        # umap-learn warns that a seed disables threads and that few sounds are initialized randomly; both are intended.
        warnings.simplefilter("ignore")
        try:
            import umap
        except ImportError:
            raise ValueError("UMAP: umap-learn is not installed; run pip install umap-learn") from None
        return umap.UMAP(
            n_neighbors=max(2, min(neighbors, len(latents) - 1)),
            min_dist=min_dist,
            random_state=seed,
            init="spectral" if len(latents) > 12 else "random",
        ).fit(np.asarray(latents, np.float32))


def umap_map(latents: np.ndarray, *, neighbors: int = 100, min_dist: float = 0.8, seed: int = 0) -> Projection:
    """Projects latents [M, D] by UMAP; see `umap_model`."""
    settings = {"neighbors": neighbors, "min_dist": min_dist, "seed": seed}
    latents = points(latents)
    if len(latents) >= 5 and np.ptp(latents, axis=0).max() == 0:
        placed = np.zeros((len(latents), 2))
    else:
        placed = np.asarray(umap_model(latents, neighbors=neighbors, min_dist=min_dist, seed=seed).embedding_, np.float64)
    return Projection("umap", placed, np.arange(len(latents)), None, {}, settings)
