"""Paired differences of pair metrics: each row against the reference run, sound by sound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timbre_jax.evaluation.audio_scores import SoundRow
from timbre_jax.evaluation.settings import EvaluationSettings
from timbre_jax.metrics.bootstrap import Interval, mean_interval
from timbre_jax.metrics.table import Result, Table, format_cell


def paired_table(rows: Sequence[SoundRow], settings: EvaluationSettings, reference: str) -> tuple[Table, list[Result]]:
    """Returns mean differences to the reference run, with 95 % intervals over groups.

    Sounds differ more from each other than models do: two means with overlapping intervals may differ for every single sound.
    Therefore the differences are resampled, not the means. Below 0 is better for measures that are better low.

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
            record[measure.name] = _cell(interval)
            text = f"{measure.name} of {row.name} minus that of {reference}, sound by sound; {measure.definition}"
            name = f"{row.store}/{row.name}/{measure.name}_less_{reference}"
            results.append(Result(name, *interval.value_low_high(), 0.0, text))
        records.append(record)
    caption = f"Difference to {reference}, sound by sound: mean and 95 % interval (bootstrap over groups)."
    return Table.from_records("paired", records, caption), results


def _cell(interval: Interval) -> str:
    """Formats a difference with its interval."""
    value, low, high = map(_signed, interval.value_low_high())
    return f"{value} ({low} to {high})"


def _signed(value: float) -> str:
    """Formats a number with its sign."""
    return f"{'+' * (value > 0)}{format_cell(value)}"
