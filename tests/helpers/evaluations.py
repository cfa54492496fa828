"""Evaluation of runs for tests."""

from __future__ import annotations

from timbre_jax.evaluation.comparison import evaluate as evaluate_runs
from timbre_jax.evaluation.settings import EvaluationSettings
from timbre_jax.metrics.table import Table


def evaluate(runs, out, *, progress: bool = False, **settings) -> Table:
    """Scores runs, writes the tables to a folder and returns the table of scores."""
    evaluation = evaluate_runs(EvaluationSettings(tuple(runs), **settings), progress=progress)
    evaluation.write(out)
    return evaluation.scores
