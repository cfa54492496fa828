"""Sound by sound: how far every row of a table of sounds lies from the reference run's, on the very same sounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timbre_jax.evaluation.audio_scores import SoundRow, SoundSettings
from timbre_jax.metrics.bootstrap import mean_interval
from timbre_jax.metrics.sound_pairs import pair_measures
from timbre_jax.metrics.table import Result, Table, format_cell


def paired_table(
    rows: Sequence[SoundRow], settings: SoundSettings, reference: str, *, seed: int = 0
) -> tuple[Table, list[Result]]:
    """Mean differences to the run `reference` of the same store, with 95 % intervals (bootstrap over groups).

    Sounds differ from each other more than models do, so two means whose intervals overlap may still differ on every sound:
    the difference is taken first and resampled then. Below 0 is better where a measure is better low.
    """
    measures = pair_measures(settings.metrics, peaq=settings.peaq, undefined_bandwidth=settings.undefined_bandwidth)
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
            interval = mean_interval(difference[defined], row.groups[defined], seed=seed)
            record[measure.name] = _cell(interval)
            text = f"{measure.name} of {row.name} less that of {reference}, sound by sound; {measure.definition}"
            name = f"{row.store}/{row.name}/{measure.name}_less_{reference}"
            results.append(Result(name, float(interval.value), float(interval.low), float(interval.high), 0.0, text))
        records.append(record)
    caption = f"Less {reference}'s, sound by sound, mean and 95 % interval (bootstrap over groups)."
    return Table.from_records("paired", records, caption), results


def _cell(interval) -> str:
    return f"{_signed(interval.value)} ({_signed(interval.low)} to {_signed(interval.high)})"


def _signed(value: float) -> str:
    return f"{'+' * (value > 0)}{format_cell(float(value))}"
