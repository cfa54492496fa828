"""Number of statistically different bins: do two sets of sounds lie in the same places, as often?

Richardson & Weiss 2018, "On GANs and GMMs". k-means on the reference set makes k bins; a bin is different where the share of
the other set in it differs from the reference's by a two-proportion z-test. Two samples of one and the same distribution
still differ in about alpha * k bins, so the figure means nothing without its chance value, which is computed here.
"""

from __future__ import annotations

import dataclasses

import numpy as np

# Rebnord 2022, section 7.2: spectrograms of 250 frames and 128 bands shrunk to 32 frames and 16 bands, 50 bins.
THESIS_BINS = 50
THESIS_SHAPE = (32, 16)


@dataclasses.dataclass(frozen=True)
class NdbResult:
    """Attributes:
    ndb: bins that differ, 0 to k.
    jensen_shannon: divergence of the two distributions over bins in nats, 0 to ln 2.
    k, alpha: bins, and level of each bin's test.
    chance, chance_low, chance_high: mean and central 95 % of `ndb` when the same sounds are dealt out to two sets of
      these sizes at random.
    jensen_shannon_chance: mean of the divergence then; small sets never have 0.
    p_value: how often chance gives at least as many bins.
    shares: [2, k] of reference and test in each bin, fullest bin of the reference first.
    different: [k] whether a bin differs.
    """

    ndb: int
    jensen_shannon: float
    k: int
    alpha: float
    chance: float
    chance_low: float
    chance_high: float
    jensen_shannon_chance: float
    p_value: float
    shares: np.ndarray
    different: np.ndarray


def ndb(
    reference: np.ndarray,
    test: np.ndarray,
    *,
    k: int = THESIS_BINS,
    alpha: float = 0.05,
    draws: int = 1000,
    seed: int = 0,
) -> NdbResult:
    """Bins in which test [M, ...] differs from reference [N, ...]; further axes are one vector a sound.

    Args:
      k: bins; the reference needs at least as many sounds.
      alpha: level of each bin's test, two-sided.
      draws: random deals for the chance value.
      seed: of k-means and of the deals.

    Raises:
      ValueError: sets that are too small, of different sizes a sound, or not finite.
    """
    from sklearn.cluster import KMeans

    reference, test = (np.asarray(x, np.float64) for x in (reference, test))
    reference, test = (x.reshape(len(x), int(np.prod(x.shape[1:]))) for x in (reference, test))
    if reference.shape[1] != test.shape[1]:
        raise ValueError(f"the sets have {reference.shape[1]} and {test.shape[1]} values a sound")
    if not 2 <= k <= len(reference) or len(test) == 0:
        raise ValueError(
            f"{k} bins need at least as many reference sounds and one other; there are {len(reference)}, {len(test)}"
        )
    if not (np.isfinite(reference).all() and np.isfinite(test).all()):
        raise ValueError("some values are not finite")
    bins = KMeans(k, n_init=3, random_state=seed).fit(reference)
    counts = np.stack([np.bincount(labels, minlength=k) for labels in (bins.labels_, bins.predict(test))])
    counts = counts[:, np.argsort(-counts[0], kind="stable")]
    return _compare(counts, alpha=alpha, draws=draws, seed=seed)


def _compare(counts: np.ndarray, *, alpha: float, draws: int, seed: int) -> NdbResult:
    """Of the sounds [2, k] in each bin."""
    sizes, total = counts.sum(1), counts.sum(0)
    dealt = np.random.default_rng(seed).multivariate_hypergeometric(total, sizes[0], size=draws)
    deals = np.stack([dealt, total - dealt], axis=1)
    by_chance, divergence = different_bins(deals, alpha).sum(-1), jensen_shannon(deals)
    different = different_bins(counts, alpha)
    low, high = np.percentile(by_chance, [2.5, 97.5])
    return NdbResult(
        ndb=int(different.sum()),
        jensen_shannon=float(jensen_shannon(counts)),
        k=counts.shape[1],
        alpha=alpha,
        chance=float(by_chance.mean()),
        chance_low=float(low),
        chance_high=float(high),
        jensen_shannon_chance=float(divergence.mean()),
        p_value=float((1 + np.sum(by_chance >= different.sum())) / (1 + draws)),
        shares=counts / sizes[:, None],
        different=different,
    )


def different_bins(counts: np.ndarray, alpha: float) -> np.ndarray:
    """Two-proportion z-test with pooled variance in every bin: counts [..., 2, k] -> bool [..., k]."""
    from scipy.special import ndtri

    sizes = counts.sum(-1, keepdims=True)
    shares = counts / sizes
    pooled = counts.sum(-2) / sizes.sum(-2)
    deviation = np.sqrt(pooled * (1.0 - pooled) * np.sum(1.0 / sizes, axis=-2))
    difference = np.abs(shares[..., 0, :] - shares[..., 1, :])
    return difference > -ndtri(alpha / 2.0) * np.where(deviation > 0.0, deviation, np.inf)


def jensen_shannon(counts: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence in nats of two distributions given as counts, [..., 2, k] -> [...]."""
    from scipy.special import xlogy

    shares = counts / counts.sum(-1, keepdims=True)
    middle = shares.mean(-2, keepdims=True)
    return 0.5 * np.sum(xlogy(shares, shares / np.where(middle > 0.0, middle, 1.0)), axis=(-2, -1))


def shrink(images: np.ndarray, shape: tuple[int, int] = THESIS_SHAPE) -> np.ndarray:
    """Images [B, N, F] averaged over equal areas to [B, *shape]; a pixel that lies on an edge is shared by both sides.

    Raises:
      ValueError: the images are smaller than the shape.
    """
    images = np.asarray(images, np.float64)
    if images.shape[1] < shape[0] or images.shape[2] < shape[1]:
        raise ValueError(f"images of {images.shape[1:]} cannot be shrunk to {shape}")
    return _areas(images.shape[1], shape[0]).T @ images @ _areas(images.shape[2], shape[1])


def _areas(size: int, parts: int) -> np.ndarray:
    """[size, parts]: which share of each part's mean each pixel has."""
    edges = np.linspace(0.0, size, parts + 1)
    pixel = np.arange(size)[:, None]
    overlap = np.minimum(edges[1:], pixel + 1.0) - np.maximum(edges[:-1], pixel)
    return np.maximum(0.0, overlap) * (parts / size)
