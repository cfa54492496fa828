"""Modes of generation in static spaces, with one latent per sound.

Each function takes the space, the inputs and its settings. Weighted sums of sounds are those of `static_paths.combine`.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from timbre_jax.generation import settings as modes
from timbre_jax.generation import static_paths as paths
from timbre_jax.generation.generated_sound import Generated, GeneratedSound
from timbre_jax.generation.sound_files import Inputs, remarks_of
from timbre_jax.inference.rendering import render_values
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features, Latent


def embed_inputs(space: TimbreSpace, inputs: Inputs) -> list[Latent]:
    """Returns the latent [1, D] of each input."""
    return [space.embed(sound.wave[None], np.array([sound.length], np.int32)) for sound in inputs]


def reconstruct(space: TimbreSpace, inputs: Inputs, settings: modes.Reconstruct) -> Generated:
    """Yields each input and its reconstruction."""
    for number, (sound, latent) in enumerate(zip(inputs, embed_inputs(space, inputs), strict=True)):
        waves = {"original": sound.original, "reconstruction": np.asarray(space.render(latent))[0]}
        for kind, wave in waves.items():
            name, source = f"{number:03d}_{sound.name()}_{kind}.wav", {"file": str(sound.path)}
            yield GeneratedSound(name, wave, source, np.asarray(latent.values[0]), sound.remarks)


def sample(space: TimbreSpace, inputs: Inputs, settings: modes.Sample) -> Generated:
    """Yields sounds of random latents."""
    key, number = jax.random.key(settings.seed), settings.number
    if settings.draw_from == "training":
        points = np.asarray(paths.sample_aggregate(space, number, key=key, spread=settings.spread))
    else:
        points = settings.spread * np.asarray(paths.sample_prior(space, number, key=key))
    for i, (point, wave) in enumerate(zip(points, render_values(space, points), strict=True)):
        source = {"drawn_from": settings.draw_from, "seed": settings.seed, "draw": i}
        yield GeneratedSound(f"sample_{i:03d}.wav", wave, source, point)


def interpolate(space: TimbreSpace, inputs: Inputs, settings: modes.Interpolate) -> Generated:
    """Yields sounds between the first input and the second, including both."""
    start, end = (np.asarray(latent.values[0]) for latent in embed_inputs(space, inputs))
    points = np.asarray(paths.interpolate(start, end, steps=settings.steps, method=settings.interpolation))
    title = "_to_".join(sound.name(40) for sound in inputs)
    for i, (point, wave) in enumerate(zip(points, render_values(space, points), strict=True)):
        share = i / (settings.steps - 1)
        source = {"from": str(inputs[0].path), "to": str(inputs[1].path), "share": share}
        name = f"interpolation_{i:03d}_{title}_{round(100 * share):03d}.wav"
        yield GeneratedSound(name, wave, source, point, remarks_of(inputs))


def sweep(space: TimbreSpace, inputs: Inputs, settings: modes.Sweep) -> Generated:
    """Yields sounds that differ from the input, or from the training mean, in one latent."""
    base, source, start = np.asarray(space.statistics["latent_mean"]), "mean of the training set", "mean"
    if inputs:
        base = np.asarray(embed_inputs(space, inputs)[0].values[0])
        source, start = str(inputs[0].path), inputs[0].name()
    latent = settings.latent
    points = np.asarray(paths.sweep(space, base, latent, steps=settings.steps))
    for i, (point, wave) in enumerate(zip(points, render_values(space, points), strict=True)):
        value = float(point[latent])
        name = f"sweep_latent_{latent}_{start}_{i:03d}_at_{value:+.2f}.wav"
        made_from = {"start": source, "latent": latent, "value": value}
        yield GeneratedSound(name, wave, made_from, point, inputs[0].remarks if inputs else ())


def variations(space: TimbreSpace, inputs: Inputs, settings: modes.Variations) -> Generated:
    """Yields sounds around each input, at a distance of `spread` training deviations."""
    for i, (sound, latent) in enumerate(zip(inputs, embed_inputs(space, inputs), strict=True)):
        key = jax.random.fold_in(jax.random.key(settings.seed), i)
        points = np.asarray(paths.vary(space, latent.values[0], settings.number, key=key, spread=settings.spread))
        for draw, (point, wave) in enumerate(zip(points, render_values(space, points), strict=True)):
            source = {"file": str(sound.path), "spread": settings.spread, "seed": settings.seed, "draw": draw}
            name = f"{i:03d}_{sound.name()}_variation_{draw:03d}.wav"
            yield GeneratedSound(name, wave, source, point, sound.remarks)


def average(space: TimbreSpace, inputs: Inputs, settings: modes.Average) -> Generated:
    """Yields the sound of the mean latent of all inputs."""
    yield _weighted_sound(space, inputs, (1.0 / len(inputs),) * len(inputs), settings.mode)


def arithmetic(space: TimbreSpace, inputs: Inputs, settings: modes.Arithmetic) -> Generated:
    """Yields the sound of the weighted sum of all latents around the training mean."""
    yield _weighted_sound(space, inputs, settings.weights, settings.mode)


def _weighted_sound(space: TimbreSpace, inputs: Inputs, weights: Sequence[float], mode: str) -> GeneratedSound:
    """Returns the sound of the weighted sum of the latents of all inputs."""
    values = np.concatenate([np.asarray(latent.values) for latent in embed_inputs(space, inputs)])
    point = np.asarray(paths.combine(space, values, np.asarray(weights)))
    names = [sound.name(24) for sound in inputs]
    terms = [{"file": str(sound.path), "weight": float(w)} for sound, w in zip(inputs, weights, strict=True)]
    signs = ["minus_" if w < 0 else ("plus_" if i else "") for i, w in enumerate(weights)]
    title = "_".join(sign + name for sign, name in zip(signs[:4], names, strict=False)) + ("_etc" if len(names) > 4 else "")
    wave = render_values(space, point[None])[0]
    return GeneratedSound(f"{mode}_{title}.wav", wave, {"terms": terms}, point, remarks_of(inputs, 24))


def predicted_classes(space: TimbreSpace, features: Features) -> list[dict] | None:
    """Predicts class probabilities of M sounds, as {kind: {class: probability}}.

    Args:
      space: timbre space.
      features: features of M sounds.

    Returns:
      One dict for each sound, or None for a space without class heads.
    """
    if not space.classes:
        return None
    predicted = {name: np.asarray(shares, float) for name, shares in space.classify(features).items()}
    return [
        {kind: dict(zip(labels, predicted[kind][row].tolist(), strict=True)) for kind, labels in space.classes.items()}
        for row in range(len(features.values))
    ]
