"""Tables and results of reconstruction scores and of the use of codes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from timbre_jax.evaluation.published import NATSIOU_2023
from timbre_jax.evaluation.runs import Run
from timbre_jax.metrics.bootstrap import Interval, mean_interval, ratio_interval
from timbre_jax.metrics.codebook_usage import CodeUses
from timbre_jax.metrics.knn import NeighborAccuracy
from timbre_jax.metrics.reconstruction import Scores, score_definition
from timbre_jax.metrics.sound_pairs import COUNTED_FRAMES
from timbre_jax.metrics.table import Result, Table, format_cell, interval_cell, interval_columns

COLUMNS = (
    "store", "run", "model", "latents", "notes", "instruments", "mse", "mse_low", "mse_high", "ssim", "ssim_low",
    "ssim_high", "mse_vs_reference_percent", "mse_vs_reference_percent_low", "mse_vs_reference_percent_high", "family_knn",
    "family_knn_low", "family_knn_high", "family_knn_baseline", "sound_db", "sound_db_low", "sound_db_high",
    "representation_db",
)  # fmt: skip
REFERENCE_HEADING = "MSE against reference, %"
MEAN_IMAGE = "baseline: mean image, if it is among the runs"


@dataclasses.dataclass(frozen=True)
class RunScores:
    """Scores of a run on the notes of a store.

    Attributes:
      store: name of the store.
      name: name of the run.
      run: the run.
      split: name of the split.
      trained_on: whether the run was trained on these notes.
      groups: [M] instruments of the notes.
      scores: MSE and SSIM of the notes.
      accuracy: kNN accuracy of the family; None if the training notes are missing or are the scored notes.
      distances: log-spectral distances of some notes in dB, by name (`resynthesis.sound_distances`); empty if not measured.
      distance_groups: instruments of these notes.
      codes: use of the codes of a discrete space; None for other spaces.
    """

    store: str
    name: str
    run: Run
    split: str
    trained_on: bool
    groups: np.ndarray
    scores: Scores
    accuracy: NeighborAccuracy | None
    distances: dict[str, np.ndarray]
    distance_groups: np.ndarray
    codes: CodeUses | None

    @property
    def definition(self) -> str:
        """Definition of the scores; scores of different definitions are not comparable."""
        return score_definition(self.run.space.representation)


def scores_table(entries: Sequence[RunScores], reference: str | None, seed: int) -> tuple[Table, list[Result]]:
    """Returns the table of reconstruction scores and its results.

    Args:
      entries: scores of all runs and stores.
      reference: name of the run whose MSE the others are compared with; None: no comparison.
      seed: random seed of the intervals.
    """
    records, results = [], []
    for entry in entries:
        same = [other for other in entries if (other.store, other.definition) == (entry.store, entry.definition)]
        mean_image = next((other for other in same if other.run.model == "mean_image"), None)
        base = next((other for other in same if other.name == reference and other is not entry), None)
        record, of_row = _score_record(entry, mean_image, base, seed)
        records.append(record)
        results += of_row
    caption = (
        f"{_definition(entries)}. Lower is better for MSE and LSD, higher for SSIM and kNN accuracy. "
        f"Split “{entries[0].split}”; brackets are 95 % intervals, bootstrap over instruments. "
        f"Reference run: {reference or 'none'}. kNN accuracy (family_knn): from the 5 nearest training latents; its baseline "
        "always predicts the most frequent family of the training notes. LSD (sound_db): log-spectral distance to the "
        f"recording (1024-point Hann frames, hop 256, 80 dB floor; {COUNTED_FRAMES}); without the model: representation_db."
    )
    return Table.from_records("scores", records, caption), results


def _score_record(
    entry: RunScores, mean_image: RunScores | None, base: RunScores | None, seed: int
) -> tuple[dict[str, Any], list[Result]]:
    """Returns the table row and the results of one run.

    `mean_image` and `base` are scores of the mean image and of the reference run on the same notes.
    """
    groups, results = entry.groups, []
    record: dict[str, Any] = dict.fromkeys(COLUMNS) | {
        "store": entry.store, "run": entry.name, "model": entry.run.model, "latents": entry.run.space.latent_size,
        "notes": len(groups), "instruments": len(np.unique(groups)),
    }  # fmt: skip
    notes = f"{len(groups)} notes of {record['instruments']} instruments, split “{entry.split}” of {entry.store}"
    notes += ", which the run was trained on" if entry.trained_on else ""

    def add(name: str, interval: Interval, baseline: float | None, definition: str) -> dict[str, float | None]:
        numbers = interval.value_low_high()
        results.append(Result(f"{entry.store}/{entry.name}/{name}", *numbers, baseline, f"{definition}; {notes}"))
        return interval_columns(name, numbers)

    for name in ("mse", "ssim"):
        values = getattr(entry.scores, name)
        baseline = None if mean_image is None else float(getattr(mean_image.scores, name).mean())
        record |= add(
            name, mean_interval(values, groups, seed=seed), baseline, f"{name.upper()}, {entry.definition}; {MEAN_IMAGE}"
        )
    if base is not None:
        ratio = ratio_interval(entry.scores.mse, base.scores.mse, groups, seed=seed)
        add("mse_ratio", ratio, None, f"MSE over that of {base.name}, resampled together")
        percent = (100.0 * (share - 1.0) for share in ratio.value_low_high())
        record |= interval_columns("mse_vs_reference_percent", percent)
    if (accuracy := entry.accuracy) is not None:
        interval = mean_interval(accuracy.correct, groups, seed=seed)
        text = "kNN accuracy of the family, 5 training latents; baseline: the most frequent family of the training notes"
        record |= add("family_knn", interval, accuracy.baseline, text) | {"family_knn_baseline": accuracy.baseline}
    if entry.distances:
        where = f"log-spectral distance in dB to the recording, {len(entry.distance_groups)} notes"
        baseline = None if mean_image is None else float(mean_image.distances["reconstruction"].mean())
        with_model, without = (
            mean_interval(entry.distances[name], entry.distance_groups, seed=seed)
            for name in ("reconstruction", "representation")
        )
        record |= add("sound_db", with_model, baseline, f"{where}; {MEAN_IMAGE}")
        bound = add("representation_db", without, None, f"{where}, analyzed and synthesized without the model")
        record["representation_db"] = bound["representation_db"]
    return record, results


def _definition(entries: Sequence[RunScores]) -> str:
    """Returns the definition of the scores; if there are several, each with its runs."""
    runs: dict[str, list[str]] = {}
    for entry in entries:
        runs.setdefault(entry.definition, []).append(entry.name)
    if len(runs) == 1:
        return next(iter(runs))
    return "MSE and SSIM of different definitions are not comparable: " + "; ".join(
        f"{', '.join(dict.fromkeys(names))}: {definition}" for definition, names in runs.items()
    )


def scores_markdown(table: Table) -> str:
    """Returns the table of scores as Markdown, with value and interval in one cell."""
    rows = []
    for record in table.records:
        row = {
            "store (notes of instruments)": f"{record['store']} ({record['notes']} of {record['instruments']})",
            "run": f"{record['run']} ({record['latents']} latents)",
            "MSE": interval_cell(record, "mse"),
            "SSIM": interval_cell(record, "ssim"),
            REFERENCE_HEADING: interval_cell(record, "mse_vs_reference_percent"),
        }
        if record["family_knn"] is not None:
            baseline = format_cell(100.0 * record["family_knn_baseline"])
            row["family kNN accuracy, %"] = f"{interval_cell(record, 'family_knn', scale=100.0)}; baseline {baseline}"
        if record["sound_db"] is not None:
            row["LSD of the sound, dB"] = (
                f"{interval_cell(record, 'sound_db')}; without the model {format_cell(record['representation_db'])}"
            )
        rows.append(row)
    if all(record["mse_vs_reference_percent"] is None for record in table.records):
        rows = [{name: cell for name, cell in row.items() if name != REFERENCE_HEADING} for row in rows]
    text = f"{table.caption}\n\n{NATSIOU_2023}" if "log f0" in table.caption else table.caption
    return f"{Table.from_records('scores', rows).markdown()}\n{text}\n"


def codes_table(entries: Sequence[RunScores]) -> tuple[Table, list[Result]] | None:
    """Returns the table of codes and its results; None if no run is discrete.

    It has a row for each discrete run, store and codebook.
    """
    records, results, caption = [], [], ""
    for entry in entries:
        if entry.codes is None:
            continue
        table = entry.codes.table()
        caption = table.caption
        for record in table.records:
            records.append({"store": entry.store, "run": entry.name, **record})
            name = f"{entry.store}/{entry.name}/codebook_{record['codebook']}"
            where = f"{record['codes']} codes, {record['latents']} latents of split “{entry.split}”"
            text = f"exp of the entropy of the shares of codes, {where}; baseline: one code"
            three = (record["perplexity"], record["low"], record["high"])
            results.append(Result(f"{name}/perplexity", *three, 1.0, text))
            results.append(Result(f"{name}/used", record["used"], None, None, 1.0, f"number of codes that occur, {where}"))
    return (Table.from_records("codes", records, caption), results) if records else None


def codes_markdown(table: Table) -> str:
    """Returns the table of codes as Markdown, with value and interval in one cell."""
    rows = []
    for record in table.records:
        interval = {"perplexity": record["perplexity"], "perplexity_low": record["low"], "perplexity_high": record["high"]}
        rows.append(
            {name: record[name] for name in ("store", "run", "codebook")}
            | {"codes used": f"{record['used']:,} of {record['codes']:,}", "perplexity": interval_cell(interval, "perplexity")}
            | {"latents": record["latents"]}
        )
    return f"{Table.from_records('codes', rows).markdown()}\n{table.caption}\n"
