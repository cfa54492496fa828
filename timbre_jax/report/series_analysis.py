"""All results of an analysis of a space with a latent a frame, as one record of plain data; its tables and results."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from timbre_jax.analysis.ablation import Ablation
from timbre_jax.analysis.agreement import Agreement, agreement
from timbre_jax.analysis.attribution import Attribution
from timbre_jax.analysis.correlation import Correlation
from timbre_jax.analysis.perturbation import Perturbation
from timbre_jax.analysis.projection import Projection
from timbre_jax.analysis.sensitivity import Sensitivity
from timbre_jax.analysis.series_statistics import SeriesStatistics
from timbre_jax.analysis.statistics import BoxPlot
from timbre_jax.generation.axes import Axes
from timbre_jax.generation.control.code_table import CodeTable
from timbre_jax.metrics.bootstrap import Interval, mean_interval
from timbre_jax.metrics.codebook_usage import CodeUses
from timbre_jax.metrics.sound_pairs import PairMeasure
from timbre_jax.metrics.table import Result, Table


@dataclasses.dataclass(frozen=True)
class SoundQuality:
    """How near the space's sounds are to the recordings.

    Attributes:
      measures: what was measured. pairs: by row ("reconstruction"; "representation": without the model) and measure, [n].
      groups: recordings [n].
    """

    measures: Sequence[PairMeasure]
    pairs: Mapping[str, Mapping[str, np.ndarray]]
    groups: np.ndarray

    def interval(self, row: str, measure: str) -> tuple[Interval, int]:
        """Mean over the sounds for which the measure is defined, and how many these are."""
        values = self.pairs[row][measure]
        defined = np.isfinite(values)
        if not defined.any():
            return Interval(float("nan"), float("nan"), float("nan"), 0), 0
        return mean_interval(values[defined], self.groups[defined]), int(defined.sum())

    def table(self) -> Table:
        """A row a measure and sound."""
        rows = []
        for measure in self.measures:
            for row in self.pairs:
                interval, count = self.interval(row, measure.name)
                rows.append(
                    (
                        measure.title,
                        row,
                        count,
                        *(float(x) for x in (interval.value, interval.low, interval.high)),
                        measure.better,
                    )
                )
        caption = "; ".join(f"{measure.title}: {measure.definition}" for measure in self.measures)
        columns = ("measure", "sound", "sounds", "mean", "low", "high", "better")
        return Table("sound_quality", columns, tuple(rows), f"{caption}. 95 %, bootstrap over recordings.")


@dataclasses.dataclass(frozen=True)
class HeldExplanations:
    """What the methods say of the latents of sounds whose timbre is held: one point a sound, with the sound's own level curve.

    Attributes:
      groups: recordings [E]. seconds: of each sound that were looked at.
    """

    groups: np.ndarray
    seconds: float
    ablation: Ablation
    perturbation: Perturbation
    sensitivity: Sensitivity
    gradients: Attribution

    @property
    def importances(self) -> dict[str, np.ndarray]:
        """One importance [D] a method."""
        return {
            "one off": self.ablation.importance(kind="disabled").mean(0),
            "one on": self.ablation.importance(kind="enabled").mean(0),
            "+- deviations": self.perturbation.importance().mean(0),
            "gradient": self.sensitivity.scaled.mean(0),
            "integrated gr.": self.gradients.values.mean(0),
        }

    @property
    def agreement(self) -> Agreement:
        return agreement(self.importances)


@dataclasses.dataclass(frozen=True)
class Codes:
    """What a discrete space's codes are and how sounds use them.

    Attributes:
      uses: by sounds. table: what each code (of the first codebook) sounds like alone.
      plane: [K, 2] of the codes' vectors (PCA); explained: its share of their variance.
    """

    uses: CodeUses
    table: CodeTable
    plane: np.ndarray
    explained: float


@dataclasses.dataclass(frozen=True)
class SeriesAnalysis:
    """Everything that `experiments.analyze` found of a space with a latent a frame.

    Attributes:
      name, model, notes: in words.
      quality; statistics, box: of the frames' latents, or of the first playable axes where there are too many latents to be
        looked at (`moving` says which: "latent" or "axis"). axes: playable axes, measured on the frames analysed.
      correlations: of the axes with descriptors, frame by frame.
      points: [M, D] of the sounds; labels: [M] by name, with "brightness_hz". maps: of the points.
      explanations: None where they cannot apply; then `why_not` says why.
      codes: of a discrete space.
      spoken: results of the invariance probe that training left, or ().
    """

    name: str
    model: str
    notes: str
    quality: SoundQuality
    statistics: SeriesStatistics
    box: BoxPlot
    axes: Axes
    correlations: Correlation | None
    points: np.ndarray
    labels: Mapping[str, np.ndarray]
    maps: Mapping[str, Projection]
    explanations: HeldExplanations | None
    why_not: str
    codes: Codes | None = None
    moving: str = "latent"
    spoken: Sequence[Result] = ()


def axis_correlation_table(correlation: Correlation) -> Table:
    """`Correlation.table` with axes in the place of latents."""
    table = correlation.table()
    return Table("correlation_axes", ("axis", *table.columns[1:]), table.rows, table.caption)


def point_table(analysis: SeriesAnalysis) -> Table:
    """The point of every sound, with its labels."""
    names = list(analysis.labels)
    columns = (*names, *(f"latent_{d}" for d in range(analysis.points.shape[1])))
    labels = [analysis.labels[name].tolist() for name in names]
    rows = tuple((*label, *point) for *label, point in zip(*labels, analysis.points.tolist(), strict=True))
    return Table("points", columns, rows, "The mean of each sound's latents, weighted by amplitude.")


def code_rows(codes: Codes) -> Table:
    """Every code: uses, what it sounds like, its place in the plane."""
    described = codes.table.described
    columns = ("code", "uses", *described, "x", "y")
    names = [" ".join(map(str, np.atleast_1d(code).tolist())) for code in codes.table.codes]
    lines = (
        names,
        codes.uses.counts[0].astype(int).tolist(),
        *(x.tolist() for x in described.values()),
        *codes.plane.T.tolist(),
    )
    caption = "Codes decoded alone: uses by the sounds analysed; descriptors (0: none); place in the PCA of the codes' vectors."
    return Table("code_table", columns, tuple(zip(*lines, strict=True)), caption)


def tables(analysis: SeriesAnalysis) -> list[Table]:
    """All tables, as they are written to tables/*.csv."""
    found = [
        analysis.quality.table(),
        analysis.statistics.table(),
        analysis.box.table(),
        analysis.axes.table(),
        point_table(analysis),
    ]
    if analysis.correlations is not None:
        found.append(axis_correlation_table(analysis.correlations))
    if analysis.codes is not None:
        found += [analysis.codes.uses.table(), code_rows(analysis.codes)]
    if (e := analysis.explanations) is not None:
        found += [e.ablation.table(e.groups), e.perturbation.table(e.groups), e.sensitivity.table(e.groups)]
        found += [e.gradients.table(e.groups), e.agreement.table(), e.agreement.rank_table()]
    return found


def results(analysis: SeriesAnalysis) -> list[Result]:
    """Rows of results.json; names are stable."""
    rows, set_ = [], analysis.notes
    for measure in analysis.quality.measures:
        for row in analysis.quality.pairs:
            interval, count = analysis.quality.interval(row, measure.name)
            rows.append(
                Result(
                    f"sound/{row}/{measure.name}", *(float(x) for x in (interval.value, interval.low, interval.high)), None,
                    f"{measure.definition}; {row}, {count} sounds; {set_}",
                )
            )  # fmt: skip
    statistics = analysis.statistics
    for d in range(len(statistics.mean)):
        for name, text in (
            ("within", "share of the variance within sounds"),
            ("memory", "seconds until the autocorrelation falls under 1/e"),
            ("speed", "mean change a second in deviations"),
        ):
            rows.append(
                Result(
                    f"series/{name}/{analysis.moving}_{d}", float(getattr(statistics, name)[d]), definition=f"{text}; {set_}"
                )
            )
    if analysis.correlations is not None:
        for n, name in enumerate(analysis.correlations.names):
            for d in range(len(analysis.correlations.value)):
                c = analysis.correlations
                cell = (float(x[d, n]) for x in (c.value, c.low, c.high, c.floor))
                text = f"{c.method} correlation of a playable axis with {name}, frame by frame; floor: shuffled frames; {set_}"
                rows.append(Result(f"correlation/{name}/axis_{d}", *cell, text))
    if analysis.codes is not None:
        uses = analysis.codes.uses
        for q in range(len(uses.counts)):
            three = (float(np.asarray(x)[q]) for x in (uses.perplexity.value, uses.perplexity.low, uses.perplexity.high))
            text = f"exp of the entropy of the codes' shares, of {uses.counts.shape[1]}; floor: one code; {set_}"
            rows.append(Result(f"codes/perplexity/codebook_{q}", *three, 1.0, text))
    if (e := analysis.explanations) is not None:
        where = f"{len(e.groups)} sounds of {e.seconds:.2f} s with their timbre held; {set_}"
        for method, values in e.importances.items():
            for d, value in enumerate(values):
                rows.append(
                    Result(f"importance/{method}/latent_{d}", float(value), definition=f"importance by {method!r}; {where}")
                )
    return rows
