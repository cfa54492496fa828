"""Analysis of a trained run on a store, written as a report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

import timbre_jax
from timbre_jax.analysis.examples import series_examples, static_examples
from timbre_jax.analysis.record import Analysis, Examples
from timbre_jax.analysis.series import analyze_series
from timbre_jax.analysis.static import analyze_static
from timbre_jax.analysis.words import describe_sounds
from timbre_jax.data.store import Store
from timbre_jax.evaluation.runs import Notes, Run, default_store, open_run, read_notes, trained_on, training_notes
from timbre_jax.metrics.table import Result, read_results
from timbre_jax.report.settings import AnalysisSettings
from timbre_jax.report.write import write_report

TRAINING_NOTES = 4000
"""Largest number of training notes that baselines are fitted to."""
LEAST_NOTES = 5
"""Smallest number of notes for an analysis."""


def analyze_run(settings: AnalysisSettings) -> Analysis:
    """Analyzes a run and writes a report with tables, plots and sounds.

    Args:
      settings: the run, the store and the folder of the report.

    Returns:
      The results, a `StaticAnalysis` or `SeriesAnalysis` of `timbre_jax.analysis.record`.

    Raises:
      ValueError: the run, the store, the split or the folder cannot be used, or the split has fewer than 5 notes.
    """
    out = Path(settings.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out={out}: is a file; give a folder for the report")
    run = open_run(settings.workdir)
    store = Store.open(settings.store or default_store(run))
    notes = read_notes(run, store, settings.split, number=settings.number, seed=settings.seed, progress=settings.progress)
    if len(notes.positions) < LEAST_NOTES:
        raise ValueError(
            f"{store.path}: an analysis needs at least {LEAST_NOTES} notes (got {len(notes.positions)} in split "
            f"{settings.split!r})"
        )
    with tqdm(total=14, desc="analysis", unit="step", disable=not settings.progress) as bar:

        def step(name: str) -> None:
            bar.set_postfix_str(name)
            bar.update()

        analysis, examples = _analyze(run, store, notes, settings, step)
        write_report(analysis, examples, out, footer=_footer(store, analysis, settings), step=step)
        step("done")
    return analysis


def _analyze(
    run: Run, store: Store, notes: Notes, settings: AnalysisSettings, step: Callable[[str], None]
) -> tuple[Analysis, Examples]:
    is_training_set = trained_on(run, store, settings.split)
    noun, group = ("sounds", "recording") if run.space.kind == "series" else ("notes", "instrument")
    options: dict[str, Any] = {
        "name": run.name,
        "description": (
            f"{describe_sounds(notes.labels, noun, group)} (split “{notes.split}” of “{store.path.name}”"
            f"{', the training set of the run)' if is_training_set else ')'}"
        ),
        "explained": settings.explained,
        "seed": settings.seed,
        "step": step,
    }
    if run.space.kind == "series":
        series = analyze_series(run.space, notes, probe=_probe(run.workdir), **options)
        step("examples")
        return series, series_examples(run.space, notes, series, number=settings.players)
    training = training_notes(run, number=TRAINING_NOTES, progress=settings.progress)
    static = analyze_static(run.space, notes, training=training, trained_on=is_training_set, **options)
    step("examples")
    return static, static_examples(run.space, notes, static, number=settings.players)


def _probe(workdir: Path) -> tuple[Result, ...]:
    """Returns the results of the invariance probe at the end of training, if they exist."""
    try:
        return tuple(read_results(workdir / "invariance.json"))
    except (OSError, ValueError, TypeError):
        return ()


def _footer(store: Store, analysis: Analysis, settings: AnalysisSettings) -> str:
    return (
        f"Created by timbre_jax {timbre_jax.__version__} from the run “{analysis.name}” and the split “{settings.split}” of "
        f"“{store.path.name}” (--number={settings.number} --explained={settings.explained} --seed={settings.seed}). License of "
        f"the sounds: {store.index.get('license') or 'not stated'}."
    )
