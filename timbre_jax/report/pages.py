"""The page of an analysis: the values that its template shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from timbre_jax.analysis.record import Analysis, Examples, SeriesAnalysis, StaticAnalysis
from timbre_jax.analysis.words import plain_words
from timbre_jax.metrics.bootstrap import Interval, mean_interval
from timbre_jax.metrics.table import format_cell
from timbre_jax.report.page_tables import interval_text
from timbre_jax.report.tables import (
    axis_correlation_tables,
    code_table,
    distance_table,
    score_table,
    sound_quality_table,
    verdicts,
)
from timbre_jax.report.templates import render

Card = tuple[str, str, str]
"""A large number: (label, number, what to compare it with)."""


def page(analysis: Analysis, examples: Examples, images: Mapping[str, bytes], *, footer: str = "") -> str:
    """Returns the page of an analysis, one self-contained HTML document.

    Args:
      analysis: of a static or a series space.
      examples: the sounds to play.
      images: PNGs of `figures.figures`.
      footer: how the page was made.
    """
    shared: dict[str, Any] = {
        "title": f"The timbre space “{analysis.name}”",
        "lead": f"{analysis.model}. {analysis.description}.",
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
    e = analysis.explanations
    return {
        "cards": _static_cards(analysis),
        "order": [f"latent {d}{_goes_with(analysis, int(d))}" for d in e.agreement.order()[:8]] if e else [],
        "scores": score_table(analysis),
        "distances": distance_table(analysis.quality) if analysis.quality.distances else None,
        "verdicts": verdicts(analysis),
        "listening": [(title, *_players_of(waves)) for title, waves in examples.sounds],
        "instruments": f"{low} instrument{'s' if low > 1 else ''}" if low == high else f"{low} to {high} instruments",
    }


def _static_cards(analysis: StaticAnalysis) -> list[Card]:
    quality, cards = analysis.quality, []
    for measure in ("mse", "ssim"):
        interval = mean_interval(getattr(quality.scores, measure), analysis.groups)
        floors = quality.floors.items()
        against = "; ".join(f"{plain_words(n)} {format_cell(float(getattr(s, measure).mean()))}" for n, s in floors)
        text = f"{_range(interval)}. {against[:1].upper()}{against[1:]}"
        cards.append((f"{measure.upper()} of the reconstruction", format_cell(interval.value), text))
    if quality.families is not None:
        interval = mean_interval(quality.families.correct, analysis.groups)
        floor = f"{100 * quality.families.baseline:.0f} %"
        text = f"{_range(interval, percent=True)}. Always the commonest of the training notes: {floor}"
        cards.append(("Family told by 5 training notes", f"{100 * interval.value:.0f} %", text))
    if quality.distances:
        interval = mean_interval(quality.distances["reconstruction"], quality.distance_groups)
        without = format_cell(float(quality.distances["representation"].mean()))
        text = f"{_range(interval)}. Without the model: {without}"
        cards.append(("Spectral distance to the recording (dB)", format_cell(interval.value), text))
    return cards


def _goes_with(analysis: StaticAnalysis, latent: int) -> str:
    """The known property that a latent goes along with most closely, if that is more than chance."""
    spearman = analysis.correlations.get("spearman")
    if spearman is None:
        return ""
    strength = np.nan_to_num(np.abs(spearman.value[latent]))
    strength = np.where(spearman.beyond_chance()[latent], strength, 0.0)
    n = int(strength.argmax())
    if strength[n] == 0.0:
        return ""
    return f" ({spearman.names[n].removesuffix('_hz')} {spearman.value[latent, n]:+.2f})"


def _players_of(waves: Mapping[str, np.ndarray]) -> tuple[dict, list]:
    """The main sounds of a note by label, and rows of its ablations: (title, sounds by latent)."""
    main = {key: waves[key] for key in ("original", "representation", "reconstruction") if key in waves}
    rows = []
    for start, title in (("only ", "only latent …"), ("all but ", "all but latent …")):
        part = {key.removeprefix(start): wave for key, wave in waves.items() if key.startswith(start)}
        if part:
            rows.append((title, part))
    return main, rows


def _series_values(analysis: SeriesAnalysis) -> dict:
    e = analysis.explanations
    return {
        "cards": _series_cards(analysis),
        "order": [f"latent {d}" for d in e.agreement.order()[:8]] if e else [],
        "quality": sound_quality_table(analysis.quality),
        "correlations": axis_correlation_tables(analysis),
        "codes": code_table(analysis.codes) if analysis.codes is not None else None,
    }


def _series_cards(analysis: SeriesAnalysis) -> list[Card]:
    cards = []
    for measure in analysis.quality.measures:
        interval, _ = analysis.quality.interval("reconstruction", measure.name)
        without, _ = analysis.quality.interval("representation", measure.name)
        text = f"{_range(interval, alone='one recording, no interval')}. Without the model: {format_cell(float(without.value))}"
        cards.append((f"{measure.title} ({measure.better} is better)", format_cell(float(interval.value)), text))
    if analysis.codes is not None:
        uses = analysis.codes.uses
        perplexity = _sum_of(f"{p:.0f}" for p in np.asarray(uses.perplexity.value))
        text = f"Of {uses.counts.shape[1]}; {_sum_of(map(str, uses.used))} occur"
        cards.append(("Codes in use (perplexity)", perplexity, text))
    for result in analysis.probe:
        if result.name.startswith("probe/") and not result.name.endswith("_rank"):
            label = f"{result.name.removeprefix('probe/')} told by the latents (R²)"
            cards.append((label, format_cell(result.value), "0: they say nothing of it (a fresh probe)"))
    return cards


def _sum_of(parts: Iterable[str]) -> str:
    return " + ".join(parts)


def _range(interval: Interval, *, percent: bool = False, alone: str = "One instrument, no interval") -> str:
    if percent and np.isfinite(interval.low):
        return f"{100 * interval.low:.0f} to {100 * interval.high:.0f} %"
    return interval_text(float(interval.low), float(interval.high)) or alone
