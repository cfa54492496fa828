"""Which latents go with pitch, velocity, brightness or any other number that is known of the sounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from timbre_jax.analysis.statistics import points
from timbre_jax.metrics.bootstrap import correlation_interval
from timbre_jax.metrics.table import Table


@dataclasses.dataclass(frozen=True)
class Correlation:
    """Correlation of D latents with L numbers.

    Attributes:
      method: "spearman" or "pearson".
      names: of the L numbers.
      value: [D, L] in -1..1; nan where a latent or a number does not vary.
      low, high: [D, L], 95 % interval over groups (instruments).
      floor: [D, L], the 95th percentile of |correlation| when the number is shuffled among the sounds: what chance
        brings.
    """

    method: str
    names: tuple[str, ...]
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    floor: np.ndarray

    def beyond_chance(self) -> np.ndarray:
        """[D, L] bool: above the floor, and with an interval that does not hold 0.

        The floor shuffles single sounds. A number that is much the same in all sounds of an instrument (brightness)
        gets over it too easily with few instruments; the interval over instruments does not.
        """
        with np.errstate(invalid="ignore"):
            # With one instrument there is no interval, and nothing is known to be more than chance.
            spans_zero = ~((self.low > 0.0) | (self.high < 0.0))
            return (np.abs(self.value) > self.floor) & ~spans_zero

    def cell(self, latent: int, number: int) -> tuple[float, float, float, float]:
        """Returns value, low, high and floor of one latent and one number."""
        value, low, high, floor = (float(x[latent, number]) for x in (self.value, self.low, self.high, self.floor))
        return value, low, high, floor

    def table(self) -> Table:
        """One row a latent and number."""
        rows = tuple((d, name, *self.cell(d, n)) for n, name in enumerate(self.names) for d in range(len(self.value)))
        columns = ("latent", "with", self.method, "low", "high", "floor")
        return Table(
            f"correlation_{self.method}", columns, rows, "Floor: 95th percentile of |correlation| with shuffled numbers."
        )


def correlation(
    latents: np.ndarray,
    labels: Mapping[str, np.ndarray],
    groups: np.ndarray | None = None,
    *,
    method: str = "spearman",
    permutations: int = 200,
    draws: int = 1000,
    seed: int = 0,
) -> Correlation:
    """Of latents [M, D] with every numeric label [M], intervals over groups, floors from shuffled labels.

    Raises:
      ValueError: no labels, or one that is not a number for every sound.
    """
    latents = points(latents)
    if not labels:
        raise ValueError("there are no numeric labels to correlate the latents with")
    if method not in ("spearman", "pearson"):
        raise ValueError(f"method is spearman or pearson, not {method!r}")
    for name, label in labels.items():
        label = np.asarray(label)
        if label.shape != (len(latents),) or not np.issubdtype(label.dtype, np.number) or not np.isfinite(label).all():
            raise ValueError(f"label {name!r} is not a finite number for each of the {len(latents)} sounds")
    x, y = latents, np.stack([np.asarray(label, np.float64) for label in labels.values()], axis=1)
    if method == "spearman":
        x, y = ranks(x), ranks(y)
    interval = correlation_interval(x, y, groups, draws=draws, seed=seed)
    generator = np.random.default_rng(seed)
    a, b = _unit(x), _unit(y)
    chance = np.abs([a.T @ b[generator.permutation(len(x))] for _ in range(permutations)])
    floor = np.where(np.isnan(interval.value), np.nan, np.percentile(chance, 95, axis=0))
    value, low, high = (np.asarray(x) for x in (interval.value, interval.low, interval.high))
    return Correlation(method, tuple(labels), value, low, high, floor)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks 1..M of every column of [M, K]; equal values share their mean rank."""
    from scipy.stats import rankdata

    return rankdata(values, axis=0)


def _unit(x: np.ndarray) -> np.ndarray:
    x = x - x.mean(0)
    norm = np.linalg.norm(x, axis=0)
    return x / np.where(norm > 0, norm, 1.0)
