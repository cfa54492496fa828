"""Maps of the latents in two dimensions: PCA and t-SNE."""

from __future__ import annotations

import dataclasses

import numpy as np

from timbre_jax.latent.statistics import points


@dataclasses.dataclass(frozen=True)
class Projection:
    """Attributes:
    method: "pca" or "tsne".
    points: [M, 2].
    rows: [M] int, which of the given latents each point is (t-SNE may have left some out).
    explained: PCA: share of the variance of both axes; t-SNE: None.
    axes: PCA: the directions [2, D] and mean [D] as "directions", "mean"; t-SNE: empty.
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
    """t-SNE with PCA initialisation (van der Maaten & Hinton 2008), perplexity 49 as in Natsiou et al. 2023, fig. 8.

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
