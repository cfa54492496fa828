"""Analysis of series spaces: quality, movement, latent axes, codes and explanations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.analysis.correlation import Correlation, correlation
from timbre_jax.analysis.explanations import explain
from timbre_jax.analysis.record import Codes, Explanations, SeriesAnalysis, SoundQuality
from timbre_jax.analysis.series_statistics import series_statistics
from timbre_jax.analysis.static import DISTANCE_SOUNDS, project
from timbre_jax.analysis.statistics import box_plot
from timbre_jax.analysis.words import describe_sounds, describe_space
from timbre_jax.evaluation.runs import even_choice
from timbre_jax.evaluation.sounds import Sounds
from timbre_jax.generation.axes import fit_axes
from timbre_jax.generation.control.code_table import code_table
from timbre_jax.generation.control.results import measure
from timbre_jax.inference.batched import encode_features, map_batches, take
from timbre_jax.inference.pooled import held_space, level_name, mean_points
from timbre_jax.inference.rendering import fit_length, resynthesize
from timbre_jax.metrics.codebook_usage import code_uses
from timbre_jax.metrics.sound_pairs import pair_distances, pair_measures
from timbre_jax.metrics.table import Result
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features, Latent

MEASURES = ("lsd", "stft", "mel", "level")
DESCRIPTORS = ("centroid", "bandwidth", "flatness", "rolloff", "loudness", "f0", "harmonicity")
FRAMES_CORRELATED = 4000
AXES_SHOWN = 8
MOST_SHOWN = 40
"""Largest number of latents whose movement is analyzed; for more, it is that of the first latent axes."""
HELD_FRAMES = 64
"""Frames of each sound that are decoded by methods with hundreds of variants."""


def analyze_series(
    space: TimbreSpace,
    sounds: Sounds,
    *,
    probe: Sequence[Result] = (),
    name: str = "space",
    description: str = "",
    explained: int = 64,
    seed: int = 0,
    step: Callable[[str], None] = lambda name: None,
) -> SeriesAnalysis:
    """Analyzes a series space.

    Args:
      space: a series space.
      sounds: sounds with labels; the label "instrument" names the recordings that intervals resample.
      probe: results of the invariance probe at the end of training, to be part of the record.
      name: name of the space.
      description: description of the sounds; "" for their number.
      explained: largest number of sounds for the methods that decode hundreds of variants of each.
      seed: random seed for the choice of sounds, resampling, t-SNE and sampling.
      step: called with the name of each step before it begins.
    """
    groups = sounds.labels["instrument"]
    step("latents")
    latent = encode_features(space, sounds.features, kind="series", batch_size=8)
    frames, owner = real_latents(latent)
    axes = fit_axes(frames)
    step("sounds")
    quality = _quality(space, sounds, seed=seed)
    step("descriptors")
    values, audible = frame_descriptors(space, sounds, latent.values.shape[1])
    inside = np.asarray(latent.mask) > 0
    coordinates = np.asarray(axes.to_axes(jnp.asarray(frames)))
    correlations = _correlations(coordinates, values, audible, inside, groups[owner], seed)
    weight = audible & inside
    bright = (values["centroid"] * weight).sum(1) / np.maximum(weight.sum(1), 1)
    codes, explanations, no_explanations_reason = None, None, ""
    if space.model.is_discrete:
        step("codes")
        codes = _codes(space, sounds, latent, seed)
        no_explanations_reason = (
            f"The {space.latent_size} latents of this space are coordinates of code vectors, which never change one at a time. "
            "The section on codes describes them; `generate --mode=control` plays them."
        )
    elif frames.std(0).max() < 1e-6:
        no_explanations_reason = "No latent varies: the encoder returns the same latents for every sound (posterior collapse)."
    else:
        explanations = _explanations(space, sounds, explained=explained, seed=seed, step=step)
    step("maps")
    mean = np.asarray(mean_points(jax.tree.map(np.asarray, latent)), np.float64)
    moving, series = "latent", latent
    if space.latent_size > MOST_SHOWN:
        on_axes = np.asarray(axes.to_axes(latent.values), np.float32)[..., : 2 * AXES_SHOWN]
        moving, series = "axis", latent.replace(values=on_axes)
    return SeriesAnalysis(
        name=name,
        model=describe_space(space)[1],
        description=description or describe_sounds(sounds.labels, "sounds", "recording"),
        points=mean,
        labels={**sounds.labels, "brightness_hz": bright},
        box=box_plot(real_latents(series)[0]),
        maps=project(mean, seed=seed, active=bool(np.ptp(mean) > 0)),
        correlations={} if correlations is None else {correlations.method: correlations},
        explanations=explanations,
        no_explanations_reason=no_explanations_reason,
        quality=quality,
        statistics=series_statistics(series),
        axes=axes,
        codes=codes,
        moving=moving,
        probe=probe,
    )


def real_latents(latent: Latent) -> tuple[np.ndarray, np.ndarray]:
    """Returns the latents [K, D] of all sounds without padding, and the sound [K] of each."""
    inside = np.asarray(latent.mask) > 0
    return np.asarray(latent.values, np.float64)[inside], np.nonzero(inside)[0]


def frame_descriptors(space: TimbreSpace, sounds: Sounds, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns descriptors [M, count] at the rate of the latents, and which frames are audible."""
    stride = space.model.stride

    def describe(rows: np.ndarray) -> dict[str, np.ndarray]:
        descriptors, _ = measure(space, sounds.audio(rows), DESCRIPTORS, count * stride)
        return {name: curve[:, ::stride] for name, curve in descriptors.items()}

    values = map_batches(describe, np.arange(len(sounds.labels["id"])), batch_size=16)
    level = values["loudness"]
    return values, (level > level.max(1, keepdims=True) - 50.0) & (level > -80.0)


def loudest_part(features: Features, count: int) -> Features:
    """Returns `count` frames around the loudest frame of each sound, or all of a short sound."""
    frames = features.values.shape[1]
    if frames <= count:
        return jax.tree.map(np.asarray, features)
    name = level_name(features.conditions)
    level = np.asarray(features.conditions[name]) if name else np.abs(features.values).mean(-1)
    first = np.clip(level.argmax(1) - count // 4, 0, frames - count)
    rows = np.arange(len(first))[:, None], first[:, None] + np.arange(count)
    return jax.tree.map(lambda x: np.asarray(x)[rows] if np.ndim(x) > 1 and x.shape[1] == frames else np.asarray(x), features)


def _quality(space: TimbreSpace, sounds: Sounds, *, seed: int) -> SoundQuality:
    """Returns distances of some reconstructions and resyntheses to the recordings."""
    rows = even_choice(sounds.labels["instrument"], DISTANCE_SOUNDS, seed=seed)
    resynthesized = resynthesize(space, sounds.part(rows).features)
    recorded = sounds.audio(rows)
    length = min(recorded.shape[1], resynthesized["reconstruction"].shape[1])
    ends = sounds.varying_lengths(rows, most=length)
    pairs = {
        sound: pair_distances(fit_length(wave, length), recorded[:, :length], space.sample_rate, MEASURES, lengths=ends)
        for sound, wave in resynthesized.items()
    }
    return SoundQuality(measures=pair_measures(MEASURES), pairs=pairs, groups=sounds.labels["instrument"][rows])


def _correlations(axes: np.ndarray, values, audible, inside, groups, seed: int) -> Correlation | None:
    """Correlates the first axes [K, D] with descriptors, and with pitch if 20 % are voiced."""
    flat = {name: x[inside] for name, x in values.items()}
    pitched = (flat["f0"] > 0).mean() > 0.2
    usable = audible[inside] & (flat["f0"] > 0) if pitched else audible[inside]
    names = [name for name in DESCRIPTORS if np.ptp(flat[name][usable]) > 0] if usable.any() else []
    if not pitched:
        names = [name for name in names if name not in ("f0", "harmonicity")]
    rows = np.flatnonzero(usable)
    if len(rows) < 20 or not names:
        return None
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), FRAMES_CORRELATED)).round().astype(int)]
    labels = {name: flat[name][rows] for name in names}
    return correlation(axes[rows, :AXES_SHOWN], labels, groups[rows], permutations=60, resamples=300, seed=seed)


def _codes(space: TimbreSpace, sounds: Sounds, latent: Latent, seed: int) -> Codes:
    codebooks = np.asarray(space.model.codebook(space.variables), np.float64)
    first = codebooks if codebooks.ndim == 2 else codebooks[0]
    uses = code_uses(latent, first.shape[0], sounds.labels["instrument"], seed=seed)
    table = code_table(space, names=("centroid", "bandwidth", "flatness", "rolloff", "f0"), uses=uses.counts[0])
    centered = first - first.mean(0)
    _, singular, directions = np.linalg.svd(centered, full_matrices=False)
    share = float(np.square(singular[:2]).sum() / max(np.square(singular).sum(), 1e-30))
    return Codes(uses, table, centered @ directions[:2].T, share)


def _explanations(
    space: TimbreSpace, sounds: Sounds, *, explained: int, seed: int, step: Callable[[str], None]
) -> Explanations:
    groups = sounds.labels["instrument"]
    rows = even_choice(groups, min(explained, max(8, 256 // space.latent_size)), seed=seed)
    features = loudest_part(take(sounds.features, rows), HELD_FRAMES)
    return explain(
        held_space(space),
        features,
        groups[rows],
        baselines=("mean",),
        units=("deviation",),
        steps=8,
        seconds=features.values.shape[1] / space.representation.rate,
        seed=seed,
        step=step,
    )
