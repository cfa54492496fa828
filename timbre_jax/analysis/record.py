"""Results of an analysis as plain data: what `analyze_static` and `analyze_series` return and `timbre_jax.report` shows."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from timbre_jax.analysis.ablation import Ablation
from timbre_jax.analysis.agreement import Agreement, agreement
from timbre_jax.analysis.attribution import Attribution
from timbre_jax.analysis.correlation import Correlation
from timbre_jax.analysis.direction import DirectionEffects
from timbre_jax.analysis.perturbation import Perturbation
from timbre_jax.analysis.projection import Projection
from timbre_jax.analysis.sage import Sage
from timbre_jax.analysis.sensitivity import Sensitivity
from timbre_jax.analysis.series_statistics import SeriesStatistics
from timbre_jax.analysis.statistics import BoxPlot, ClassStatistics, RangeClasses
from timbre_jax.generation.axes import Axes
from timbre_jax.generation.control.code_table import CodeTable
from timbre_jax.metrics.bootstrap import Interval, mean_interval
from timbre_jax.metrics.codebook_usage import CodeUses
from timbre_jax.metrics.knn import NeighborAccuracy
from timbre_jax.metrics.reconstruction import Scores
from timbre_jax.metrics.sound_pairs import PairMeasure
from timbre_jax.metrics.table import Result


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explanations:
    """Results of the methods that decode many variants of each of E sounds.

    Attributes:
      groups: instruments or recordings [E], the unit of resampling.
      ablations: by baseline.
      perturbations: by unit.
      sensitivity: gradients of the decoder.
      gradients: Integrated Gradients of v = -MSE from the mean latent.
      shapley: by (measure, baseline); empty if not computed.
      sage: None if not computed.
      directions: of f0 and harmonics; None for other features.
      seconds: length of the part of each sound that was decoded; None if it was the whole sound.
    """

    groups: np.ndarray
    ablations: Mapping[str, Ablation]
    perturbations: Mapping[str, Perturbation]
    sensitivity: Sensitivity
    gradients: Attribution
    shapley: Mapping[tuple[str, str], Attribution] = dataclasses.field(default_factory=dict)
    sage: Sage | None = None
    directions: DirectionEffects | None = None
    seconds: float | None = None

    @functools.cached_property
    def importances(self) -> dict[str, np.ndarray]:
        """One importance [D] a method, larger is more important: what `agreement` compares."""
        one = self.ablations["mean"]
        found = {"one off": one.importance(kind="disabled").mean(0), "one on": one.importance(kind="enabled").mean(0)}
        for unit, name in (("percent", "10-60 %"), ("deviation", "+- deviations")):
            if unit in self.perturbations:
                found[name] = self.perturbations[unit].importance().mean(0)
        found["gradient"] = self.sensitivity.scaled.mean(0)
        if ("mse", "mean") in self.shapley:
            found["Shapley"] = self.shapley["mse", "mean"].values.mean(0)
        if self.sage is not None:
            found["SAGE"] = self.sage.values
        return {**found, "integrated gr.": self.gradients.values.mean(0)}

    @functools.cached_property
    def agreement(self) -> Agreement:
        """Rank correlations between the methods' importances."""
        return agreement(self.importances)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Analysis:
    """Results that every space has, one point a sound; of M sounds and D latents.

    Attributes:
      name: of the space or its run.
      model: the model and its features in words.
      description: the sounds that were analyzed, in words.
      points: [M, D] latents of the sounds; of a series their mean weighted by amplitude.
      labels: [M] arrays by name, text and numbers.
      box: distribution of the latents.
      maps: projections of the points by method.
      correlations: by method.
      explanations: None if no latent can be explained; `why_not` gives the reason.
      why_not: one paragraph, or "".
    """

    name: str
    model: str
    description: str
    points: np.ndarray
    labels: Mapping[str, np.ndarray]
    box: BoxPlot
    maps: Mapping[str, Projection]
    correlations: Mapping[str, Correlation]
    explanations: Explanations | None
    why_not: str = ""

    @property
    def groups(self) -> np.ndarray:
        """Instruments or recordings [M], the unit of resampling."""
        return self.labels["instrument"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureQuality:
    """Reconstruction quality of a static space on M sounds, with baselines.

    Attributes:
      definition: of MSE and SSIM.
      scores: of the space.
      floors: scores of trivial and linear models on the same sounds, by name ("mean_image", "pca_8").
      families: kNN accuracy of the family from the latents, or None without training sounds.
      distances: log-spectral distances [n] to the recording by name ("reconstruction"; "representation": without the model;
        "mean_image").
      distance_groups: instruments [n] of those.
      training_notes: number of training sounds that the floors are fitted to; 0 if there were none.
    """

    definition: str
    scores: Scores
    floors: Mapping[str, Scores]
    families: NeighborAccuracy | None
    distances: Mapping[str, np.ndarray]
    distance_groups: np.ndarray
    training_notes: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class StaticAnalysis(Analysis):
    """Analysis of a space with one latent a sound.

    Attributes:
      quality: of reconstructions.
      active: [D] bool, latents that vary over the sounds.
      classes: statistics by label.
      ranges: families in ranges of every latent.
      is_harmonic: whether the features are f0 and harmonics; else they are a spectrogram.
    """

    quality: FeatureQuality
    active: np.ndarray
    classes: Mapping[str, ClassStatistics]
    ranges: RangeClasses
    is_harmonic: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoundQuality:
    """Distances of a space's sounds to the recordings.

    Attributes:
      measures: the distances.
      pairs: by sound ("reconstruction"; "representation": without the model) and measure, [n].
      groups: recordings [n].
    """

    measures: Sequence[PairMeasure]
    pairs: Mapping[str, Mapping[str, np.ndarray]]
    groups: np.ndarray

    def interval(self, sound: str, measure: str) -> tuple[Interval, int]:
        """Returns the mean over the sounds for which a measure is defined, and their number."""
        values = self.pairs[sound][measure]
        defined = np.isfinite(values)
        if not defined.any():
            return Interval(float("nan"), float("nan"), float("nan"), 0), 0
        return mean_interval(values[defined], self.groups[defined]), int(defined.sum())


@dataclasses.dataclass(frozen=True)
class Codes:
    """Codes of a discrete space and their use.

    Attributes:
      uses: by the sounds.
      table: descriptors of each code (of the first codebook) decoded alone.
      plane: [K, 2], PCA of the code vectors.
      explained: share of their variance in the plane.
    """

    uses: CodeUses
    table: CodeTable
    plane: np.ndarray
    explained: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeriesAnalysis(Analysis):
    """Analysis of a space with one latent a frame.

    Attributes:
      quality: of the sounds that come back.
      statistics: movement of the latents, or of the first playable axes if the latents are too many (`moving`).
      axes: playable axes, fitted to the frames analyzed; `correlations` are of these with descriptors, frame by frame.
      codes: of a discrete space.
      moving: "latent" or "axis": what `statistics` and `box` are of.
      probe: results of the invariance probe at the end of training, or ().
    """

    quality: SoundQuality
    statistics: SeriesStatistics
    axes: Axes
    codes: Codes | None = None
    moving: str = "latent"
    probe: Sequence[Result] = ()


Waves = Sequence[tuple[str, Mapping[str, np.ndarray]]]
"""Sounds to listen to: (title, waves [T] by label)."""


@dataclasses.dataclass(frozen=True)
class SoundCurves:
    """Curves of one sound and of its reconstruction over time.

    Attributes:
      axes: [N, A] first playable axes.
      level: [2, N] A-weighted dB.
      pitch: [2, N] Hz, nan where there is none.
      seconds: length of the sound.
    """

    axes: np.ndarray
    level: np.ndarray
    pitch: np.ndarray
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples:
    """Sounds and images of a few of the sounds analyzed.

    Attributes:
      sample_rate: of all waves, Hz.
      sounds: "original", "representation", "reconstruction" and ablations of each sound.
      sweeps: sounds along every latent or axis, or through the codes.
      images: feature images [N, F] on the common scale: "reconstructions" (pairs) and "ablations" of one sound.
      seconds: length of the images; None if it varies.
      curves: of each sound of a series space.
    """

    sample_rate: int
    sounds: Waves
    sweeps: Waves
    images: Mapping[str, Sequence[tuple[str, np.ndarray]]] = dataclasses.field(default_factory=dict)
    seconds: float | None = None
    curves: Sequence[SoundCurves] = ()
