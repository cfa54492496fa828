"""How the latents of a set are distributed: as a whole, for each class of any label; what a range of one points to."""

from __future__ import annotations

import dataclasses

import numpy as np

from timbre_jax.metrics.bootstrap import group_sums
from timbre_jax.metrics.table import Table


@dataclasses.dataclass(frozen=True)
class BoxPlot:
    """What a box plot draws, for each latent (Natsiou et al. 2023, fig. 4).

    Attributes:
      median, quartile_low, quartile_high: [D], the 50th, 25th and 75th percentile.
      whisker_low, whisker_high: [D], the outermost values within 1.5 interquartile ranges of the box (Tukey 1977).
      outliers: D arrays of the values beyond.
      mean, deviation: [D].
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
        """[D]."""
        return self.quartile_high - self.quartile_low

    def table(self) -> Table:
        """One row a latent."""
        names = ("mean", "deviation", "whisker_low", "quartile_low", "median", "quartile_high", "whisker_high")
        rows = tuple(
            (d, *(float(getattr(self, name)[d]) for name in names), len(outliers)) for d, outliers in enumerate(self.outliers)
        )
        columns = ("latent", *("std" if name == "deviation" else name for name in names), "outliers")
        return Table("distribution", columns, rows, "Distribution of every latent; whiskers reach 1.5 interquartile ranges.")


def box_plot(latents: np.ndarray) -> BoxPlot:
    """Box-plot data of latents [M, D]."""
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
    """Mean and standard deviation of every latent for every class (Natsiou et al. 2023, table 1).

    Attributes:
      classes: names [C], sorted.
      counts: [C].
      mean, deviation: [C, D].
      separation: [D], eta squared: the share of a latent's variance that lies between the classes (0..1; nan where it
        does not vary).
    """

    classes: np.ndarray
    counts: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    separation: np.ndarray

    def table(self, name: str = "classes") -> Table:
        """One row a class, "mean ± std" as numbers in two columns a latent; the last row says the separation."""
        size = self.mean.shape[1]
        columns = ("class", "notes", *(f"{kind}_{d}" for d in range(size) for kind in ("mean", "std")))
        pairs = np.stack([self.mean, self.deviation], axis=-1).reshape(len(self.classes), -1)
        rows = [(str(c), int(n), *row) for c, n, row in zip(self.classes, self.counts, pairs.tolist(), strict=True)]
        return Table(name, columns, tuple(rows), "Mean and standard deviation of every latent in every class.")


def class_statistics(latents: np.ndarray, labels: np.ndarray) -> ClassStatistics:
    """Of latents [M, D] and any labels [M]."""
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
    """Which classes a range of a latent points to.

    Attributes:
      classes: names [C].
      edges: [D, K + 1]: the ranges of each latent, with equally many notes in each (quantiles).
      counts: notes [D, K] in each range.
      probability: [D, K, C]: P(class | latent d in range k).
      prior: [C]: P(class) in the set.
      lift: [D, K, C]: probability / prior: 2 means twice as frequent in this range as in the set.
    """

    classes: np.ndarray
    edges: np.ndarray
    counts: np.ndarray
    probability: np.ndarray
    prior: np.ndarray
    lift: np.ndarray

    def table(self, *, top: int = 3, least: int = 3) -> Table:
        """For every latent and range its `top` classes by lift, of those with at least `least` notes there."""
        rows = []
        for d in range(self.edges.shape[0]):
            for k in range(self.counts.shape[1]):
                notes = self.probability[d, k] * self.counts[d, k]
                order = [c for c in np.argsort(-self.lift[d, k], kind="stable") if notes[c] >= least - 1e-9][:top]
                text = ", ".join(
                    f"{self.classes[c]} {100 * self.probability[d, k, c]:.0f} % (x{self.lift[d, k, c]:.1f})" for c in order
                )
                rows.append((d, float(self.edges[d, k]), float(self.edges[d, k + 1]), int(self.counts[d, k]), text))
        caption = (
            "Classes that a range of a latent points to: share of the notes in the range, and how many times the share "
            "in the set."
        )
        return Table("ranges", ("latent", "from", "to", "notes", "points_to"), tuple(rows), caption)


def range_classes(latents: np.ndarray, labels: np.ndarray, *, bins: int = 5) -> RangeClasses:
    """P(class | quantile range of a latent) of latents [M, D], labels [M]; and its lift over the class's share in all."""
    latents = points(latents)
    count, size = latents.shape
    classes, ids = _classes(labels, count)
    bins = max(1, min(bins, count))
    edges = np.quantile(latents, np.linspace(0, 1, bins + 1), axis=0).T
    # A value on an inner edge belongs to the upper range, so that no note is counted twice.
    place = np.stack([np.searchsorted(edges[d, 1:-1], latents[:, d], side="right") for d in range(size)])
    joint = np.zeros((size, bins, len(classes)))
    for d in range(size):
        np.add.at(joint[d], (place[d], ids), 1.0)
    counts = joint.sum(-1)
    probability = joint / np.maximum(counts, 1)[..., None]
    prior = np.bincount(ids, minlength=len(classes)) / count
    return RangeClasses(classes, edges, counts.astype(np.int64), probability, prior, probability / prior)


def active_latents(latents: np.ndarray, *, threshold: float = 0.01) -> np.ndarray:
    """Which latents [D] the encoder uses: the variance of the posterior means over a set is above the threshold.

    Burda et al. 2016, section 4.3 ("active units", threshold 0.01). Where none is, the space says the same for every
    sound (the mean image, a collapsed VAE).
    """
    return points(latents).var(0) > threshold


def points(latents: np.ndarray) -> np.ndarray:
    """Latents as float64 [M, D].

    Raises:
      ValueError: another shape, or no rows.
    """
    latents = np.asarray(latents, np.float64)
    if latents.ndim != 2 or len(latents) == 0:
        raise ValueError(f"latents are [M, D] with at least one sound, not {latents.shape}")
    return latents


def _classes(labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.asarray(labels)
    if labels.shape != (count,):
        raise ValueError(f"labels are [{count}], one for each latent, not {labels.shape}")
    return np.unique(labels, return_inverse=True)
