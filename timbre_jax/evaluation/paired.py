"""Paired differences of pair measures: each run against the reference run, sound by sound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timbre_jax.evaluation.audio_scores import SoundRow
from timbre_jax.evaluation.settings import EvaluationSettings
from timbre_jax.metrics.bootstrap import Interval, mean_interval
from timbre_jax.metrics.table import Result, Table, format_cell


def paired_table(rows: Sequence[SoundRow], settings: EvaluationSettings, reference: str) -> tuple[Table, list[Result]]:
    """Returns the mean differences to the reference run with 95 % intervals over groups.

    Scores vary more between sounds than between models, so the intervals of two means may overlap although one run is better
    on every sound. Therefore the differences are resampled, not the means. Below 0 is better if lower values are.

    Args:
      rows: scores of all runs and baselines.
      settings: metrics and random seed.
      reference: name of the run that is subtracted, on the same store.
    """
    measures = settings.pair_measures()
    base = {row.store: row for row in rows if row.name == reference and row.pairs}
    records, results = [], []
    for row in rows:
        other = base.get(row.store)
        if other is None or other is row or not row.pairs:
            continue
        record = {"store": row.store, "run": row.name}
        for measure in measures:
            difference = row.pairs[measure.name] - other.pairs[measure.name]
            defined = np.isfinite(difference)
            if not defined.any():
                continue
            interval = mean_interval(difference[defined], row.groups[defined], seed=settings.seed)
            record[measure.name] = _interval_text(interval)
            text = f"{measure.name} of {row.name} minus that of {reference}, sound by sound; {measure.definition}"
            name = f"{row.store}/{row.name}/{measure.name}_less_{reference}"
            results.append(Result(name, *interval.value_low_high(), 0.0, text))
        records.append(record)
    lower, higher = ([measure.name for measure in measures if measure.better == way] for way in ("low", "high"))
    better = [f"{sign} is better for {', '.join(names)}" for sign, names in (("below 0", lower), ("above 0", higher)) if names]
    caption = f"Difference to {reference}, sound by sound: mean and 95 % interval (bootstrap over groups); {'; '.join(better)}."
    return Table.from_records("paired", records, caption), results


def _interval_text(interval: Interval) -> str:
    """Formats a difference with its interval, such as +0.12 (+0.05 to +0.19)."""
    value, low, high = map(_signed_text, interval.value_low_high())
    return f"{value} ({low} to {high})"


def _signed_text(value: float) -> str:
    """Formats a number with its sign."""
    return f"{'+' * (value > 0)}{format_cell(value)}"
