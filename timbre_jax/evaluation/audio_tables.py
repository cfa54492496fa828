"""Tables of the scores of sounds, by run and baseline and by class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from timbre_jax.evaluation.audio_scores import HALVES, NEAREST, REAL, UNRELATED, SoundRow
from timbre_jax.evaluation.settings import EvaluationSettings
from timbre_jax.metrics.bootstrap import mean_interval
from timbre_jax.metrics.embedding import embedding_definition
from timbre_jax.metrics.sound_pairs import COUNTED_FRAMES, PairMeasure
from timbre_jax.metrics.sound_sets import SetDistances
from timbre_jax.metrics.table import Result, Table, format_cell, interval_cell, interval_columns

GROUPS_HEADING = "store (sounds of groups)"


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
        cells, of_pairs = _pair_cells(row, _find_row(rows, row.store, UNRELATED), measures, settings.seed)
        set_cells, of_sets = _set_cells(row, _find_row(rows, row.store, REAL), settings)
        head = {"store": row.store, "run": row.name, "sounds": len(row.groups), "groups": len(np.unique(row.groups))}
        records.append({**head, **cells, **set_cells})
        results += of_pairs + of_sets
        by_class += _class_records(row, measures)
    reasons = _missing_sets(rows, settings, training_split)
    parts = (_pair_definition(settings), _set_definition(settings, training_split), _baseline_definition(training_split))
    caption = " ".join(part for part in (*parts, *reasons) if part)
    return (
        Table.from_records("sounds", records, caption),
        Table.from_records("classes", by_class, f"Mean over each class, and value of its best sound. {parts[0]}".rstrip()),
        results,
    )


def sounds_markdown(table: Table, rows: Sequence[SoundRow], settings: EvaluationSettings, training_split: str) -> str:
    """Returns the table of sounds as Markdown: tables of pair measures and of set distances.

    Args:
      table: table of sounds of `sound_tables`.
      rows: scores of all runs and baselines.
      settings: chosen metrics.
      training_split: name of the split of the reference set.
    """
    measures = settings.pair_measures()
    of_pairs, of_sets = [], []
    for record in table.records:
        head = {GROUPS_HEADING: f"{record['store']} ({record['sounds']} of {record['groups']})", "run": record["run"]}
        cells = {measure.title: _pair_text(record, measure.name) for measure in measures}
        if any(record[measure.name] is not None for measure in measures):
            of_pairs.append(head | cells)
        cells = _set_texts(record, settings)
        if any(cell != format_cell(None) for cell in cells.values()):
            of_sets.append(head | cells)
    texts = []
    if of_pairs:
        texts += [Table.from_records("sounds", of_pairs).narrow_markdown(head=2), f"{_pair_definition(settings)}\n"]
    if of_sets:
        definition = _set_definition(settings, training_split)
        texts += [Table.from_records("sounds", of_sets).narrow_markdown(head=2), f"{definition}\n"]
    last = [_baseline_definition(training_split), *_missing_sets(rows, settings, training_split)]
    # Angle brackets would be read as an HTML tag.
    return "\n".join([*texts, " ".join(last).replace("<", "\\<") + "\n"])


def classes_markdown(table: Table, settings: EvaluationSettings) -> str:
    """Returns the table by class as Markdown, with mean and best sound in one cell.

    Args:
      table: table by class of `sound_tables`.
      settings: chosen metrics.
    """
    measures = settings.pair_measures()
    records = [
        {"store, class (sounds)": f"{record['store']}, {record['class']} ({record['sounds']})", "run": record["run"]}
        | {
            measure.title: f"{format_cell(record[measure.name])}; best {format_cell(record[f'{measure.name}_best'])}"
            for measure in measures
        }
        for record in table.records
    ]
    text = Table.from_records("classes", records).narrow_markdown(head=2)
    return f"{text}\nMean over the sounds of each class, and value of its best sound. {_better_directions(measures)}\n"


def _better_directions(measures: Sequence[PairMeasure]) -> str:
    """Returns sentences that list the measures of which lower or higher values are better."""
    titles = {way: [measure.title for measure in measures if measure.better == way] for way in ("low", "high")}
    return " ".join(f"{way.title()}er is better for {'; '.join(names)}." for way, names in titles.items() if names)


def _pair_definition(settings: EvaluationSettings) -> str:
    """Returns the definitions of the chosen pair measures, for captions; "" if there are none."""
    sentences = [
        f"{measure.title} ({measure.name}, {measure.better}er is better): {measure.definition}"
        for measure in settings.pair_measures()
    ]
    if not sentences:
        return ""
    sentences += [f"Pair measures: {COUNTED_FRAMES}", "Brackets: 95 % intervals, bootstrap over groups"]
    return f"{'. '.join(sentences)}."


def _set_definition(settings: EvaluationSettings, training_split: str) -> str:
    """Returns the definitions of the chosen set distances, for captions; "" if there are none."""
    sentences = []
    reference = f"at most {settings.known} sounds of split “{training_split}” of the store"
    if "ndb" in settings.set_metrics:
        sentences.append(
            f"NDB (ndb, lower is better): number of bins, of {settings.bins}, that differ (5 % level) between the sounds and "
            f"{reference}, with its chance value (mean and 95 %), for the log-mel spectrograms of Rebnord 2022, shrunk to "
            "32 x 16. JS (js, lower is better): Jensen-Shannon divergence of the same bins in nats"
        )
    if {"frechet", "kernel"} & set(settings.set_metrics):
        sentences.append(
            "Fréchet, kernel (lower is better): Fréchet distance (biased upward for few sounds) and unbiased kernel distance "
            f"(KAD: squared MMD, Gaussian kernel as wide as the median distance; jackknife over groups) to {reference}; "
            f"{embedding_definition(settings.embedding)}"
        )
    return f"{'. '.join(sentences)}." if sentences else ""


def _baseline_definition(training_split: str) -> str:
    """Returns the definitions of the baselines and upper bounds, for captions."""
    return (
        f"{UNRELATED}: recordings of other groups, over the length of the sound. {NEAREST}: the sound of split "
        f"“{training_split}” of the store with the smallest log-spectral distance, among the 8 nearest. {REAL}: the recordings "
        f"against the training sounds. {HALVES}: one half of the training sounds against the other. <a representation>: "
        "analyzed and synthesized without a model."
    )


def _pair_text(record: Mapping[str, Any], name: str) -> str:
    """Formats a pair measure with its interval, and the number of sounds if some lack it."""
    text = interval_cell(record, name)
    count = record.get(f"{name}_sounds")
    return text if count is None else f"{text}, of {count}"


def _set_texts(record: Mapping[str, Any], settings: EvaluationSettings) -> dict[str, str]:
    """Formats the chosen set distances of a row by their headings."""
    cells = {}
    if "ndb" in settings.set_metrics:
        headings = (f"NDB of {settings.bins}", "NDB by chance", "JS, nats")
        cells = dict.fromkeys(headings, format_cell(None))
        if record["ndb"] is not None:
            chance = f"{record['ndb_chance']:.1f} ({record['ndb_chance_low']:.0f}–{record['ndb_chance_high']:.0f})"
            js = f"{record['js']:.3f}; by chance {record['js_chance']:.3f}"
            cells = dict(zip(headings, (str(record["ndb"]), chance, js), strict=True))
    if "frechet" in settings.set_metrics:
        cells["Fréchet"] = format_cell(record["frechet"])
    if "kernel" in settings.set_metrics:
        cells["kernel"] = interval_cell(record, "kernel")
    return cells


def _missing_sets(rows: Sequence[SoundRow], settings: EvaluationSettings, training_split: str) -> list[str]:
    """Returns a sentence for each store without the chosen set metrics, with the reason."""
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
    """Returns cells and results of the means of pair measures over the sounds that have them."""
    record: dict[str, Any] = {}
    results: list[Result] = []
    for measure in measures:
        value = low = high = count = None
        if measure.name in row.pairs:
            scores, groups = _finite_scores(row.pairs[measure.name], row.groups)
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
    """Returns cells and results of the set distances; `real` is the row of the recordings."""
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
    """Returns the mean and the best of each measure by class (Rebnord 2022, tables 7.4, A)."""
    if not row.pairs:
        return []
    records = []
    for name in np.unique(row.classes):
        inside = row.classes == name
        record = {"store": row.store, "run": row.name, "class": name, "sounds": int(inside.sum())}
        for measure in measures:
            scores, _ = _finite_scores(row.pairs[measure.name][inside], row.groups[inside])
            best: Callable = np.max if measure.better == "high" else np.min
            record |= {measure.name: _mean(scores), f"{measure.name}_best": float(best(scores)) if len(scores) else None}
        records.append(record)
    return records


def _find_row(rows: Sequence[SoundRow], store: str, name: str) -> SoundRow | None:
    """Finds the row of a run or baseline on a store; returns None if it is missing."""
    return next((row for row in rows if row.store == store and row.name == name), None)


def _finite_scores(scores: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the finite scores and their groups."""
    finite = np.isfinite(scores)
    return scores[finite], groups[finite]


def _mean(scores: np.ndarray | None) -> float | None:
    """Returns the mean of the finite scores; None if there are none."""
    scores = None if scores is None else scores[np.isfinite(scores)]
    return None if scores is None or not len(scores) else float(scores.mean())
