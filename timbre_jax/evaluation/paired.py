"""Paired differences of the scores of sounds: every row against the reference run, on the very same sounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timbre_jax.evaluation.audio_scores import SoundRow
from timbre_jax.evaluation.settings import EvaluationSettings
from timbre_jax.metrics.bootstrap import Interval, mean_interval
from timbre_jax.metrics.table import Result, Table, format_cell


def paired_table(rows: Sequence[SoundRow], settings: EvaluationSettings, reference: str) -> tuple[Table, list[Result]]:
    """Returns mean differences to the run `reference` on the same store, with 95 % intervals (bootstrap over groups).

    Sounds differ from each other more than models do, so two means whose intervals overlap may still differ on every sound.
    Therefore the differences are taken first and then resampled. Below 0 is better where a measure is better low.
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
            text = f"{measure.name} of {row.name} less that of {reference}, sound by sound; {measure.definition}"
            name = f"{row.store}/{row.name}/{measure.name}_less_{reference}"
            results.append(Result(name, *interval.value_low_high(), 0.0, text))
        records.append(record)
    caption = f"Less {reference}'s, sound by sound, mean and 95 % interval (bootstrap over groups)."
    return Table.from_records("paired", records, caption), results


def _cell(interval: Interval) -> str:
    value, low, high = map(_signed, interval.value_low_high())
    return f"{value} ({low} to {high})"


def _signed(value: float) -> str:
    return f"{'+' * (value > 0)}{format_cell(value)}"
