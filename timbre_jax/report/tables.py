"""Tables of an analysis for CSV files and pages."""

from __future__ import annotations

import numpy as np

from timbre_jax.analysis import natsiou2023
from timbre_jax.analysis.record import (
    Analysis,
    Codes,
    Explanations,
    FeatureQuality,
    SeriesAnalysis,
    SoundQuality,
    StaticAnalysis,
)
from timbre_jax.analysis.words import plain_words
from timbre_jax.metrics.bootstrap import mean_interval
from timbre_jax.metrics.table import Table


def tables(analysis: Analysis) -> list[Table]:
    """Returns all tables of an analysis."""
    if isinstance(analysis, SeriesAnalysis):
        return _series_tables(analysis)
    assert isinstance(analysis, StaticAnalysis)
    return _static_tables(analysis)


def _static_tables(analysis: StaticAnalysis) -> list[Table]:
    collected = [score_table(analysis), analysis.box.table(), point_table(analysis, "latents"), analysis.ranges.table()]
    if analysis.quality.distances:
        collected.append(distance_table(analysis.quality))
    collected += [statistics.table(f"classes_{label}") for label, statistics in analysis.classes.items()]
    collected += [correlation.table() for correlation in analysis.correlations.values()]
    for method, projection in analysis.maps.items():
        ids = analysis.labels["id"][projection.rows].tolist() if "id" in analysis.labels else projection.rows.tolist()
        rows = tuple((name, *point) for name, point in zip(ids, projection.points.tolist(), strict=True))
        collected.append(Table(f"map_{method}", ("id", "x", "y"), rows))
    if (families := analysis.quality.families) is not None:
        columns = ("truth", *map(str, families.classes))
        rows = tuple((str(c), *row) for c, row in zip(families.classes, families.confusion.tolist(), strict=True))
        collected.append(
            Table("family_confusion", columns, rows, "Rows: true family. Columns: family of the 5 nearest training notes.")
        )
    collected += _explanation_tables(analysis.explanations)
    if (comparison := paper_statements(analysis)) is not None:
        collected += [comparison, natsiou2023.separation_table(analysis.classes["family"])]
    return collected


def _series_tables(analysis: SeriesAnalysis) -> list[Table]:
    collected = [
        sound_quality_table(analysis.quality),
        analysis.statistics.table(),
        analysis.box.table(),
        analysis.axes.table(),
    ]
    collected.append(point_table(analysis, "points", "Mean of the latents of each sound, weighted by amplitude."))
    collected += axis_correlation_tables(analysis)
    if analysis.codes is not None:
        collected += [analysis.codes.uses.table(), code_table(analysis.codes)]
    return collected + _explanation_tables(analysis.explanations)


def _explanation_tables(explanations: Explanations | None) -> list[Table]:
    if explanations is None:
        return []
    collected = [
        part.table(explanations.groups)
        for parts in (explanations.ablations, explanations.perturbations)
        for part in parts.values()
    ]
    collected += [
        part.table(explanations.groups)
        for part in (explanations.sensitivity, explanations.sage, explanations.gradients)
        if part is not None
    ]
    collected += [attribution.table(explanations.groups) for attribution in explanations.shapley.values()]
    collected += [explanations.agreement.table(), explanations.agreement.rank_table()]
    return collected if explanations.directions is None else [*collected, explanations.directions.table()]


def score_table(analysis: StaticAnalysis) -> Table:
    """Returns MSE and SSIM of the space and of its baselines."""
    rows = []
    baselines = {plain_words(name): scores for name, scores in analysis.quality.baselines.items()}
    for name, scores in {f"{analysis.name} (this run)": analysis.quality.scores, **baselines}.items():
        cells = [mean_interval(x, analysis.groups).value_low_high() for x in (scores.mse, scores.ssim)]
        rows.append((name, *cells[0], *cells[1]))
    columns = ("model", "mse", "mse_low", "mse_high", "ssim", "ssim_low", "ssim_high")
    caption = f"Lower MSE and higher SSIM are better. Definition: {analysis.quality.definition}."
    return Table("scores", columns, tuple(rows), caption)


def distance_table(quality: FeatureQuality) -> Table:
    """Returns log-spectral distances to the recording."""
    rows = tuple(
        (name.replace("_", " "), len(values), *mean_interval(values, quality.distance_groups).value_low_high())
        for name, values in quality.distances.items()
    )
    caption = (
        "Log-spectral distance to the recording; lower is better. 1024-point Hann frames, hop 256; levels more than 80 dB "
        "below the loudest bin of the recording are raised to that level."
    )
    return Table("sound_distance", ("sound", "notes", "distance_db", "low", "high"), rows, caption)


def sound_quality_table(quality: SoundQuality) -> Table:
    """Returns all distances of reconstructions and resyntheses to the recordings."""
    rows = []
    for measure in quality.measures:
        for sound in quality.pairs:
            interval, count = quality.interval(sound, measure.name)
            rows.append((measure.title, sound, count, *interval.value_low_high(), measure.better))
    definitions = "; ".join(f"{measure.title}: {measure.definition}" for measure in quality.measures)
    caption = f"Distances to the recording; the last column says what is better. {definitions}."
    columns = ("measure", "sound", "sounds", "mean", "low", "high", "better")
    return Table("sound_quality", columns, tuple(rows), caption)


def point_table(analysis: Analysis, name: str, caption: str = "") -> Table:
    """Returns the latents of every sound with its labels."""
    columns = (*analysis.labels, *(f"latent_{d}" for d in range(analysis.points.shape[1])))
    labels = [label.tolist() for label in analysis.labels.values()]
    rows = tuple((*label, *point) for *label, point in zip(*labels, analysis.points.tolist(), strict=True))
    return Table(name, columns, rows, caption)


def axis_correlation_tables(analysis: SeriesAnalysis) -> list[Table]:
    """Returns the tables of correlations of latent axes with descriptors."""
    collected = [correlation.table() for correlation in analysis.correlations.values()]
    return [Table("correlation_axes", ("axis", *table.columns[1:]), table.rows, table.caption) for table in collected]


def code_table(codes: Codes) -> Table:
    """Returns frequency, descriptors and position of every code."""
    means = codes.table.means
    names = [" ".join(map(str, np.atleast_1d(code).tolist())) for code in codes.table.codes]
    counts = codes.uses.counts[0].astype(int).tolist()
    lines = (names, counts, *(x.tolist() for x in means.values()), *codes.plane.T.tolist())
    caption = "Frequency of each code in the analyzed sounds, and descriptors of the code decoded alone (0 if undefined)."
    return Table("code_table", ("code", "uses", *means, "x", "y"), tuple(zip(*lines, strict=True)), caption)


def paper_statements(analysis: StaticAnalysis) -> Table | None:
    """Returns the comparison with Natsiou et al. 2023; None without explanations or harmonics."""
    if analysis.explanations is None or not analysis.is_harmonic:
        return None
    explanations, quality = analysis.explanations, analysis.quality
    return natsiou2023.statement_table(
        box=analysis.box,
        ranks=explanations.agreement,
        best_alone=explanations.ablations["zero"].importance(kind="enabled", measure="ssim").mean(0),
        least_resilient=explanations.perturbations["percent"].importance(measure="ssim").mean(0),
        mse=float(quality.scores.mse.mean()),
        ssim=float(quality.scores.ssim.mean()),
        mean_image_mse=float(quality.baselines["mean_image"].mse.mean()) if quality.baselines else float("nan"),
    )
