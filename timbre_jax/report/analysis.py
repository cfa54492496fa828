"""All results of an analysis as one record of plain data, its tables and its rows of `results.json`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from timbre_jax.analysis import natsiou2023
from timbre_jax.analysis.ablation import Ablation
from timbre_jax.analysis.agreement import Agreement, agreement
from timbre_jax.analysis.attribution import Attribution
from timbre_jax.analysis.correlation import Correlation
from timbre_jax.analysis.direction import DirectionEffects
from timbre_jax.analysis.perturbation import Perturbation
from timbre_jax.analysis.projection import Projection
from timbre_jax.analysis.sage import Sage
from timbre_jax.analysis.sensitivity import Sensitivity
from timbre_jax.analysis.statistics import BoxPlot, ClassStatistics, RangeClasses
from timbre_jax.metrics.bootstrap import Interval, mean_interval
from timbre_jax.metrics.knn import NeighbourAccuracy
from timbre_jax.metrics.reconstruction import Scores
from timbre_jax.metrics.sound_pairs import COUNTED
from timbre_jax.metrics.table import Result, Table


@dataclasses.dataclass(frozen=True)
class Quality:
    """How well the space gives back M held-out notes, with floors.

    Attributes:
      definition: of MSE and SSIM.
      scores: of the space. floors: of trivial or linear models on the same notes, by name ("mean_image", "pca_8").
      families: kNN accuracy of the family from the latents, or None without training notes.
      distances: log-spectral distances [n] to the recorded sound by name ("reconstruction", "representation": analysed
        and resynthesised without the model; "mean_image").
      distance_groups: instruments [n] of those.
      training_notes: how many notes of the training set the floors are fitted to; 0 where they could not be read.
    """

    definition: str
    scores: Scores
    floors: Mapping[str, Scores]
    families: NeighbourAccuracy | None
    distances: Mapping[str, np.ndarray]
    distance_groups: np.ndarray
    training_notes: int = 0


@dataclasses.dataclass(frozen=True)
class Explanations:
    """What the methods say of the latents, on E notes (all of these decode many variants of every note).

    Attributes:
      groups: instruments [E].
      ablations: by baseline. perturbations: by unit. shapley: by (measure, baseline).
    """

    groups: np.ndarray
    ablations: Mapping[str, Ablation]
    perturbations: Mapping[str, Perturbation]
    sensitivity: Sensitivity
    shapley: Mapping[tuple[str, str], Attribution]
    sage: Sage
    gradients: Attribution
    directions: DirectionEffects | None

    @functools.cached_property
    def agreement(self) -> Agreement:
        """Between all methods' `importances`."""
        return agreement(importances(self))


HARMONIC = "f0 and harmonics"


@dataclasses.dataclass(frozen=True)
class Analysis:
    """Everything that `experiments.analyze` found.

    Attributes:
      name: of the run. model: in words. notes: what was analysed, in words.
      latents: [M, D]; labels: [M] arrays by name, text and numbers.
      quality, box, classes (by label), ranges, correlations (by method), maps (by method).
      explanations: None where no latent is active; then `why_not` says why.
      active: [D] bool.
      pictures: what the features are in words: "f0 and harmonics", as the paper's, or others.
    """

    name: str
    model: str
    notes: str
    latents: np.ndarray
    labels: Mapping[str, np.ndarray]
    quality: Quality
    box: BoxPlot
    active: np.ndarray
    classes: Mapping[str, ClassStatistics]
    ranges: RangeClasses
    correlations: Mapping[str, Correlation]
    maps: Mapping[str, Projection]
    explanations: Explanations | None
    why_not: str
    pictures: str = HARMONIC

    @property
    def groups(self) -> np.ndarray:
        """Instruments [M], the unit of resampling."""
        return self.labels["instrument"]


def shown(name: str) -> str:
    """A registry name as people write it: "pca_8" is "PCA 8", "dense_vae" is "dense VAE"."""
    words = name.replace("_", " ").split(" ")
    return " ".join({"pca": "PCA", "vae": "VAE", "vq": "VQ"}.get(word, word) for word in words)


def importances(explanations: Explanations) -> dict[str, np.ndarray]:
    """One importance [D] a method, larger is more important; what `agreement` compares."""
    return {
        "one off": explanations.ablations["mean"].importance(kind="disabled").mean(0),
        "one on": explanations.ablations["mean"].importance(kind="enabled").mean(0),
        "10-60 %": explanations.perturbations["percent"].importance().mean(0),
        "+- deviations": explanations.perturbations["deviation"].importance().mean(0),
        "gradient": explanations.sensitivity.scaled.mean(0),
        "Shapley": explanations.shapley["mse", "mean"].values.mean(0),
        "SAGE": explanations.sage.values,
        "integrated gr.": explanations.gradients.values.mean(0),
    }


def verdicts(analysis: Analysis) -> Table | None:
    """The paper's verdicts beside this run's; None without explanations, or of other pictures than the paper's."""
    if analysis.explanations is None or analysis.pictures != HARMONIC:
        return None
    zero = analysis.explanations.ablations["zero"]
    return natsiou2023.verdict_table(
        box=analysis.box,
        ranks=analysis.explanations.agreement,
        best_alone=zero.importance(kind="enabled", measure="ssim").mean(0),
        least_resilient=analysis.explanations.perturbations["percent"].importance(measure="ssim").mean(0),
        mse=float(analysis.quality.scores.mse.mean()),
        ssim=float(analysis.quality.scores.ssim.mean()),
        mean_image_mse=float(analysis.quality.floors["mean_image"].mse.mean()) if analysis.quality.floors else float("nan"),
    )


def score_table(analysis: Analysis) -> Table:
    """Scores of the space and its floors."""
    rows = []
    floors = {shown(name): scores for name, scores in analysis.quality.floors.items()}
    for name, scores in {f"{analysis.name} (this run)": analysis.quality.scores, **floors}.items():
        cells = [_interval(mean_interval(x, analysis.groups)) for x in (scores.mse, scores.ssim)]
        rows.append((name, *cells[0], *cells[1]))
    columns = ("model", "mse", "mse_low", "mse_high", "ssim", "ssim_low", "ssim_high")
    return Table("scores", columns, tuple(rows), f"{analysis.quality.definition}. Intervals: 95 %, bootstrap over instruments.")


def distance_table(quality: Quality) -> Table:
    """Log-spectral distances to the recorded sound."""
    rows = tuple(
        (name.replace("_", " "), len(values), *_interval(mean_interval(values, quality.distance_groups)))
        for name, values in quality.distances.items()
    )
    caption = (
        "Log-spectral distance in dB to the recorded sound: 1024-point Hann frames, hop 256; everything under -80 dB of the "
        "recording's loudest bin counts as -80 dB."
    )
    return Table("sound_distance", ("sound", "notes", "distance_db", "low", "high"), rows, caption)


def latent_table(analysis: Analysis) -> Table:
    """Every latent of every analysed note, with its labels: for work of one's own."""
    names = [name for name in analysis.labels]
    columns = (*names, *(f"latent_{d}" for d in range(analysis.latents.shape[1])))
    labels = [analysis.labels[name].tolist() for name in names]
    rows = tuple((*label, *latent) for *label, latent in zip(*labels, analysis.latents.tolist(), strict=True))
    return Table("latents", columns, rows, "")


def tables(analysis: Analysis) -> list[Table]:
    """All tables, as they are written to tables/*.csv."""
    found = [score_table(analysis), analysis.box.table(), latent_table(analysis), analysis.ranges.table()]
    if analysis.quality.distances:
        found.append(distance_table(analysis.quality))
    found += [statistics.table(f"classes_{label}") for label, statistics in analysis.classes.items()]
    found += [correlation.table() for correlation in analysis.correlations.values()]
    for method, projection in analysis.maps.items():
        ids = analysis.labels["id"][projection.rows].tolist() if "id" in analysis.labels else projection.rows.tolist()
        rows = tuple((name, *point) for name, point in zip(ids, projection.points.tolist(), strict=True))
        found.append(Table(f"map_{method}", ("id", "x", "y"), rows))
    if (families := analysis.quality.families) is not None:
        rows = tuple((str(c), *row) for c, row in zip(families.classes, families.confusion.tolist(), strict=True))
        found.append(
            Table("family_confusion", ("truth", *map(str, families.classes)), rows, "Rows: truth; columns: 5 nearest.")
        )
    if (e := analysis.explanations) is not None:
        found += [ablation.table(e.groups) for ablation in e.ablations.values()]
        found += [perturbation.table(e.groups) for perturbation in e.perturbations.values()]
        found += [e.sensitivity.table(e.groups), e.sage.table(e.groups), e.gradients.table(e.groups)]
        found += [attribution.table(e.groups) for attribution in e.shapley.values()]
        found += [e.agreement.table(), e.agreement.rank_table()]
        if (beside := verdicts(analysis)) is not None:
            found += [beside, natsiou2023.separation_table(analysis.classes["family"])]
        if e.directions is not None:
            found.append(e.directions.table())
    return found


def results(analysis: Analysis) -> list[Result]:
    """Rows of results.json; names are stable, scripts may rely on them."""
    quality, groups = analysis.quality, analysis.groups
    set_ = analysis.notes
    rows = []

    def add(name: str, interval: Interval, definition: str, floor: float | None = None) -> None:
        rows.append(Result(name, *_interval(interval), floor, f"{definition}; {set_}"))

    mean_image = quality.floors.get("mean_image")
    for measure in ("mse", "ssim"):
        floor = None if mean_image is None else float(getattr(mean_image, measure).mean())
        definition = f"{measure.upper()} of the reconstruction, {quality.definition}; floor: the training set's mean image"
        add(f"reconstruction/{measure}", mean_interval(getattr(quality.scores, measure), groups), definition, floor)
        for name, scores in quality.floors.items():
            add(
                f"floor/{name}/{measure}",
                mean_interval(getattr(scores, measure), groups),
                f"{measure.upper()} of {name}, fitted on this scale to {quality.training_notes} training notes, "
                f"{quality.definition}",
            )
    if quality.families is not None:
        definition = (
            f"share of notes whose family the 5 nearest of {quality.training_notes} training latents name (distances in "
            "training deviations); floor: the training notes' most frequent family"
        )
        add("family/knn_accuracy", mean_interval(quality.families.correct, groups), definition, quality.families.floor)
    for name, values in quality.distances.items():
        floor = (
            float(quality.distances["mean_image"].mean())
            if "mean_image" in quality.distances and name != "mean_image"
            else None
        )
        definition = (
            f"log-spectral distance in dB of the sound ({name}) to the recording, 1024-point Hann frames, hop 256, all "
            f"under -80 dB raised to it; {COUNTED}; {len(values)} notes; floor: the mean of the training features"
        )
        add(f"sound/{name}/log_spectral_distance", mean_interval(values, quality.distance_groups), definition, floor)
    rows.append(
        Result(
            "latents/active",
            float(analysis.active.sum()),
            definition="latents whose mean varies over the set (variance above 0.01, Burda et al. 2016), of "
            f"{len(analysis.active)}; {set_}",
        )
    )
    for correlation in analysis.correlations.values():
        for n, label in enumerate(correlation.names):
            for d in range(len(correlation.value)):
                cell = (float(x[d, n]) for x in (correlation.value, correlation.low, correlation.high, correlation.floor))
                rows.append(
                    Result(
                        f"correlation/{correlation.method}/{label}/latent_{d}",
                        *cell,
                        f"{correlation.method} correlation; floor: 95th percentile of |correlation| with shuffled "
                        f"{label}; {set_}",
                    )
                )
    for label, statistics in analysis.classes.items():
        for d, value in enumerate(statistics.separation):
            rows.append(
                Result(
                    f"separation/{label}/latent_{d}",
                    float(value),
                    definition=f"share of the latent's variance that lies between classes of {label} (eta squared); {set_}",
                )
            )
    if (e := analysis.explanations) is None:
        return rows
    set_ = f"{len(e.groups)} of the notes, even over instruments, as the representation's ranges show them; {analysis.notes}"
    groups = e.groups

    def each(name: str, values: np.ndarray, definition: str) -> None:
        interval = mean_interval(values, groups)
        for d in range(values.shape[1]):
            one = Interval(*(float(x[d]) for x in (interval.value, interval.low, interval.high)), interval.groups)
            add(f"{name}/latent_{d}", one, definition)

    for baseline, ablation in e.ablations.items():
        for measure in ("mse", "ssim"):
            each(
                f"ablation/{baseline}/only/{measure}",
                getattr(ablation.enabled, measure),
                f"{measure.upper()} with this latent on, the others at their {baseline}",
            )
            each(
                f"ablation/{baseline}/without/{measure}",
                getattr(ablation.disabled, measure),
                f"{measure.upper()} with this latent at its {baseline}",
            )
    for unit, perturbation in e.perturbations.items():
        amounts = ", ".join(f"{a:g}" for a in perturbation.amounts)
        each(
            f"perturbation/{unit}/ssim_fall",
            perturbation.importance(measure="ssim"),
            f"fall of SSIM, mean over {amounts} {unit}",
        )
        each(f"perturbation/{unit}/mse_rise", perturbation.importance(), f"rise of MSE, mean over {amounts} {unit}")
    each(
        "sensitivity",
        e.sensitivity.scaled,
        "root mean square change of the features for one training deviation, by the Jacobian",
    )
    for (measure, baseline), attribution in e.shapley.items():
        each(
            f"shapley/{measure}/{baseline}",
            attribution.values,
            f"Shapley share of v = {'-MSE' if measure == 'mse' else 'SSIM'}, absent latents at their {baseline}, "
            + ("over all subsets" if attribution.errors is None else "over sampled orders"),
        )
    each("integrated_gradients/mse/mean", e.gradients.values, "Integrated Gradients of v = -MSE from the mean latent")
    each(
        "sage",
        e.sage.shares,
        "SAGE: fall of the expected MSE, unknown latents drawn from the notes analysed ("
        f"{e.sage.background} draws averaged, which makes shares up to 1/{e.sage.background} too large)",
    )
    residual = float(np.abs(e.gradients.residual()).mean() / max(np.abs(e.gradients.full - e.gradients.none).mean(), 1e-12))
    rows.append(
        Result(
            "integrated_gradients/mse/mean/residual",
            residual,
            definition="mean |sum of shares - difference| over mean |difference|: error of the quadrature",
        )
    )
    rows.append(
        Result(
            "agreement",
            e.agreement.mean(),
            definition=f"mean rank correlation between the importances of {len(e.agreement.names)} methods",
        )
    )
    return rows


def _interval(interval: Interval) -> tuple[float, float, float]:
    return float(interval.value), float(interval.low), float(interval.high)
