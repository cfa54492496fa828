"""Comparison of trained runs on the same held-out notes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from timbre_jax.data.store import Store
from timbre_jax.evaluation.audio_scores import SoundRow, SoundScorer, training_split
from timbre_jax.evaluation.audio_tables import classes_markdown, sound_tables, sounds_markdown
from timbre_jax.evaluation.paired import paired_table
from timbre_jax.evaluation.resynthesis import sound_distances, sound_points
from timbre_jax.evaluation.runs import Notes, Run, default_store, open_run, read_notes, trained_on, training_notes
from timbre_jax.evaluation.score_tables import RunScores, codes_markdown, codes_table, scores_markdown, scores_table
from timbre_jax.evaluation.settings import EvaluationSettings
from timbre_jax.files import write_text
from timbre_jax.inference.batched import encode_features
from timbre_jax.metrics.codebook_usage import CodeUses, code_uses
from timbre_jax.metrics.knn import neighbor_accuracy
from timbre_jax.metrics.reconstruction import reconstruction_scores
from timbre_jax.metrics.table import Result, Table, write_results

TRAINING_NOTES = 10000
LIBRARY_METRICS = ("lsd", "stft", "odg", "ndb", "kernel")
SERIES_METRICS = ("lsd", "stft", "mel", "level")
HEADINGS = {
    "scores": "Reconstruction of features", "sounds": "Sounds", "classes": "Sounds by class",
    "paired": "Differences to the reference run", "codes": "Use of codes",
}  # fmt: skip
"""Headings in `scores.md` by the name of the table."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Scores of runs as tables, results and Markdown.

    Attributes:
      tables: by name: "scores"; "sounds" and "classes" if sounds are compared; "paired" if there is also a reference run;
        "codes" if a space is discrete.
      results: all numbers by name, with their definitions.
      markdown: all tables with their captions.
    """

    tables: dict[str, Table]
    results: list[Result]
    markdown: str

    @property
    def scores(self) -> Table:
        """Table of reconstruction scores, one row for each run and store."""
        return self.tables["scores"]

    def write(self, out: str | os.PathLike) -> None:
        """Writes NAME.csv of each table, scores.md and results.json to a folder."""
        for table in self.tables.values():
            table.write_csv(out)
        write_text(Path(out) / "scores.md", self.markdown)
        write_results(Path(out) / "results.json", self.results)


def evaluate(settings: EvaluationSettings, *, progress: bool = True) -> Evaluation:
    """Scores runs on the same notes of one or several stores.

    Args:
      settings: runs, stores, notes and metrics.
      progress: whether to show progress bars.

    Raises:
      ValueError: runs, stores or settings do not fit together.
    """
    if not settings.workdir:
        raise ValueError("--workdir: no runs to score; give --workdir=RUN,RUN")
    runs = [open_run(workdir) for workdir in settings.workdir]
    names = _unique_names([run.workdir for run in runs], "run")
    reference = _reference_name(runs, names, settings.reference)
    families = _common_families(runs, names) if settings.families is None else tuple(settings.families)
    stores = [Store.open(path) for path in (settings.store or default_store(runs[0]), *settings.more_stores)]
    store_names = _unique_names([store.path for store in stores], "store")
    _check_rates(runs, names, stores)
    settings = dataclasses.replace(settings, metrics=_chosen_metrics(settings, runs))
    known = {name: _training_points(run, progress) for name, run in zip(names, runs, strict=True)}
    entries: list[RunScores] = []
    rows: list[SoundRow] = []
    with tqdm(total=len(stores) * len(runs), desc="runs", disable=not progress) as bar:
        for store_name, store in zip(store_names, stores, strict=True):
            scorer = None
            for name, run in zip(names, runs, strict=True):
                bar.set_postfix_str(name)
                notes = read_notes(
                    run, store, settings.split, number=settings.number, families=families, seed=settings.seed, progress=progress
                )
                waves = None
                if settings.metrics:
                    if scorer is None:
                        scorer = SoundScorer(store_name, store, notes, runs, settings, families=families, progress=progress)
                        rows += scorer.baseline_rows()
                    waves = scorer.resynthesize(name, run, notes)
                    rows += scorer.run_rows(name, run, waves)
                entries.append(_score(store_name, name, store, run, notes, known[name], waves, settings))
                bar.update()
    return _tables(entries, rows, reference, settings, training_split(runs))


def _tables(
    entries: list[RunScores], rows: list[SoundRow], reference: str | None, settings: EvaluationSettings, training: str
) -> Evaluation:
    """Returns the tables of all scores."""
    scores, results = scores_table(entries, reference, settings.seed)
    tables, texts = [scores], [f"## {HEADINGS[scores.name]}\n\n{scores_markdown(scores)}"]

    def add(table: Table, of_table: list[Result], text: str) -> None:
        tables.append(table)
        texts.append(f"## {HEADINGS[table.name]}\n\n{text}")
        results.extend(of_table)

    if rows:
        sounds, classes, of_sounds = sound_tables(rows, settings, training)
        add(sounds, of_sounds, sounds_markdown(sounds, rows, settings, training))
        if settings.pair_metrics:
            add(classes, [], classes_markdown(classes, settings))
        else:
            tables.append(classes)
        if reference and settings.pair_metrics:
            paired, of_paired = paired_table(rows, settings, reference)
            add(paired, of_paired, f"{paired.narrow_markdown(head=2)}\n{paired.caption}\n")
    if (codes := codes_table(entries)) is not None:
        add(*codes, codes_markdown(codes[0]))
    return Evaluation({table.name: table for table in tables}, results, "\n".join(texts))


def _score(
    store_name: str,
    name: str,
    store: Store,
    run: Run,
    notes: Notes,
    known: tuple[np.ndarray, np.ndarray] | None,
    waves: dict[str, np.ndarray] | None,
    settings: EvaluationSettings,
) -> RunScores:
    """Scores one run on the notes of one store.

    `known` contains the latents and families of its training notes; `waves` contains the resynthesized notes if sounds are
    compared.
    """
    scores = reconstruction_scores(run.space, notes.features, target=notes.target)
    seen, accuracy = trained_on(run, store, notes.split), None
    if known is not None and not seen:  # The nearest training note of a training note is the note itself.
        accuracy = neighbor_accuracy(*known, sound_points(run.space, notes.features), notes.labels["family"])
    distances: dict[str, np.ndarray] = {}
    rows = np.zeros(0, np.int64)
    if settings.sounds:
        distances, rows = sound_distances(run.space, notes, number=settings.sounds, waves=waves, seed=settings.seed)
    return RunScores(
        store=store_name,
        name=name,
        run=run,
        split=notes.split,
        trained_on=seen,
        groups=notes.labels["instrument"],
        scores=scores,
        accuracy=accuracy,
        distances=distances,
        distance_groups=notes.labels["instrument"][rows],
        codes=_code_uses(run, notes, settings.seed),
    )


def _code_uses(run: Run, notes: Notes, seed: int) -> CodeUses | None:
    """Counts the codes of a discrete space; returns None for other spaces."""
    if not run.space.model.is_discrete:
        return None
    latent = encode_features(run.space, notes.features, kind="series")
    size = np.shape(run.space.model.codebook(run.space.variables))[-2]
    return code_uses(latent, size, notes.labels["instrument"], seed=seed)


def _training_points(run: Run, progress: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns latents [P, D] and families [P] of the training notes; None if they are missing."""
    notes = training_notes(run, number=TRAINING_NOTES, progress=progress)
    return None if notes is None else (sound_points(run.space, notes.features), notes.labels["family"])


def _chosen_metrics(settings: EvaluationSettings, runs: Sequence[Run]) -> tuple[str, ...]:
    """Returns the metrics of sounds: the chosen ones, or the defaults for the spaces."""
    if not settings.sounds:
        return ()
    if settings.metrics is not None:
        return settings.metrics
    if any(run.space.kind == "series" for run in runs):
        return SERIES_METRICS
    return () if all(run.space.representation.name == "harmonic_tracks" for run in runs) else LIBRARY_METRICS


def _check_rates(runs: Sequence[Run], names: Sequence[str], stores: Sequence[Store]) -> None:
    """Raises a ValueError unless all runs and stores have one sample rate."""
    rates = {name: run.space.sample_rate for name, run in zip(names, runs, strict=True)}
    if len(set(rates.values())) > 1:
        listed = ", ".join(f"{name} {rate} Hz" for name, rate in rates.items())
        raise ValueError(
            f"--workdir: the runs have different sample rates ({listed}); score runs of one rate with a store of that rate"
        )
    rate = next(iter(rates.values()))
    for store in stores:
        if store.sample_rate != rate:
            raise ValueError(
                f"{store.path}: must have the sample rate of the runs, {rate} Hz (got {store.sample_rate} Hz); make one with "
                "experiments/prepare.py --sample_rate"
            )


def _unique_names(paths: Sequence[Path], what: str) -> list[str]:
    """Returns the names of folders, or their paths if names are not unique.

    Raises:
      ValueError: a folder occurs twice.
    """
    names = [path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    if len({path.resolve() for path in paths}) < len(paths):
        raise ValueError(f"{what}: the same one is given twice; give each once")
    return names


def _reference_name(runs: Sequence[Run], names: Sequence[str], reference: str | None) -> str | None:
    """Returns the name of the reference run: the chosen one, or the PCA among the runs."""
    if reference is None:
        return next((name for name, run in zip(names, runs, strict=True) if run.model == "pca"), None)
    for name, run in zip(names, runs, strict=True):
        if reference == name or Path(reference).resolve() == run.workdir.resolve() or Path(reference).name == name:
            return name
    raise ValueError(f"--reference={reference}: must be one of the runs {', '.join(names)}")


def _common_families(runs: Sequence[Run], names: Sequence[str]) -> tuple[str, ...]:
    """Returns the families that all runs were trained on; empty if they were trained on all.

    Raises:
      ValueError: the runs were trained on different families.
    """
    chosen = {tuple(sorted(run.config["data"].get("families") or ())) for run in runs}
    if len(chosen) > 1:
        raise ValueError(
            f"--workdir: the runs {', '.join(names)} were trained on different families; select some with --families=A,B"
        )
    return chosen.pop()
