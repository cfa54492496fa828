"""Rank correlation between the importances that different methods assign to the latents."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from timbre_jax.analysis.correlation import ranks
from timbre_jax.metrics.table import Table


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Agreement of K methods on the importance of D latents.

    Attributes:
      names: names of the methods.
      rank: [K, D], 1 is the most important latent.
      matrix: [K, K], Spearman's rank correlation between methods; nan if a method gives all latents the same importance.
      consensus: [D], mean rank over methods.
    """

    names: tuple[str, ...]
    rank: np.ndarray
    matrix: np.ndarray
    consensus: np.ndarray

    def order(self) -> np.ndarray:
        """Returns the latents by mean rank, the most important first."""
        return np.argsort(self.consensus, kind="stable")

    def mean(self) -> float:
        """Returns the mean rank correlation over pairs of methods; nan without a pair."""
        upper = self.matrix[np.triu_indices(len(self.names), 1)]
        return float(np.nanmean(upper)) if np.isfinite(upper).any() else float("nan")

    def table(self) -> Table:
        """Returns the correlation matrix, one row for each method."""
        rows = tuple((name, *row) for name, row in zip(self.names, self.matrix.tolist(), strict=True))
        caption = "Spearman's rank correlation between the importances of two methods; 1 means the same order of latents."
        return Table("agreement", ("method", *self.names), rows, caption)

    def rank_table(self) -> Table:
        """Returns the rank of every latent by every method, and the mean rank."""
        columns = ("latent", *self.names, "mean_rank")
        rows = tuple((d, *self.rank[:, d].tolist(), float(self.consensus[d])) for d in range(self.rank.shape[1]))
        return Table("importance_ranks", columns, rows, "Rank of every latent; 1 is the most important.")


def agreement(importances: Mapping[str, np.ndarray]) -> Agreement:
    """Compares methods by the order in which they rank the latents.

    Args:
      importances: [D] by name of the method; larger is more important.

    Raises:
      ValueError: no methods, or methods with different numbers of latents.
    """
    if not importances:
        raise ValueError("importances: empty, give at least one method")
    shapes = {np.shape(x) for x in importances.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"importances: must be [D] with the same D for all methods (got {sorted(shapes)})")
    values = np.stack([np.asarray(x, np.float64) for x in importances.values()])
    rank = ranks(-values.T).T
    centered = rank - rank.mean(1, keepdims=True)
    norm = np.linalg.norm(centered, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = centered @ centered.T / np.outer(norm, norm)
    return Agreement(tuple(importances), rank, matrix, rank.mean(0))
