"""Waves, sweeps, images and curves of a few analyzed sounds for a report."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from timbre_jax.analysis.ablation import baseline_values, masked_latents
from timbre_jax.analysis.record import Examples, SeriesAnalysis, SoundCurves, StaticAnalysis, Waves
from timbre_jax.analysis.series import AXES_SHOWN
from timbre_jax.analysis.words import distinct_labels
from timbre_jax.evaluation.runs import even_choice
from timbre_jax.evaluation.sounds import Sounds
from timbre_jax.generation.control.code_table import traversal
from timbre_jax.generation.control.results import measure
from timbre_jax.generation.static_paths import sweep
from timbre_jax.inference.batched import decode_values
from timbre_jax.inference.chunked import embed_long
from timbre_jax.inference.pooled import hold_points
from timbre_jax.inference.rendering import render_values, resynthesize, synthesize_features, without_clipping
from timbre_jax.metrics.reconstruction import common_features
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features

STEPS = 5
"""Number of sounds in a sweep."""
MOST_LATENTS = 16
"""Largest number of latents that are swept and ablated one by one for listening."""
IMAGES = 6
"""Number of sounds whose features are shown as images."""


def static_examples(space: TimbreSpace, sounds: Sounds, analysis: StaticAnalysis, *, number: int = 3) -> Examples:
    """Returns `number` sounds with their ablations, sweeps of all latents, and feature images."""
    explained = analysis.explanations is not None and space.latent_size <= MOST_LATENTS
    return Examples(
        sample_rate=space.sample_rate,
        sounds=_ablated_sounds(space, sounds, analysis, _diverse_rows(sounds, number), ablate=explained),
        sweeps=_latent_sweeps(space) if explained else [],
        images=_images(space, sounds, analysis),
        seconds=space.representation.length / space.sample_rate or None,
    )


def series_examples(space: TimbreSpace, sounds: Sounds, analysis: SeriesAnalysis, *, number: int = 3) -> Examples:
    """Returns `number` sounds with reconstructions and curves, and sweeps of axes or codes."""
    shown = _reconstructed_sounds(space, sounds, number)
    return Examples(
        sample_rate=space.sample_rate,
        sounds=shown,
        sweeps=_axis_sweeps(space, analysis) if analysis.codes is None else _code_sweeps(space, analysis.codes.table),
        curves=[_curves(space, analysis, waves["original"], waves["reconstruction"]) for _, waves in shown],
    )


def _diverse_rows(sounds: Sounds, number: int) -> np.ndarray:
    """Returns rows of sounds from different families, near MIDI pitch 60 and not soft."""
    labels = sounds.labels
    order = np.lexsort((np.abs(labels["pitch"] - 60), -np.minimum(labels["velocity"], 75)))
    _, first = np.unique(labels["family"][order], return_index=True)
    firsts = np.sort(first)
    rest = np.setdiff1d(np.arange(len(order)), firsts)
    return order[np.concatenate([firsts, rest])][:number]


def _ablated_sounds(space: TimbreSpace, sounds: Sounds, analysis: StaticAnalysis, rows: np.ndarray, *, ablate: bool) -> Waves:
    """Returns recordings, resyntheses, reconstructions and, with `ablate`, ablations."""
    if not len(rows):
        return []
    one = np.eye(space.latent_size, dtype=bool)
    masks, names = np.ones((1, space.latent_size), bool), ["reconstruction"]
    if ablate:
        masks = np.concatenate([masks, one, ~one])
        names += [f"{kind} {d}" for kind in ("only", "all but") for d in range(space.latent_size)]
    values, _ = masked_latents(analysis.points[rows].astype(np.float32), baseline_values(space, "mean"), masks)
    waves = without_clipping(render_values(space, values)).reshape(len(rows), len(masks), -1)
    recorded, resynthesis = sounds.audio(rows), without_clipping(synthesize_features(space, sounds.part(rows).features))
    return [
        (
            f"{sounds.labels['id'][row]} ({sounds.labels['family'][row]})",
            {"original": recorded[i], "representation": resynthesis[i]} | dict(zip(names, waves[i], strict=True)),
        )
        for i, row in enumerate(rows)
    ]


def _latent_sweeps(space: TimbreSpace) -> Waves:
    """Returns sounds along every latent through the mean of the training set."""
    size = space.latent_size
    middle = jnp.asarray(space.statistics["latent_mean"], jnp.float32)
    values = np.stack([np.asarray(sweep(space, middle, d, steps=STEPS)) for d in range(size)])
    waves = without_clipping(render_values(space, values.reshape(size * STEPS, -1))).reshape(size, STEPS, -1)
    return [(f"latent {d}", dict(zip(distinct_labels(values[d, :, d]), waves[d], strict=True))) for d in range(size)]


def _images(space: TimbreSpace, sounds: Sounds, analysis: StaticAnalysis) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Returns images of originals, reconstructions, and ablations of the first sound."""

    def decoded(values: np.ndarray) -> np.ndarray:
        features = decode_values(space, space.latent(jnp.asarray(values)))
        decoded_features = Features(values=jnp.asarray(features), mask=jnp.ones(features.shape[:2]))
        return np.asarray(common_features(space.representation, decoded_features).values)

    rows, pairs = _diverse_rows(sounds, IMAGES), []
    for row, image in zip(rows, decoded(analysis.points[rows]), strict=True):
        pitch, family = sounds.labels["pitch"][row], sounds.labels["family"][row]
        name = f"{family} {pitch}" if pitch >= 0 else str(family)
        pairs += [(f"{name}: original", np.asarray(sounds.target.values[row])), (f"{name}: reconstruction", image)]
    images = {"reconstructions": pairs}
    if analysis.explanations is not None:
        one = np.eye(space.latent_size, dtype=bool)[:MOST_LATENTS]
        values, _ = masked_latents(analysis.points[rows[:1]], baseline_values(space, "zero"), one)
        images["ablations"] = pairs[:2] + [(f"only latent {d}", image) for d, image in enumerate(decoded(values))]
    return images


def _reconstructed_sounds(space: TimbreSpace, sounds: Sounds, number: int) -> Waves:
    """Returns a few recordings with resynthesis and reconstruction, without padding."""
    rows = even_choice(sounds.labels["instrument"], number)
    if not len(rows):
        return []
    resynthesized, lengths = resynthesize(space, sounds.part(rows).features), sounds.lengths(rows)
    waves = {"original": sounds.audio(rows), **{name: resynthesized[name] for name in ("representation", "reconstruction")}}
    return [
        (str(sounds.labels["id"][row]), {name: without_clipping(wave[i, : lengths[i]]) for name, wave in waves.items()})
        for i, row in enumerate(rows)
    ]


def _code_sweeps(space: TimbreSpace, table) -> Waves:
    """Returns sounds that play all used codes, ordered by a descriptor."""
    sweeps = []
    for name in ("centroid", "f0"):
        if len(table.usable(name)) > 1:
            wave = np.asarray(space.render(traversal(space, table, name, seconds=4.0)))[0]
            sweeps.append((name, {"low to high": without_clipping(wave)}))
    return sweeps


def _axis_sweeps(space: TimbreSpace, analysis: SeriesAnalysis) -> Waves:
    """Returns held points along each of the first axes, with the other axes at their mean."""
    axes = analysis.axes
    count = min(AXES_SHOWN, len(axes.deviation))
    places = np.linspace(0.0, 1.0, STEPS)
    sliders = np.repeat(np.asarray(axes.to_sliders(jnp.asarray(axes.mean)))[None, None], count, 0).repeat(STEPS, 1)
    for a in range(count):
        sliders[a, :, a] = places
    values = axes.from_sliders(jnp.asarray(sliders.reshape(count * STEPS, -1)))
    waves = np.concatenate(
        [np.asarray(space.render(hold_points(space, part, seconds=0.8))) for part in jnp.split(values, count)]
    )
    waves = without_clipping(waves).reshape(count, STEPS, -1)
    return [
        (f"axis {a}", dict(zip(distinct_labels(axes.low[a] + places * (axes.high[a] - axes.low[a])), waves[a], strict=True)))
        for a in range(count)
    ]


def _curves(space: TimbreSpace, analysis: SeriesAnalysis, wave: np.ndarray, reconstruction: np.ndarray) -> SoundCurves:
    """Returns the axes of a sound over time, and level and pitch of it and its reconstruction."""
    latent = embed_long(space, wave)
    axes = np.asarray(analysis.axes.to_axes(latent.values[0]))[:, :4]
    count = -(-len(wave) // space.representation.hop)
    length = min(len(wave), len(reconstruction))
    measured, _ = measure(space, np.stack([wave[:length], reconstruction[:length]]), ("f0", "loudness"), count)
    pitch = np.where(measured["f0"] > 0, measured["f0"], np.nan)
    return SoundCurves(axes, measured["loudness"], pitch, len(wave) / space.sample_rate)
