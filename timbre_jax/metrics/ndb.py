"""Number of statistically different bins (NDB) of two sets of sounds.

Richardson & Weiss 2018, "On GANs and GMMs". k-means on the reference set defines k bins. A bin is different if the shares of
the two sets in it differ significantly in a two-proportion z-test. Two samples of one distribution differ in about alpha * k
bins by chance, so the number is reported with its chance value.
"""

from __future__ import annotations

import dataclasses

import numpy as np

# Rebnord 2022, section 7.2: 50 bins of spectrograms of 250 frames and 128 bands, shrunk to 32 frames and 16 bands.
REBNORD_BINS = 50
REBNORD_SHAPE = (32, 16)


@dataclasses.dataclass(frozen=True)
class NdbResult:
    """Number of different bins, with its chance value.

    Attributes:
      ndb: number of different bins, 0 to k.
      jensen_shannon: divergence of the two distributions over bins in nats, 0 to ln 2.
      k: number of bins.
      alpha: level of the test of each bin.
      chance: mean of `ndb` over random splits of the same sounds into two sets of these sizes.
      chance_low: 2.5th percentile of `ndb` over these splits.
      chance_high: 97.5th percentile.
      jensen_shannon_chance: mean divergence over these splits; above 0 for finite sets.
      p_value: share of the splits with at least as many different bins.
      shares: [2, k] shares of reference and test in each bin; the largest bin of the reference is first.
      different: [k] whether a bin is different.
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
    k: int = REBNORD_BINS,
    alpha: float = 0.05,
    permutations: int = 1000,
    seed: int = 0,
) -> NdbResult:
    """Counts the statistically different bins of two sets of sounds.

    Args:
      reference: [N, ...] reference set, N >= k; further axes are flattened.
      test: [M, ...] test set.
      k: number of bins.
      alpha: level of the two-sided test of each bin.
      permutations: number of random splits for the chance value.
      seed: random seed of k-means and of the splits.

    Raises:
      ValueError: a set is too small, the sounds differ in size, or values are not finite.
    """
    from sklearn.cluster import KMeans

    reference, test = (np.asarray(x, np.float64) for x in (reference, test))
    reference, test = (x.reshape(len(x), int(np.prod(x.shape[1:]))) for x in (reference, test))
    if reference.shape[1] != test.shape[1]:
        raise ValueError(f"ndb: sounds must have one size (got {reference.shape[1]} and {test.shape[1]} values)")
    if not 2 <= k <= len(reference) or len(test) == 0:
        raise ValueError(
            f"ndb: must have {k} reference sounds for k={k} bins, and a test sound (got {len(reference)} and {len(test)})"
        )
    if not (np.isfinite(reference).all() and np.isfinite(test).all()):
        raise ValueError("ndb: all values must be finite; remove sounds with NaN or infinity")
    bins = KMeans(k, n_init=3, random_state=seed).fit(reference)
    counts = np.stack([np.bincount(labels, minlength=k) for labels in (bins.labels_, bins.predict(test))])
    counts = counts[:, np.argsort(-counts[0], kind="stable")]
    return _compare_counts(counts, alpha=alpha, permutations=permutations, seed=seed)


def _compare_counts(counts: np.ndarray, *, alpha: float, permutations: int, seed: int) -> NdbResult:
    """Compares the numbers of sounds [2, k] of both sets in each bin."""
    sizes, total = counts.sum(1), counts.sum(0)
    first = np.random.default_rng(seed).multivariate_hypergeometric(total, sizes[0], size=permutations)
    splits = np.stack([first, total - first], axis=1)
    by_chance, divergence = different_bins(splits, alpha).sum(-1), jensen_shannon(splits)
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
        p_value=float((1 + np.sum(by_chance >= different.sum())) / (1 + permutations)),
        shares=counts / sizes[:, None],
        different=different,
    )


def different_bins(counts: np.ndarray, alpha: float) -> np.ndarray:
    """Tests whether shares differ in each bin (two-proportion z-test, pooled variance).

    Args:
      counts: [..., 2, k] number of sounds of both sets in each bin.
      alpha: level of the two-sided test.

    Returns:
      [..., k] bool.
    """
    from scipy.special import ndtri

    sizes = counts.sum(-1, keepdims=True)
    shares = counts / sizes
    pooled = counts.sum(-2) / sizes.sum(-2)
    deviation = np.sqrt(pooled * (1.0 - pooled) * np.sum(1.0 / sizes, axis=-2))
    difference = np.abs(shares[..., 0, :] - shares[..., 1, :])
    return difference > -ndtri(alpha / 2.0) * np.where(deviation > 0.0, deviation, np.inf)


def jensen_shannon(counts: np.ndarray) -> np.ndarray:
    """Returns the Jensen-Shannon divergence in nats of two counts, [..., 2, k] -> [...]."""
    from scipy.special import xlogy

    shares = counts / counts.sum(-1, keepdims=True)
    middle = shares.mean(-2, keepdims=True)
    return 0.5 * np.sum(xlogy(shares, shares / np.where(middle > 0.0, middle, 1.0)), axis=(-2, -1))


def shrink(images: np.ndarray, shape: tuple[int, int] = REBNORD_SHAPE) -> np.ndarray:
    """Shrinks images by averaging over equal areas.

    Pixels on the edge of two areas are divided between them.

    Args:
      images: [B, N, F] images.
      shape: frames and bands of the result; default: that of Rebnord 2022.

    Returns:
      [B, *shape].

    Raises:
      ValueError: the images are smaller than the shape.
    """
    images = np.asarray(images, np.float64)
    if images.shape[1] < shape[0] or images.shape[2] < shape[1]:
        raise ValueError(f"images: must be at least {shape} to be shrunk to it (got {images.shape[1:]})")
    return _area_weights(images.shape[1], shape[0]).T @ images @ _area_weights(images.shape[2], shape[1])


def _area_weights(size: int, parts: int) -> np.ndarray:
    """Returns the weight of each pixel in the mean of each part, [size, parts]."""
    edges = np.linspace(0.0, size, parts + 1)
    pixel = np.arange(size)[:, None]
    overlap = np.minimum(edges[1:], pixel + 1.0) - np.maximum(edges[:-1], pixel)
    return np.maximum(0.0, overlap) * (parts / size)
