"""Maps of the latents in two dimensions: PCA, t-SNE and UMAP, with the settings that Rebnord 2022 tried.

The library's own map, which is made together with its way back, is in `kernel_map`; ways back are in `inverse_map`.
"""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np

from timbre_jax.analysis.statistics import points


@dataclasses.dataclass(frozen=True)
class Projection:
    """Attributes:
    method: "pca", "tsne", "umap" or "kernel".
    points: [M, 2].
    rows: [M] int, which of the given latents each point is (t-SNE may have left some out).
    explained: PCA: share of the variance of both axes; others: None.
    axes: PCA: the directions [2, D] and mean [D] as "directions", "mean"; others: empty.
    settings: plain numbers that say how it was made.
    """

    method: str
    points: np.ndarray
    rows: np.ndarray
    explained: np.ndarray | None
    axes: dict[str, np.ndarray]
    settings: dict[str, float]


def pca_map(latents: np.ndarray) -> Projection:
    """The two directions of largest variance of latents [M, D]; of one dimension, the second coordinate is 0."""
    latents = points(latents)
    mean = latents.mean(0)
    _, singular, directions = np.linalg.svd(latents - mean, full_matrices=False)
    # The sign of a direction is arbitrary: make its largest entry positive, so that runs agree.
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
    directions = directions * np.where(largest < 0, -1.0, 1.0)
    variance = singular**2
    kept = np.zeros((2, latents.shape[1]))
    kept[: min(2, len(directions))] = directions[:2]
    share = np.zeros(2)
    share[: min(2, len(variance))] = variance[:2] / max(variance.sum(), 1e-30)
    return Projection("pca", (latents - mean) @ kept.T, np.arange(len(latents)), share, {"directions": kept, "mean": mean}, {})


def tsne_map(
    latents: np.ndarray, *, perplexity: float = 49.0, seed: int = 0, most: int = 1500, iterations: int = 1000
) -> Projection:
    """t-SNE with PCA initialization (van der Maaten & Hinton 2008), perplexity 49 as in Natsiou et al. 2023, fig. 8.

    Distances between far clusters and the sizes of clusters mean nothing in it. The perplexity is cut to a third of the
    sounds; above `most` sounds a random `most` of them are taken.

    Raises:
      ValueError: fewer than 5 sounds.
    """
    latents = points(latents)
    if len(latents) < 5:
        raise ValueError(f"t-SNE needs at least 5 sounds, not {len(latents)}")
    rows = np.arange(len(latents))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
    chosen = latents[rows]
    perplexity = float(min(perplexity, (len(rows) - 1) / 3.0))
    settings = {"perplexity": perplexity, "iterations": iterations, "seed": seed}
    if np.ptp(chosen, axis=0).max() == 0:
        return Projection("tsne", np.zeros((len(rows), 2)), rows, None, {}, settings)
    from sklearn.manifold import TSNE

    init = "pca" if latents.shape[1] >= 2 else "random"
    model = TSNE(2, perplexity=perplexity, init=init, random_state=seed, max_iter=max(250, iterations))
    return Projection("tsne", model.fit_transform(chosen.astype(np.float32)).astype(np.float64), rows, None, {}, settings)


def umap_model(latents: np.ndarray, *, neighbors: int = 100, min_dist: float = 0.8, seed: int = 0):
    """umap-learn's model fitted to latents [M, D]: `embedding_` [M, 2], `transform`, `inverse_transform`.

    UMAP (McInnes, Healy, Melville 2018), default settings as chosen by Rebnord 2022. The first import of umap-learn on a
    machine compiles for up to a minute. Its inverse takes seconds, knows nothing outside the cloud, and is here to be
    compared with; nothing of the model is ever written.

    Raises:
      ValueError: fewer than 5 sounds, or umap-learn is not installed.
    """
    latents = points(latents)
    if len(latents) < 5:
        raise ValueError(f"UMAP needs at least 5 sounds, not {len(latents)}")
    with warnings.catch_warnings():
        # That a seed turns threads off, that the initialization of few sounds is random: as it should be.
        warnings.simplefilter("ignore")
        try:
            import umap
        except ImportError:
            raise ValueError("UMAP needs umap-learn: pip install umap-learn") from None
        return umap.UMAP(
            n_neighbors=max(2, min(neighbors, len(latents) - 1)),
            min_dist=min_dist,
            random_state=seed,
            init="spectral" if len(latents) > 12 else "random",
        ).fit(np.asarray(latents, np.float32))


def umap_map(latents: np.ndarray, *, neighbors: int = 100, min_dist: float = 0.8, seed: int = 0) -> Projection:
    """UMAP of latents [M, D]; what `umap_model` says holds here."""
    settings = {"neighbors": neighbors, "min_dist": min_dist, "seed": seed}
    latents = points(latents)
    if len(latents) >= 5 and np.ptp(latents, axis=0).max() == 0:
        placed = np.zeros((len(latents), 2))
    else:
        placed = np.asarray(umap_model(latents, neighbors=neighbors, min_dist=min_dist, seed=seed).embedding_, np.float64)
    return Projection("umap", placed, np.arange(len(latents)), None, {}, settings)
