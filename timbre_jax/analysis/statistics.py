"""Distribution of latents over sounds and classes, and of classes over latent ranges."""

from __future__ import annotations

import dataclasses

import numpy as np

from timbre_jax.metrics.bootstrap import group_sums
from timbre_jax.metrics.table import Table


@dataclasses.dataclass(frozen=True)
class BoxPlot:
    """Box plot of D latents (Natsiou et al. 2023, fig. 4).

    Attributes:
      median: [D].
      quartile_low: 25th percentile [D].
      quartile_high: 75th percentile [D].
      whisker_low: smallest value [D] within 1.5 interquartile ranges of the box (Tukey 1977).
      whisker_high: largest value [D] within 1.5 interquartile ranges of the box.
      outliers: D arrays of the values outside the whiskers.
      mean: [D].
      deviation: standard deviation [D].
    """

    median: np.ndarray
    quartile_low: np.ndarray
    quartile_high: np.ndarray
    whisker_low: np.ndarray
    whisker_high: np.ndarray
    outliers: tuple[np.ndarray, ...]
    mean: np.ndarray
    deviation: np.ndarray

    @property
    def interquartile_range(self) -> np.ndarray:
        """Difference [D] between the quartiles."""
        return self.quartile_high - self.quartile_low

    def table(self) -> Table:
        """Returns the distribution of every latent."""
        names = ("mean", "deviation", "whisker_low", "quartile_low", "median", "quartile_high", "whisker_high")
        rows = tuple(
            (d, *(float(getattr(self, name)[d]) for name in names), len(outliers)) for d, outliers in enumerate(self.outliers)
        )
        columns = ("latent", *("std" if name == "deviation" else name for name in names), "outliers")
        return Table("distribution", columns, rows, "Distribution of the latents. Whiskers extend to 1.5 interquartile ranges.")


def box_plot(latents: np.ndarray) -> BoxPlot:
    """Returns the box plot of latents [M, D]."""
    latents = points(latents)
    low, median, high = np.percentile(latents, [25, 50, 75], axis=0)
    reach = 1.5 * (high - low)
    inside = (latents >= low - reach) & (latents <= high + reach)
    return BoxPlot(
        median=median,
        quartile_low=low,
        quartile_high=high,
        whisker_low=np.min(np.where(inside, latents, np.inf), axis=0),
        whisker_high=np.max(np.where(inside, latents, -np.inf), axis=0),
        outliers=tuple(latents[~inside[:, d], d] for d in range(latents.shape[1])),
        mean=latents.mean(0),
        deviation=latents.std(0),
    )


@dataclasses.dataclass(frozen=True)
class ClassStatistics:
    """Mean and standard deviation of D latents in C classes (Natsiou et al. 2023, table 1).

    Attributes:
      classes: names [C], sorted.
      counts: number of sounds [C].
      mean: [C, D].
      deviation: standard deviation [C, D].
      separation: share [D] of the variance between the classes (eta squared), 0 to 1; nan for a constant latent.
    """

    classes: np.ndarray
    counts: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    separation: np.ndarray

    def table(self, name: str = "classes") -> Table:
        """Returns a row for each class, with the mean and standard deviation of every latent."""
        size = self.mean.shape[1]
        columns = ("class", "notes", *(f"{kind}_{d}" for d in range(size) for kind in ("mean", "std")))
        pairs = np.stack([self.mean, self.deviation], axis=-1).reshape(len(self.classes), -1)
        rows = [(str(c), int(n), *row) for c, n, row in zip(self.classes, self.counts, pairs.tolist(), strict=True)]
        return Table(name, columns, tuple(rows), "Mean and standard deviation of the latents in every class.")


def class_statistics(latents: np.ndarray, labels: np.ndarray) -> ClassStatistics:
    """Returns the statistics of latents [M, D] by class.

    Args:
      latents: [M, D].
      labels: class [M] of each sound, of any type.

    Raises:
      ValueError: shapes that do not match.
    """
    latents = points(latents)
    classes, ids = _classes(labels, len(latents))
    counts = np.bincount(ids)
    mean = group_sums(latents, ids, len(classes)) / counts[:, None]
    deviation = np.sqrt(group_sums((latents - mean[ids]) ** 2, ids, len(classes)) / counts[:, None])
    total = latents.var(0)
    between = (counts[:, None] * (mean - latents.mean(0)) ** 2).sum(0) / len(latents)
    with np.errstate(invalid="ignore", divide="ignore"):
        separation = np.where(total > 1e-12, between / total, np.nan)
    return ClassStatistics(classes, counts, mean, deviation, separation)


@dataclasses.dataclass(frozen=True)
class RangeClasses:
    """Distribution of C classes over K ranges of each latent.

    Attributes:
      classes: names [C].
      edges: edges [D, K + 1] of the ranges, which are quantiles.
      counts: number of sounds [D, K] in each range.
      probability: P(class | latent d in range k), [D, K, C].
      prior: P(class), [C].
      lift: probability / prior, [D, K, C]; 2 means twice as frequent in this range as in the set.
    """

    classes: np.ndarray
    edges: np.ndarray
    counts: np.ndarray
    probability: np.ndarray
    prior: np.ndarray
    lift: np.ndarray

    def table(self, *, top: int = 3, least: int = 3) -> Table:
        """Returns the classes with the highest lift in every range.

        Args:
          top: largest number of classes for each range.
          least: smallest number of sounds of a class in the range.
        """
        rows = []
        for d in range(self.edges.shape[0]):
            for k in range(self.counts.shape[1]):
                sounds = self.probability[d, k] * self.counts[d, k]
                order = [c for c in np.argsort(-self.lift[d, k], kind="stable") if sounds[c] >= least - 1e-9][:top]
                text = ", ".join(
                    f"{self.classes[c]} {100 * self.probability[d, k, c]:.0f} % (x{self.lift[d, k, c]:.1f})" for c in order
                )
                rows.append((d, float(self.edges[d, k]), float(self.edges[d, k + 1]), int(self.counts[d, k]), text))
        caption = (
            "Classes by range of a latent: share of the sounds in the range, and in brackets its ratio to the share in the "
            "whole set."
        )
        return Table("ranges", ("latent", "from", "to", "sounds", "classes"), tuple(rows), caption)


def range_classes(latents: np.ndarray, labels: np.ndarray, *, bins: int = 5) -> RangeClasses:
    """Returns the distribution of the classes over quantile ranges of every latent.

    Args:
      latents: [M, D].
      labels: class [M] of each sound, of any type.
      bins: number of ranges, at most M.

    Raises:
      ValueError: shapes that do not match.
    """
    latents = points(latents)
    count, size = latents.shape
    classes, ids = _classes(labels, count)
    bins = max(1, min(bins, count))
    edges = np.quantile(latents, np.linspace(0, 1, bins + 1), axis=0).T
    # A value on an inner edge belongs to the upper range, so that no sound is counted twice.
    bin_of = np.stack([np.searchsorted(edges[d, 1:-1], latents[:, d], side="right") for d in range(size)])
    joint = np.zeros((size, bins, len(classes)))
    for d in range(size):
        np.add.at(joint[d], (bin_of[d], ids), 1.0)
    counts = joint.sum(-1)
    probability = joint / np.maximum(counts, 1)[..., None]
    prior = np.bincount(ids, minlength=len(classes)) / count
    return RangeClasses(classes, edges, counts.astype(np.int64), probability, prior, probability / prior)


def active_latents(latents: np.ndarray, *, threshold: float = 0.01) -> np.ndarray:
    """Returns whether the variance of each latent exceeds a threshold, bool [D].

    These are the "active units" of Burda et al. 2016, section 4.3. A space without active latents decodes every sound
    alike (the mean image, a collapsed VAE).

    Args:
      latents: means of the posterior [M, D].
      threshold: variance.
    """
    return points(latents).var(0) > threshold


def points(latents: np.ndarray) -> np.ndarray:
    """Checks latents and returns them as float64 [M, D].

    Raises:
      ValueError: another shape, or no sounds.
    """
    latents = np.asarray(latents, np.float64)
    if latents.ndim != 2 or len(latents) == 0:
        raise ValueError(f"latents: must be [M, D] with at least one sound (got {latents.shape})")
    return latents


def _classes(labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.asarray(labels)
    if labels.shape != (count,):
        raise ValueError(f"labels: must be [{count}], one for each sound (got {labels.shape})")
    return np.unique(labels, return_inverse=True)
