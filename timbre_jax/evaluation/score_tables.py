"""Tables of reconstruction scores, one row for each run and store, and of the use of codes; with the results of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from timbre_jax.evaluation.published import NATSIOU_2023
from timbre_jax.evaluation.runs import Run
from timbre_jax.metrics.bootstrap import Interval, mean_interval, ratio_interval
from timbre_jax.metrics.codebook_usage import CodeUses
from timbre_jax.metrics.knn import NeighborAccuracy
from timbre_jax.metrics.reconstruction import Scores, score_definition
from timbre_jax.metrics.sound_pairs import COUNTED
from timbre_jax.metrics.table import Result, Table, format_cell

COLUMNS = (
    "store", "run", "model", "latents", "notes", "instruments", "mse", "mse_low", "mse_high", "ssim", "ssim_low",
    "ssim_high", "mse_vs_reference_percent", "vs_low", "vs_high", "family_knn", "knn_low", "knn_high", "knn_floor",
    "sound_db", "sound_low", "sound_high", "representation_db",
)  # fmt: skip
MEAN_IMAGE = "floor: mean image, where it is among the runs"


@dataclasses.dataclass(frozen=True)
class RunScores:
    """Scores of a run on the notes of a store.

    Attributes:
      store: name of the store.
      name: of the run.
      run: the run.
      split: of the store.
      trained_on: whether the run was trained on these notes.
      groups: [M] instruments of the notes.
      scores: MSE and SSIM of the notes.
      accuracy: kNN accuracy of the family; None where the training notes are missing, or are these notes.
      distances: log-spectral distances in dB of some notes by name (`resynthesis.sound_distances`); empty without sounds.
      distance_groups: instruments of these notes.
      codes: use of the codes of a discrete space; None for others.
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
    """Returns the table of scores and its results; MSE is also held against the run `reference`, if there is one."""
    rows, results = [], []
    for entry in entries:
        same = [other for other in entries if (other.store, other.definition) == (entry.store, entry.definition)]
        mean_image = next((other for other in same if other.run.model == "mean_image"), None)
        base = next((other for other in same if other.name == reference), None)
        row, of_row = _score_row(entry, mean_image, base if base is not entry else None, seed)
        rows.append(row)
        results += of_row
    caption = (
        f"{_definition(entries)}. Split “{entries[0].split}”; brackets are 95 % intervals, bootstrap over instruments. "
        f"Reference: {reference or 'none'}. family_knn: share of notes whose family the 5 nearest training latents "
        "name; its floor always says the most frequent family of the training notes. sound_db: log-spectral distance to "
        f"the recording (1024-point Hann frames, hop 256, 80 dB floor; {COUNTED}); representation_db: the same without the "
        "model."
    )
    return Table("scores", COLUMNS, tuple(rows), caption), results


def _score_row(entry: RunScores, mean_image: RunScores | None, base: RunScores | None, seed: int) -> tuple[tuple, list[Result]]:
    """Returns the cells of `COLUMNS` and the results of one run; `mean_image` and `base` are scores of the same notes."""
    results: list[Result] = []
    notes = f"{len(entry.groups)} notes of {len(np.unique(entry.groups))} instruments, split “{entry.split}” of {entry.store}"
    notes += ", which the run was trained on" if entry.trained_on else ""

    def add(name: str, interval: Interval, floor: float | None, definition: str) -> tuple[float, float, float]:
        numbers = interval.value_low_high()
        results.append(Result(f"{entry.store}/{entry.name}/{name}", *numbers, floor, f"{definition}; {notes}"))
        return numbers

    floors = (None, None) if mean_image is None else mean_image.scores.means()
    mse, ssim = (mean_interval(values, entry.groups, seed=seed) for values in (entry.scores.mse, entry.scores.ssim))
    cells = [
        *add("mse", mse, floors[0], f"MSE, {entry.definition}; {MEAN_IMAGE}"),
        *add("ssim", ssim, floors[1], f"SSIM, {entry.definition}; {MEAN_IMAGE}"),
    ]
    against: tuple = (None, None, None)
    if base is not None:
        ratio = ratio_interval(entry.scores.mse, base.scores.mse, entry.groups, seed=seed)
        shares = add("mse_ratio", ratio, None, f"MSE over that of {base.name}, resampled together")
        against = tuple(100.0 * (share - 1.0) for share in shares)
    family: tuple = (None, None, None, None)
    if (accuracy := entry.accuracy) is not None:
        interval = mean_interval(accuracy.correct, entry.groups, seed=seed)
        text = "share whose family the 5 nearest training latents name; floor: the training notes' most frequent family"
        family = (*add("family_knn", interval, accuracy.floor, text), accuracy.floor)
    sound: tuple = (None, None, None, None)
    if entry.distances:
        where = f"log-spectral distance in dB to the recording, {len(entry.distance_groups)} notes"
        below = None if mean_image is None else float(mean_image.distances["reconstruction"].mean())
        with_model, without = (
            mean_interval(entry.distances[name], entry.distance_groups, seed=seed)
            for name in ("reconstruction", "representation")
        )
        three = add("sound_db", with_model, below, f"{where}; {MEAN_IMAGE}")
        bound = add("representation_db", without, None, f"{where}, analyzed and synthesized without the model")
        sound = (*three, bound[0])
    head = (entry.store, entry.name, entry.run.model, entry.run.space.latent_size)
    return (*head, len(entry.groups), len(np.unique(entry.groups)), *cells, *against, *family, *sound), results


def _definition(entries: Sequence[RunScores]) -> str:
    """Returns the definition of the scores, with the names of the runs where there are several."""
    runs: dict[str, list[str]] = {}
    for entry in entries:
        runs.setdefault(entry.definition, []).append(entry.name)
    if len(runs) == 1:
        return next(iter(runs))
    return "MSE and SSIM of different definitions are not to be compared: " + "; ".join(
        f"{', '.join(dict.fromkeys(names))}: {definition}" for definition, names in runs.items()
    )


def scores_markdown(table: Table) -> str:
    """Returns the table of scores as markdown: value and interval in one cell, without columns that are empty."""

    def cell(record: dict, value: str, low: str, high: str, scale: float = 1.0) -> str | None:
        if record[value] is None or np.isnan(record[value]):
            return None
        shown = [format_cell(None if record[k] is None else scale * record[k]) for k in (value, low, high)]
        return f"{shown[0]} ({shown[1]}–{shown[2]})" if shown[1] != "–" else shown[0]

    rows = []
    for cells in table.rows:
        record = dict(zip(table.columns, cells, strict=True))
        floor, bound = record["knn_floor"], record["representation_db"]
        rows.append(
            {
                "notes": f"{record['store']} ({record['notes']} of {record['instruments']})",
                "run": record["run"],
                "latents": record["latents"],
                "MSE": cell(record, "mse", "mse_low", "mse_high"),
                "SSIM": cell(record, "ssim", "ssim_low", "ssim_high"),
                "MSE against reference, %": cell(record, "mse_vs_reference_percent", "vs_low", "vs_high"),
                "family kNN, %": cell(record, "family_knn", "knn_low", "knn_high", 100.0),
                "its floor, %": None if floor is None else format_cell(100 * floor),
                "sound, dB": cell(record, "sound_db", "sound_low", "sound_high"),
                "without model, dB": None if bound is None else format_cell(bound),
            }
        )
    rows = [{key: value for key, value in row.items() if any(r[key] is not None for r in rows)} for row in rows]
    text = f"{table.caption}\n\n{NATSIOU_2023}" if "log f0" in table.caption else table.caption
    return f"{Table.from_records('scores', rows).markdown()}\n{text}\n"


def codes_table(entries: Sequence[RunScores]) -> tuple[Table, list[Result]] | None:
    """Returns a row for each discrete run, store and codebook, and its results; None where no run is discrete."""
    records, results, caption = [], [], ""
    for entry in entries:
        if entry.codes is None:
            continue
        table = entry.codes.table()
        caption = table.caption
        for row in table.rows:
            record = dict(zip(table.columns, row, strict=True))
            records.append({"store": entry.store, "run": entry.name, **record})
            name = f"{entry.store}/{entry.name}/codebook_{record['codebook']}"
            where = f"of {record['codes']} codes, {record['latents']} latents of split “{entry.split}”"
            text = f"exp of the entropy of the codes' shares {where}; floor: one code"
            three = (record["perplexity"], record["low"], record["high"])
            results.append(Result(f"{name}/perplexity", *three, 1.0, text))
            results.append(Result(f"{name}/used", record["used"], None, None, 1.0, f"codes that occur, {where}"))
    return (Table.from_records("codes", records, caption), results) if records else None
