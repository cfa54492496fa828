"""Analysis of static spaces: quality, distribution, classes, correlations, explanations."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from timbre_jax.analysis.attribution import EXACT_UP_TO
from timbre_jax.analysis.correlation import correlation
from timbre_jax.analysis.explanations import explain
from timbre_jax.analysis.projection import Projection, pca_map, tsne_map
from timbre_jax.analysis.record import Explanations, FeatureQuality, StaticAnalysis
from timbre_jax.analysis.statistics import active_latents, box_plot, class_statistics, range_classes
from timbre_jax.analysis.words import describe_sounds, describe_space
from timbre_jax.audio.descriptors import brightness
from timbre_jax.evaluation.baselines import baseline_scores
from timbre_jax.evaluation.resynthesis import sound_distances
from timbre_jax.evaluation.runs import even_choice
from timbre_jax.evaluation.sounds import Sounds
from timbre_jax.inference.batched import encode_features, map_batches, take
from timbre_jax.metrics.knn import neighbor_accuracy
from timbre_jax.metrics.reconstruction import reconstruction_scores, score_definition
from timbre_jax.space import TimbreSpace

DISTANCE_SOUNDS = 48
"""Number of sounds whose resynthesis is compared with the recording."""
NUMBERS = ("pitch", "velocity", "brightness_hz")


def analyze_static(
    space: TimbreSpace,
    sounds: Sounds,
    *,
    training: Sounds | None = None,
    trained_on: bool = False,
    name: str = "space",
    description: str = "",
    explained: int = 64,
    seed: int = 0,
    step: Callable[[str], None] = lambda name: None,
) -> StaticAnalysis:
    """Analyzes a static space.

    Args:
      space: a static space.
      sounds: at least 5 sounds with labels.
      training: sounds of the training set, to fit baselines and for kNN accuracy; None: neither.
      trained_on: whether `sounds` are training sounds themselves, which excludes the kNN accuracy.
      name: name of the space.
      description: description of the sounds; "" for their number.
      explained: largest number of sounds for the methods that decode hundreds of variants of each.
      seed: random seed for the choice of sounds, resampling, t-SNE and sampling.
      step: called with the name of each step before it begins.
    """
    points = np.asarray(encode_features(space, sounds.features).values, np.float64)
    active = active_latents(points)
    step("scores")
    quality = _quality(space, sounds, points, training=training, trained_on=trained_on)
    step("statistics")
    labels = {**sounds.labels, "brightness_hz": _brightness(sounds, space.sample_rate)}
    # A label of -1 is unknown.
    numeric = {key: labels[key] for key in NUMBERS if labels[key].min() >= 0 and np.ptp(labels[key]) > 0}
    correlations = {
        method: correlation(points, numeric, labels["instrument"], method=method, seed=seed)
        for method in ("spearman", "pearson")
        if numeric
    }
    step("maps")
    maps = project(points, seed=seed, active=bool(active.any()))
    no_explanations_reason, explanations = "", None
    if active.any():
        explanations = _explanations(space, sounds, points, explained=explained, seed=seed, step=step)
    else:
        no_explanations_reason = (
            f"All {len(active)} latents of this space have the same value for every note ({describe_space(space)[0]}), so "
            "there is nothing to explain. This is expected of the mean image; in a VAE it is posterior collapse, caused by too "
            "high a KL weight."
        )
    return StaticAnalysis(
        name=name,
        model=describe_space(space)[1],
        description=description or describe_sounds(labels, "notes", "instrument"),
        points=points,
        labels=labels,
        box=box_plot(points),
        maps=maps,
        correlations=correlations,
        explanations=explanations,
        no_explanations_reason=no_explanations_reason,
        quality=quality,
        active=active,
        classes={key: class_statistics(points, labels[key]) for key in ("family", "instrument", "source")},
        ranges=range_classes(points, labels["family"]),
        is_harmonic=space.representation.is_harmonic,
    )


def project(points: np.ndarray, *, seed: int, active: bool) -> dict[str, Projection]:
    """Projects points [M, D] by PCA and, if latents vary over at least 5 points, by t-SNE."""
    maps = {"pca": pca_map(points)}
    if active and len(points) >= 5:
        maps["tsne"] = tsne_map(points, seed=seed)
    return maps


def _quality(
    space: TimbreSpace, sounds: Sounds, points: np.ndarray, *, training: Sounds | None, trained_on: bool
) -> FeatureQuality:
    baselines, families, mean_image = {}, None, None
    if training is not None:
        baselines = baseline_scores(training.target, sounds.target, latent_size=space.latent_size)
        mean_image = np.asarray(training.features.values).mean(0)
        if not trained_on:  # The nearest neighbor of a training sound would be the sound itself.
            latents = np.asarray(encode_features(space, training.features).values)
            families = neighbor_accuracy(latents, training.labels["family"], points.astype(np.float32), sounds.labels["family"])
    distances, rows = sound_distances(space, sounds, number=DISTANCE_SOUNDS, mean_image=mean_image)
    return FeatureQuality(
        definition=score_definition(space.representation),
        scores=reconstruction_scores(space, sounds.features, target=sounds.target),
        baselines=baselines,
        families=families,
        distances=distances,
        distance_groups=sounds.labels["instrument"][rows],
        training_notes=0 if training is None else len(training.labels["id"]),
    )


def _explanations(
    space: TimbreSpace, sounds: Sounds, points: np.ndarray, *, explained: int, seed: int, step: Callable[[str], None]
) -> Explanations:
    if space.latent_size > EXACT_UP_TO:
        # Orders are sampled instead of subsets, and each order decodes D + 1 sounds.
        explained = min(explained, max(8, 512 // space.latent_size))
    rows = even_choice(sounds.labels["instrument"], explained, seed=seed)
    groups = sounds.labels["instrument"][rows]
    return explain(space, take(sounds.features, rows), groups, background=points, seed=seed, step=step)


def _brightness(sounds: Sounds, sample_rate: int) -> np.ndarray:
    """Returns the spectral centroid [M] of every recording in Hz."""
    measure = jax.jit(lambda waves: brightness(waves, sample_rate=sample_rate))
    rows = np.arange(len(sounds.labels["id"]))
    return map_batches(lambda part: measure(sounds.audio(part)), rows, batch_size=64).astype(np.float64)
