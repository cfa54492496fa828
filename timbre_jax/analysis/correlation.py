"""Correlation of latents with numeric labels, such as pitch, velocity and brightness."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from timbre_jax.analysis.statistics import points
from timbre_jax.metrics.bootstrap import correlation_interval
from timbre_jax.metrics.table import Table


@dataclasses.dataclass(frozen=True)
class Correlation:
    """Correlation of D latents with L numeric labels.

    Attributes:
      method: "spearman" or "pearson".
      names: names of the labels.
      value: [D, L] in [-1, 1]; nan if a latent or a label does not vary.
      low: [D, L], lower end of the 95 % interval over groups (instruments).
      high: [D, L], upper end of the interval.
      chance: [D, L], chance level: the 95th percentile of |correlation| with labels shuffled among the sounds.
    """

    method: str
    names: tuple[str, ...]
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    chance: np.ndarray

    def beyond_chance(self) -> np.ndarray:
        """Returns which correlations [D, L] exceed chance and have an interval without 0.

        The chance level shuffles single sounds. With few instruments, a label that is nearly constant within an instrument
        (brightness) exceeds it too easily; the interval over instruments is the stricter test.
        """
        with np.errstate(invalid="ignore"):
            # A single instrument gives no interval, so that no correlation is significant.
            spans_zero = ~((self.low > 0.0) | (self.high < 0.0))
            return (np.abs(self.value) > self.chance) & ~spans_zero

    def cell(self, latent: int, number: int) -> tuple[float, float, float, float]:
        """Returns value, interval and chance level for one latent and one label."""
        value, low, high, chance = (float(x[latent, number]) for x in (self.value, self.low, self.high, self.chance))
        return value, low, high, chance

    def table(self) -> Table:
        """Returns a table with a row for each pair of a latent and a label."""
        rows = tuple((d, name, *self.cell(d, n)) for n, name in enumerate(self.names) for d in range(len(self.value)))
        columns = ("latent", "with", self.method, "low", "high", "chance")
        caption = (
            f"{self.method.capitalize()} correlation; values near -1 or 1 are strong. Chance level: the 95th percentile of "
            "|correlation| with shuffled numbers."
        )
        return Table(f"correlation_{self.method}", columns, rows, caption)


def correlation(
    latents: np.ndarray,
    labels: Mapping[str, np.ndarray],
    groups: np.ndarray | None = None,
    *,
    method: str = "spearman",
    permutations: int = 200,
    resamples: int = 1000,
    seed: int = 0,
) -> Correlation:
    """Correlates latents with numeric labels of the sounds.

    Args:
      latents: [M, D].
      labels: numeric labels [M] by name.
      groups: [M], resampled for the intervals (instruments); None: every sound is its own group.
      method: "spearman" or "pearson".
      permutations: shuffles for the chance level.
      resamples: bootstrap resamples for the intervals.
      seed: random seed of shuffles and resamples.

    Raises:
      ValueError: another method, no labels, or a label that is not a finite number for every sound.
    """
    latents = points(latents)
    if not labels:
        raise ValueError("labels: empty, give at least one numeric label")
    if method not in ("spearman", "pearson"):
        raise ValueError(f"method: must be spearman or pearson (got {method!r})")
    for name, label in labels.items():
        label = np.asarray(label)
        if label.shape != (len(latents),) or not np.issubdtype(label.dtype, np.number) or not np.isfinite(label).all():
            raise ValueError(f"label {name!r}: must be a finite number for each of the {len(latents)} sounds")
    x, y = latents, np.stack([np.asarray(label, np.float64) for label in labels.values()], axis=1)
    if method == "spearman":
        x, y = ranks(x), ranks(y)
    interval = correlation_interval(x, y, groups, resamples=resamples, seed=seed)
    generator = np.random.default_rng(seed)
    a, b = _unit_columns(x), _unit_columns(y)
    shuffled = np.abs([a.T @ b[generator.permutation(len(x))] for _ in range(permutations)])
    chance = np.where(np.isnan(interval.value), np.nan, np.percentile(shuffled, 95, axis=0))
    value, low, high = (np.asarray(x) for x in (interval.value, interval.low, interval.high))
    return Correlation(method, tuple(labels), value, low, high, chance)


def ranks(values: np.ndarray) -> np.ndarray:
    """Returns ranks 1 to M within the columns of [M, K]; equal values share the mean rank."""
    from scipy.stats import rankdata

    return rankdata(values, axis=0)


def _unit_columns(x: np.ndarray) -> np.ndarray:
    x = x - x.mean(0)
    norm = np.linalg.norm(x, axis=0)
    return x / np.where(norm > 0, norm, 1.0)
