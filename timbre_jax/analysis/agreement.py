"""Do the methods agree on which latents matter? Rank correlation between their importances."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from timbre_jax.analysis.correlation import ranks
from timbre_jax.metrics.table import Table


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Attributes:
    names: of K methods.
    rank: [K, D], 1 is the most important latent.
    matrix: [K, K], Spearman's rank correlation between methods; nan where a method does not tell latents apart.
    consensus: [D], mean rank over methods.
    """

    names: tuple[str, ...]
    rank: np.ndarray
    matrix: np.ndarray
    consensus: np.ndarray

    def order(self) -> np.ndarray:
        """The latents, most important first, by mean rank."""
        return np.argsort(self.consensus, kind="stable")

    def mean(self) -> float:
        """Mean rank correlation over pairs of methods; nan where there is no pair."""
        upper = self.matrix[np.triu_indices(len(self.names), 1)]
        return float(np.nanmean(upper)) if np.isfinite(upper).any() else float("nan")

    def table(self) -> Table:
        """The matrix, one row a method."""
        rows = tuple((name, *row) for name, row in zip(self.names, self.matrix.tolist(), strict=True))
        return Table(
            "agreement", ("method", *self.names), rows, "Spearman's rank correlation between the importances of two methods."
        )

    def rank_table(self) -> Table:
        """The rank of every latent by every method, and the mean rank."""
        columns = ("latent", *self.names, "mean_rank")
        rows = tuple((d, *self.rank[:, d].tolist(), float(self.consensus[d])) for d in range(self.rank.shape[1]))
        return Table("importance_ranks", columns, rows, "Rank of every latent, 1 is the most important.")


def agreement(importances: Mapping[str, np.ndarray]) -> Agreement:
    """Of importances [D] by method name, larger is more important.

    Raises:
      ValueError: no methods, or methods of different numbers of latents.
    """
    if not importances:
        raise ValueError("there are no importances to compare")
    shapes = {np.shape(x) for x in importances.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"importances are [D] with one D for all methods, not {sorted(shapes)}")
    values = np.stack([np.asarray(x, np.float64) for x in importances.values()])
    rank = ranks(-values.T).T
    centered = rank - rank.mean(1, keepdims=True)
    norm = np.linalg.norm(centered, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = centered @ centered.T / np.outer(norm, norm)
    return Agreement(tuple(importances), rank, matrix, rank.mean(0))
