"""Tables of the scores of sounds: a row for each run and baseline, and for each class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from timbre_jax.evaluation.audio_scores import HALVES, NEAREST, REAL, UNRELATED, SoundRow
from timbre_jax.evaluation.settings import EvaluationSettings
from timbre_jax.metrics.bootstrap import mean_interval
from timbre_jax.metrics.embedding import embedding_definition
from timbre_jax.metrics.sound_pairs import COUNTED_FRAMES, PairMeasure
from timbre_jax.metrics.sound_sets import SetDistances
from timbre_jax.metrics.table import Result, Table, format_cell, interval_cell, interval_columns


def sound_tables(
    rows: Sequence[SoundRow], settings: EvaluationSettings, training_split: str
) -> tuple[Table, Table, list[Result]]:
    """Returns the table of sounds, the table by class, and the results of both.

    Args:
      rows: scores of all runs and baselines.
      settings: metrics and random seed.
      training_split: name of the split of the reference set.
    """
    measures = settings.pair_measures()
    records, by_class, results = [], [], []
    for row in rows:
        cells, of_pairs = _pair_cells(row, _find(rows, row.store, UNRELATED), measures, settings.seed)
        set_cells, of_sets = _set_cells(row, _find(rows, row.store, REAL), settings)
        head = {"store": row.store, "run": row.name, "sounds": len(row.groups), "groups": len(np.unique(row.groups))}
        records.append({**head, **cells, **set_cells})
        results += of_pairs + of_sets
        by_class += _class_records(row, measures)
    caption = " ".join([sound_definition(settings, training_split), *_missing_sets(rows, settings, training_split)])
    return (
        Table.from_records("sounds", records, caption),
        Table.from_records("classes", by_class, f"Mean over each class, and value of its best sound. {caption}"),
        results,
    )


def sound_definition(settings: EvaluationSettings, training_split: str) -> str:
    """Returns the definitions of all columns and baselines, for the caption of the tables.

    Args:
      settings: metrics.
      training_split: name of the split of the reference set.
    """
    measures = settings.pair_measures()
    sentences = [f"{measure.name} ({measure.better}er is better): {measure.definition}" for measure in measures]
    if measures:
        sentences.append(f"Pair measures: {COUNTED_FRAMES}")
    reference = f"at most {settings.known} sounds of split “{training_split}” of the store"
    if "ndb" in settings.set_metrics:
        sentences.append(
            f"ndb (lower is better): number of bins, of {settings.bins}, that differ (5 % level) between the sounds and "
            f"{reference}, with its chance value (mean and 95 %), for the log-mel spectrograms of Rebnord 2022, shrunk to "
            "32 x 16; js: Jensen-Shannon divergence in nats"
        )
    if {"frechet", "kernel"} & set(settings.set_metrics):
        sentences.append(
            "frechet, kernel (lower is better): Fréchet distance (biased upward for few sounds) and unbiased kernel distance "
            f"(KAD: squared MMD, Gaussian kernel as wide as the median distance; jackknife over groups) to {reference}; "
            f"{embedding_definition(settings.embedding)}"
        )
    baselines = (
        f"{UNRELATED}: recordings of other groups, over the length of the sound. {NEAREST}: the sound of split "
        f"“{training_split}” of the store with the smallest log-spectral distance, among the 8 nearest. {REAL}: the recordings "
        f"against the training sounds. {HALVES}: one half of the training sounds against the other. <a representation>: "
        "analyzed and synthesized without a model. Brackets: 95 % intervals, bootstrap over groups"
    )
    return f"{'. '.join(sentences)}. {baselines}."


def sounds_markdown(table: Table) -> str:
    """Returns the table of sounds as Markdown, with value and interval in one cell."""
    rows = []
    for record in table.records:
        shown = {"store": record["store"], "run": record["run"], "sounds": f"{record['sounds']} of {record['groups']}"}
        for name in table.columns:
            if f"{name}_low" not in table.columns or name == "ndb_chance":
                continue
            shown[name] = interval_cell(record, name)
            if record.get(f"{name}_sounds") is not None:
                shown[name] += f", of {record[f'{name}_sounds']}"
        if record.get("ndb") is not None:
            chance = f"{record['ndb_chance']:.1f} ({record['ndb_chance_low']:.0f}–{record['ndb_chance_high']:.0f})"
            js = f"{record['js']:.3f} ({record['js_chance']:.3f})"
            shown |= {"ndb": str(record["ndb"]), "by chance": chance, "js": js}
        if "frechet" in table.columns:
            shown["frechet"] = format_cell(record["frechet"])
        rows.append(shown)
    return f"{Table.from_records('sounds', rows).markdown()}\n{table.caption}\n"


def _missing_sets(rows: Sequence[SoundRow], settings: EvaluationSettings, training_split: str) -> list[str]:
    """Returns a sentence for each store that lacks chosen metrics of sets, with the reason."""
    if not settings.set_metrics:
        return []
    reasons = []
    for store in dict.fromkeys(row.store for row in rows):
        of_store = [row for row in rows if row.store == store]
        if all(row.sets == SetDistances() for row in of_store):
            metrics = ", ".join(settings.set_metrics)
            reasons.append(f"{store}: no {metrics}: split “{training_split}” is missing or is the one that is scored.")
        elif "ndb" in settings.set_metrics and all(row.sets.ndb is None for row in of_store):
            reasons.append(f"{store}: no ndb: split “{training_split}” has fewer sounds than there are bins ({settings.bins}).")
    return reasons


def _pair_cells(
    row: SoundRow, unrelated: SoundRow | None, measures: Sequence[PairMeasure], seed: int
) -> tuple[dict, list[Result]]:
    """Returns mean and interval of each measure over the sounds for which it is defined."""
    record: dict[str, Any] = {}
    results: list[Result] = []
    for measure in measures:
        value = low = high = count = None
        if measure.name in row.pairs:
            scores, groups = _defined(row.pairs[measure.name], row.groups)
            count = len(scores)
            if count:
                value, low, high = mean_interval(scores, groups, seed=seed).value_low_high()
                baseline = None if unrelated is None else _mean(unrelated.pairs.get(measure.name))
                where = f"{count} of {len(row.groups)} sounds of {row.store}; baseline: unrelated sounds"
                name = f"{row.store}/{row.name}/{measure.name}"
                results.append(Result(name, value, low, high, baseline, f"{measure.definition}; {where}"))
        record |= interval_columns(measure.name, (value, low, high))
        if count is not None and count < len(row.groups):
            record[f"{measure.name}_sounds"] = count
    return record, results


def _set_cells(row: SoundRow, real: SoundRow | None, settings: EvaluationSettings) -> tuple[dict, list[Result]]:
    """Returns the chosen distances of the set; `real` is the row of the recordings."""
    record: dict[str, Any] = {}
    results: list[Result] = []
    prefix, sets = f"{row.store}/{row.name}", row.sets
    against = "the other half of them" if row.name == HALVES else f"the training sounds of {row.store}"
    reference = f"{len(row.groups)} {'training ' * (row.name == HALVES)}sounds against {against}"

    def add(name: str, numbers: tuple, baseline: float | None, definition: str) -> None:
        value, low, high = numbers
        results.append(Result(f"{prefix}/{name}", value, low, high, baseline, definition))

    def embedded(kind: str) -> str:
        return f"{kind} distance, {embedding_definition(settings.embedding)}, {reference}; baseline: the recordings"

    if "ndb" in settings.set_metrics:
        names = ("ndb", "ndb_chance", "ndb_chance_low", "ndb_chance_high", "ndb_p", "js", "js_chance")
        values: tuple = (None,) * 7
        if sets.ndb is not None:
            bins = sets.ndb
            divergence = (bins.jensen_shannon, bins.jensen_shannon_chance)
            values = (bins.ndb, bins.chance, bins.chance_low, bins.chance_high, bins.p_value, *divergence)
            of = f"of {bins.k} bins, {reference}; baseline: mean by chance"
            add("ndb", (bins.ndb, None, None), bins.chance, f"number of statistically different bins {of}")
            add("js", (divergence[0], None, None), divergence[1], f"Jensen-Shannon divergence in nats {of}")
        record |= dict(zip(names, values, strict=True))
    if "frechet" in settings.set_metrics:
        record["frechet"] = sets.frechet
        if sets.frechet is not None:
            add("frechet", (sets.frechet, None, None), None if real is None else real.sets.frechet, embedded("Fréchet"))
    if "kernel" in settings.set_metrics:
        interval = (None, None, None) if sets.kernel is None else sets.kernel.value_low_high()
        record |= interval_columns("kernel", interval)
        if sets.kernel is not None:
            known = None if real is None else real.sets.kernel
            add("kernel", interval, None if known is None else float(known.value), embedded("kernel"))
    return record, results


def _class_records(row: SoundRow, measures: Sequence[PairMeasure]) -> list[dict]:
    """Returns mean and best of each measure by class (Rebnord 2022, tables 7.4 and A)."""
    if not row.pairs:
        return []
    records = []
    for name in np.unique(row.classes):
        inside = row.classes == name
        record = {"store": row.store, "run": row.name, "class": name, "sounds": int(inside.sum())}
        for measure in measures:
            scores, _ = _defined(row.pairs[measure.name][inside], row.groups[inside])
            best: Callable = np.max if measure.better == "high" else np.min
            record |= {measure.name: _mean(scores), f"{measure.name}_best": float(best(scores)) if len(scores) else None}
        records.append(record)
    return records


def _find(rows: Sequence[SoundRow], store: str, name: str) -> SoundRow | None:
    """Returns the row of a store and a name, if there is one."""
    return next((row for row in rows if row.store == store and row.name == name), None)


def _defined(scores: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the finite scores and their groups."""
    finite = np.isfinite(scores)
    return scores[finite], groups[finite]


def _mean(scores: np.ndarray | None) -> float | None:
    """Returns the mean of the finite scores; None if there are none."""
    scores = None if scores is None else scores[np.isfinite(scores)]
    return None if scores is None or not len(scores) else float(scores.mean())
