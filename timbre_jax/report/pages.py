"""Page of an analysis: the values that its template shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from timbre_jax.analysis.correlation import Correlation
from timbre_jax.analysis.record import Analysis, Examples, SeriesAnalysis, SoundQuality, StaticAnalysis
from timbre_jax.analysis.words import plain_words
from timbre_jax.metrics.bootstrap import Interval, mean_interval
from timbre_jax.metrics.table import Table
from timbre_jax.report.page_tables import interval_text, number_text
from timbre_jax.report.tables import (
    axis_correlation_tables,
    code_table,
    distance_table,
    paper_statements,
    score_table,
)
from timbre_jax.report.templates import render

Card = tuple[str, str, list[str]]
"""A large number: (label, number, lines with the interval and baselines)."""
BETTER = {"low": "lower", "high": "higher"}


def page(analysis: Analysis, examples: Examples, images: Mapping[str, bytes], *, footer: str = "") -> str:
    """Returns the page of an analysis as one self-contained HTML document.

    Args:
      analysis: analysis of a static or a series space.
      examples: sounds to play.
      images: PNG files of the figures of `figures.figures` by name.
      footer: last line of the page.
    """
    shared: dict[str, Any] = {
        "title": f"Timbre space “{analysis.name}”",
        "lead": f"{analysis.model}. This page reports how well the space reconstructs sounds and what its latents control.",
        "footer": footer,
        "analysis": analysis,
        "examples": examples,
        "images": images,
    }
    if isinstance(analysis, SeriesAnalysis):
        return render("series_analysis.html.j2", **shared, **_series_values(analysis))
    assert isinstance(analysis, StaticAnalysis)
    return render("static_analysis.html.j2", **shared, **_static_values(analysis, examples))


def _static_values(analysis: StaticAnalysis, examples: Examples) -> dict:
    families, instruments = analysis.labels["family"], analysis.labels["instrument"]
    counts = [len(np.unique(instruments[families == family])) for family in np.unique(families)]
    low, high = min(counts), max(counts)
    return {
        "cards": _static_cards(analysis),
        "order": _order_table(analysis),
        "scores": score_table(analysis),
        "distances": distance_table(analysis.quality) if analysis.quality.distances else None,
        "paper_statements": paper_statements(analysis),
        "listening": [(title, *_players_of(waves)) for title, waves in examples.sounds],
        "instruments": f"{low} instrument{'s' if low > 1 else ''}" if low == high else f"{low} to {high} instruments",
    }


def _static_cards(analysis: StaticAnalysis) -> list[Card]:
    quality, cards = analysis.quality, []
    for measure, better in (("mse", "lower"), ("ssim", "higher")):
        interval = mean_interval(getattr(quality.scores, measure), analysis.groups)
        baselines = [
            f"Baseline ({plain_words(name)}): {number_text(float(getattr(scores, measure).mean()))}"
            for name, scores in quality.baselines.items()
        ]
        details = _details(interval, *baselines)
        cards.append((f"{measure.upper()} ({better} is better)", number_text(float(interval.value)), details))
    if quality.families is not None:
        interval = mean_interval(100 * quality.families.correct, analysis.groups)
        baseline = f"Baseline (most frequent family): {100 * quality.families.baseline:.0f} %"
        cards.append(("kNN accuracy of the family (higher is better)", f"{interval.value:.0f} %", _details(interval, baseline)))
    if quality.distances:
        interval = mean_interval(quality.distances["reconstruction"], quality.distance_groups)
        bound = f"Representation: {number_text(float(quality.distances['representation'].mean()))}"
        cards.append(
            ("Log-spectral distance in dB (lower is better)", number_text(float(interval.value)), _details(interval, bound))
        )
    return cards


def _details(interval: Interval, *comparisons: str) -> list[str]:
    """Returns the lines below the number of a card: its interval, baselines and upper bounds."""
    text = interval_text(float(interval.low), float(interval.high))
    return [f"95 % interval: {text}", *comparisons] if text else list(comparisons)


def _order_table(analysis: Analysis) -> Table | None:
    """Returns the eight most important latents; None without explanations."""
    if analysis.explanations is None:
        return None
    agreement, correlation = analysis.explanations.agreement, analysis.correlations.get("spearman")
    order = agreement.order()[:8].tolist()
    columns: dict[str, list] = {"latent": order, "mean_rank": agreement.consensus[order].tolist()}
    if isinstance(analysis, StaticAnalysis) and correlation is not None:
        columns["strongest_correlation"] = [_strongest(correlation, latent) for latent in order]
    caption = f"Latents by their mean rank over {len(agreement.names)} measures; rank 1 is the most important."
    return Table("importance_ranks", tuple(columns), tuple(zip(*columns.values(), strict=True)), caption)


def _strongest(correlation: Correlation, latent: int) -> str | None:
    """Returns the known property with the strongest correlation beyond chance."""
    strength = np.where(correlation.beyond_chance()[latent], np.abs(correlation.value[latent]), 0.0)
    n = int(strength.argmax())
    return f"{correlation.names[n].removesuffix('_hz')} ({correlation.value[latent, n]:+.2f})" if strength[n] > 0 else None


def _players_of(waves: Mapping[str, np.ndarray]) -> tuple[dict, list]:
    """Returns the main sounds of a note by label, and rows of its ablations."""
    main = {key: waves[key] for key in ("original", "representation", "reconstruction") if key in waves}
    rows = []
    for start, title in (("only ", "enabled latent"), ("all but ", "disabled latent")):
        part = {key.removeprefix(start): wave for key, wave in waves.items() if key.startswith(start)}
        if part:
            rows.append((title, part))
    return main, rows


def _series_values(analysis: SeriesAnalysis) -> dict:
    return {
        "cards": _series_cards(analysis),
        "order": _order_table(analysis),
        "quality": _quality_table(analysis.quality),
        "correlations": axis_correlation_tables(analysis),
        "codes": code_table(analysis.codes) if analysis.codes is not None else None,
    }


def _quality_table(quality: SoundQuality) -> Table:
    """Returns the distances to the recordings with a row for each measure."""
    columns, rows = ["measure", "better"], []
    for sound in quality.pairs:
        columns += [sound, f"{sound}_low", f"{sound}_high"]
    for measure in quality.measures:
        cells = [quality.interval(sound, measure.name)[0].value_low_high() for sound in quality.pairs]
        rows.append((measure.title, BETTER.get(measure.better, measure.better), *(value for cell in cells for value in cell)))
    return Table("sound_quality", tuple(columns), tuple(rows), "Distances to the recordings.")


def _series_cards(analysis: SeriesAnalysis) -> list[Card]:
    cards = []
    for measure in analysis.quality.measures:
        interval, _ = analysis.quality.interval("reconstruction", measure.name)
        bound, _ = analysis.quality.interval("representation", measure.name)
        better = BETTER.get(measure.better, measure.better)
        details = _details(interval, f"Representation: {number_text(float(bound.value))}")
        cards.append((f"{measure.title} ({better} is better)", number_text(float(interval.value)), details))
    if analysis.codes is not None:
        uses = analysis.codes.uses
        perplexity = " + ".join(f"{p:.0f}" for p in np.asarray(uses.perplexity.value))
        used = f"{' + '.join(map(str, uses.used))} of {uses.counts.shape[1]} codes are used"
        cards.append(("Perplexity of the codes (higher is better)", perplexity, [used]))
    for result in analysis.probe:
        if result.name.startswith("probe/") and not result.name.endswith("_rank"):
            label = f"{result.name.removeprefix('probe/').capitalize()} in the latents (R² of a probe)"
            cards.append((label, number_text(result.value), ["0: no information, 1: fully determined"]))
    return cards
