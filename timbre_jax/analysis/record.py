"""Records that `analyze_static` and `analyze_series` return and `timbre_jax.report` shows."""

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
      ablations: ablations by baseline.
      perturbations: perturbations by unit.
      sensitivity: gradients of the decoder.
      gradients: Integrated Gradients of v = -MSE from the mean latent.
      shapley: Shapley values by (measure, baseline); empty if not computed.
      sage: SAGE values; None if not computed.
      directions: effects on pitch, level and brightness; None unless the features are f0 and harmonics.
      seconds: length of the decoded part of each sound; None for the whole sound.
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
        """Importances [D] by method; larger is more important."""
        ablation = self.ablations["mean"]
        importances = {
            "ablation, one disabled": ablation.importance(kind="disabled").mean(0),
            "ablation, one enabled": ablation.importance(kind="enabled").mean(0),
        }
        for unit in ("percent", "deviation"):
            if unit in self.perturbations:
                importances[f"perturbation, {unit}"] = self.perturbations[unit].importance().mean(0)
        importances["gradient"] = self.sensitivity.scaled.mean(0)
        if ("mse", "mean") in self.shapley:
            importances["Shapley values"] = self.shapley["mse", "mean"].values.mean(0)
        if self.sage is not None:
            importances["SAGE"] = self.sage.values
        return {**importances, "Integrated Gradients": self.gradients.values.mean(0)}

    @functools.cached_property
    def agreement(self) -> Agreement:
        """Rank correlations between the importances of the methods."""
        return agreement(self.importances)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Analysis:
    """Results for M sounds in a space with D latents, common to static and series spaces.

    Attributes:
      name: name of the space or its run.
      model: description of the model and its features.
      description: description of the analyzed sounds.
      points: one latent [M, D] for each sound; in a series space the mean weighted by amplitude.
      labels: arrays [M] of text or numbers by name.
      box: distribution of the latents.
      maps: projections of the points by method.
      correlations: correlations with known numbers by method.
      explanations: explanations of the latents; None if there are none, for the reason in `no_explanations_reason`.
      no_explanations_reason: one paragraph, or "".
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
    no_explanations_reason: str = ""

    @property
    def groups(self) -> np.ndarray:
        """Instruments or recordings [M], the unit of resampling."""
        return self.labels["instrument"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureQuality:
    """Reconstruction quality of a static space on M sounds, with baselines.

    Attributes:
      definition: definition of MSE and SSIM.
      scores: scores of the space.
      baselines: scores of baseline models on the same sounds, by name ("mean_image", "pca_8").
      families: kNN accuracy of the instrument family from the latents; None without training sounds.
      distances: log-spectral distances [n] to the recording in dB, by name ("reconstruction", "representation" for analysis
        and synthesis without the model, "mean_image").
      distance_groups: instruments [n] of the distances.
      training_notes: number of training sounds that the baselines are fitted to; 0 without training sounds.
    """

    definition: str
    scores: Scores
    baselines: Mapping[str, Scores]
    families: NeighborAccuracy | None
    distances: Mapping[str, np.ndarray]
    distance_groups: np.ndarray
    training_notes: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class StaticAnalysis(Analysis):
    """Analysis of a space with one latent for each sound.

    Attributes:
      quality: reconstruction quality.
      active: [D] bool, latents that vary over the sounds.
      classes: statistics of the classes by label.
      ranges: distribution of the families over ranges of every latent.
      is_harmonic: whether the features are f0 and harmonics; otherwise they are a spectrogram.
    """

    quality: FeatureQuality
    active: np.ndarray
    classes: Mapping[str, ClassStatistics]
    ranges: RangeClasses
    is_harmonic: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoundQuality:
    """Distances of decoded sounds to the recordings.

    Attributes:
      measures: definitions of the distances.
      pairs: distances [n] by sound ("reconstruction", "representation" for analysis and synthesis without the model) and
        measure.
      groups: recordings [n].
    """

    measures: Sequence[PairMeasure]
    pairs: Mapping[str, Mapping[str, np.ndarray]]
    groups: np.ndarray

    def interval(self, sound: str, measure: str) -> tuple[Interval, int]:
        """Returns the mean of a measure over the sounds for which it is defined, and their number."""
        values = self.pairs[sound][measure]
        defined = np.isfinite(values)
        if not defined.any():
            return Interval(float("nan"), float("nan"), float("nan"), 0), 0
        return mean_interval(values[defined], self.groups[defined]), int(defined.sum())


@dataclasses.dataclass(frozen=True)
class Codes:
    """Codes of a discrete space and their use.

    Attributes:
      uses: frequency of the codes in the sounds.
      table: descriptors of each code of the first codebook, decoded alone.
      plane: PCA [K, 2] of the code vectors.
      explained: share of their variance in the plane.
    """

    uses: CodeUses
    table: CodeTable
    plane: np.ndarray
    explained: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeriesAnalysis(Analysis):
    """Analysis of a space with a latent for each frame.

    Attributes:
      quality: reconstruction quality.
      statistics: movement of the latents, or of the first latent axes if there are many latents.
      axes: latent axes (PCA of the frames); `correlations` are between these axes and descriptors of the same frames.
      codes: codes of a discrete space; None for a continuous one.
      moving: "latent" or "axis", the quantity that `statistics` and `box` describe.
      probe: results of the invariance probe at the end of training; empty if there are none.
    """

    quality: SoundQuality
    statistics: SeriesStatistics
    axes: Axes
    codes: Codes | None = None
    moving: str = "latent"
    probe: Sequence[Result] = ()


Waves = Sequence[tuple[str, Mapping[str, np.ndarray]]]
"""Sounds to play: (title, waves [T] by label)."""


@dataclasses.dataclass(frozen=True)
class SoundCurves:
    """Curves of a sound and of its reconstruction over time.

    Attributes:
      axes: first latent axes [N, A] of the sound.
      level: A-weighted level [2, N] in dB.
      pitch: f0 [2, N] in Hz; nan for unvoiced frames.
      seconds: length of the sound.
    """

    axes: np.ndarray
    level: np.ndarray
    pitch: np.ndarray
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples:
    """Waves and images of a few of the analyzed sounds.

    Attributes:
      sample_rate: sample rate of all waves in Hz.
      sounds: "original", "representation", "reconstruction" and ablations of each sound.
      sweeps: sounds along every latent, axis or descriptor of the codes.
      images: images [N, F] on the common scale: "reconstructions" in pairs, and "ablations" of one sound.
      seconds: length of the images; None if it varies.
      curves: curves of each sound of a series space.
    """

    sample_rate: int
    sounds: Waves
    sweeps: Waves
    images: Mapping[str, Sequence[tuple[str, np.ndarray]]] = dataclasses.field(default_factory=dict)
    seconds: float | None = None
    curves: Sequence[SoundCurves] = ()
