"""Modes of generation in a space with one latent a frame: sounds of any length, whose series are written beside them.

Levels: the decoder takes the level curve of the sound that its latents came from as a condition. `convert` also turns the
result up and down, frame by frame, until its level curve is the input's (`match_level`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from timbre_jax.evaluation.runs import Run, training_store
from timbre_jax.generation import series_paths as paths
from timbre_jax.generation import settings as modes
from timbre_jax.generation.axes import Axes, axes_of
from timbre_jax.generation.edits import Edit, apply_edits, make_edit, read_edits
from timbre_jax.generation.generated_sound import Generated, GeneratedSound, SkippedInput
from timbre_jax.generation.interpolation import even_mixes
from timbre_jax.generation.sound_files import Inputs, InputSound, remarks_of
from timbre_jax.generation.static_paths import sample_aggregate
from timbre_jax.inference.chunked import embed_long, render_long
from timbre_jax.inference.pooled import held, held_space
from timbre_jax.metrics.level_curves import level_curve
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Latent

LARGEST_GAIN_DB = 40.0


def series_of(space: TimbreSpace, sound: InputSound) -> Latent:
    """Returns the series [1, M, D] of an input: encoded from a sound, or as it was read."""
    return embed_long(space, sound.original) if sound.series is None else sound.series


def reconstruct(space: TimbreSpace, inputs: Inputs, settings: modes.Reconstruct) -> Generated:
    """Yields each input and its reconstruction."""
    yield from _reconstructed(space, inputs, "reconstruction")


def convert(space: TimbreSpace, inputs: Inputs, settings: modes.Convert) -> Generated:
    """Yields each input and its conversion: its timbre passes through the latents, its timing and level stay."""
    yield from _reconstructed(space, inputs, "converted", matched=settings.match_level)


def _reconstructed(space: TimbreSpace, inputs: Inputs, title: str, *, matched: bool = False) -> Generated:
    """Yields each sound and its reconstruction, if asked with the level curve of the sound."""
    for number, sound in enumerate(inputs):
        latent, name = series_of(space, sound), f"{number:03d}_{sound.name()}"
        wave, remarks = render_long(space, latent, samples=sound.length), sound.remarks
        source = {"file": str(sound.path)}
        if sound.series is None:
            yield GeneratedSound(f"{name}_original.wav", sound.original, source, None, remarks)
            if matched:
                wave, most = match_level(wave, sound.original, hop=space.representation.hop)
                remarks = (*remarks, f"brought to the input's level, by up to {most:.0f} dB")
        yield GeneratedSound(f"{name}_{title}.wav", wave, source, latent, remarks)


def interpolate(space: TimbreSpace, inputs: Inputs, settings: modes.Interpolate) -> Generated:
    """Yields a sound that moves from the first input to the second, then `steps` fixed mixes.

    The mixes lie on a line, on the arc (`paths.mix_spherical`), or on a path of even brightness (`even_mixes`).
    """
    first, second = paths.align(*(series_of(space, sound) for sound in inputs))
    title, count = "_to_".join(sound.name(40) for sound in inputs), first.values.shape[1]
    remarks = remarks_of(inputs) + _aligned(inputs, space, count)
    way = {"interpolation": settings.interpolation, "mixed_by": settings.mixed_by}
    ends = {"from": str(inputs[0].path), "to": str(inputs[1].path)}
    shares = np.linspace(0.0, 1.0, settings.steps).tolist()
    moving = (f"interpolation_moving_{title}.wav", paths.moving_share(count), "moves from 0 to 1 in the time of the sound")
    fixed = [(f"interpolation_{i:03d}_{title}_{round(100 * s):03d}.wav", s, s) for i, s in enumerate(shares)]
    faded = [render_long(space, latent) for latent in (first, second)] if settings.mixed_by == "crossfade" else []
    even = settings.interpolation == "even" and not faded
    bent = even_mixes(space, first, second, [share for _, share, _ in (moving, *fixed)]) if even else []
    for number, (name, share, described) in enumerate((moving, *fixed)):
        source = {**ends, "share": described, **way}
        if faded:
            yield GeneratedSound(name, paths.crossfade(faded[0], faded[1], share), source, None, remarks)
        elif bent:
            errors = {
                descriptor: {key: round(value, 4) for key, value in error.items() if np.isfinite(value)}
                for descriptor, error in bent[number].errors().items()
            }
            yield GeneratedSound(name, bent[number].wave, source, bent[number].latent, remarks, {"even": errors})
        else:
            spherical = settings.interpolation == "spherical"
            mixed = paths.mix_spherical(space, first, second, share) if spherical else paths.mix(first, second, share)
            mixed = _mixed_by(space, mixed, settings)
            yield GeneratedSound(name, render_long(space, mixed), source, mixed, remarks)


def plane(space: TimbreSpace, inputs: Inputs, settings: modes.Plane) -> Generated:
    """Yields the bilinear mix of four sounds along the way through `at`: one point is a fixed mix, several pass in time."""
    corners = paths.align(*(series_of(space, sound) for sound in inputs))
    count = corners[0].values.shape[1]
    latent = _mixed_by(space, paths.plane(corners, positions_along(settings.at, count)), settings)
    source = {"corners": [str(sound.path) for sound in inputs], "at": [list(point) for point in settings.at]}
    name = f"plane_{'_'.join(sound.name(20) for sound in inputs)}.wav"
    remarks = remarks_of(inputs) + _aligned(inputs, space, count)
    yield GeneratedSound(name, render_long(space, latent), source, latent, remarks)


def positions_along(at: Sequence[Sequence[float]], count: int) -> np.ndarray:
    """Returns points of the plane [count, 2] at even times along the way through `at`, straight between."""
    places = np.asarray(at, np.float64)
    time, stops = np.linspace(0.0, 1.0, count), np.linspace(0.0, 1.0, len(places))
    return np.stack([np.interp(time, stops, places[:, axis]) for axis in (0, 1)], axis=1)


def edit_resources(run: Run, settings: modes.ApplyEdits) -> dict[str, Any]:
    """Returns the arguments of `edit` that do not come from the inputs: the edits, and axes if one of them names an axis.

    Raises:
      ValueError: edits that make no sense, or the store that the axes are measured on is gone.
    """
    if settings.edits is not None:
        edits = read_edits(settings.edits)
    else:
        row = {"operator": settings.operator, "amount": settings.amount, "what": settings.what}
        edits = [make_edit(row, place="--operator")]
    if not any(edit.what == "axis" for edit in edits):
        return {"edits": edits}
    return {"edits": edits, "axes": axes_of(run.space, training_store(run), run.config["data"]["train_split"])}


def edit(
    space: TimbreSpace, inputs: Inputs, settings: modes.ApplyEdits, *, edits: Sequence[Edit], axes: Axes | None = None
) -> Generated:
    """Yields each input with the edits applied, one after another."""
    applied = [{name: value for name, value in dataclasses.asdict(one).items() if name != "place"} for one in edits]
    for number, sound in enumerate(inputs):
        key = jax.random.fold_in(jax.random.key(settings.seed), number)
        try:
            latent = apply_edits(space, series_of(space, sound), edits, key=key, basis=axes)
        except ValueError as error:  # an edit that begins behind the end of one of several
            if len(inputs) < 2:
                raise
            yield SkippedInput(sound.path, str(error))
            continue
        latent = _mixed_by(space, latent, settings)
        source = {"file": str(sound.path), "edits": applied, "seed": settings.seed}
        name = f"{number:03d}_{sound.name()}_edited.wav"
        yield GeneratedSound(name, render_long(space, latent), source, latent, sound.remarks)


def sample(space: TimbreSpace, inputs: Inputs, settings: modes.Sample) -> Generated:
    """Yields points like those of the training set, held at the median level, with a slow movement around them."""
    key = jax.random.key(settings.seed)
    drawn = np.asarray(sample_aggregate(held_space(space), settings.number, key=key, spread=settings.spread))
    for i, point in enumerate(drawn):
        still = held(space, point[None], seconds=settings.seconds)
        latent = _moved(space, still, settings.movement, jax.random.fold_in(key, i))
        source = {"drawn_from": "training", "seed": settings.seed, "draw": i, "movement": settings.movement}
        yield GeneratedSound(f"sample_{i:03d}.wav", _faded(render_long(space, latent), space.sample_rate), source, latent)


def variations(space: TimbreSpace, inputs: Inputs, settings: modes.Variations) -> Generated:
    """Yields each input's movement around another point: its series, `spread` training deviations away."""
    deviation = np.asarray(space.statistics["latent_std"], np.float32)
    for number, sound in enumerate(inputs):
        key, latent = jax.random.fold_in(jax.random.key(settings.seed), number), series_of(space, sound)
        for draw in range(settings.number):
            noise = np.asarray(jax.random.normal(jax.random.fold_in(key, draw), (space.latent_size,)))
            varied = _mixed_by(space, paths.offset(latent, settings.spread * deviation * noise), settings)
            source = {"file": str(sound.path), "spread": settings.spread, "seed": settings.seed, "draw": draw}
            name = f"{number:03d}_{sound.name()}_variation_{draw:03d}.wav"
            wave = render_long(space, varied, samples=sound.length)
            yield GeneratedSound(name, wave, source, varied, sound.remarks)


def match_level(wave: np.ndarray, reference: np.ndarray, *, hop: int) -> tuple[np.ndarray, float]:
    """Returns a wave [T] with the level curve of a reference [T], and the largest gain used in dB.

    Levels are those of `metrics.level_curves.level_curve`; gains are linear in dB between frames; nothing is turned up
    by more than 40 dB. Where the wave is silent there is nothing to turn up; where the reference is, the wave fades.
    """
    ours, theirs = (level_curve(x, hop=hop) for x in (wave, reference))
    gain = np.minimum(theirs - ours, LARGEST_GAIN_DB)
    gain = np.where(ours <= -99.0, 0.0, gain)
    curve = np.interp(np.arange(len(wave)), hop * np.arange(len(gain)), gain)
    return (wave * 10.0 ** (curve / 20.0)).astype(np.float32), float(np.abs(gain).max())


def _mixed_by(space: TimbreSpace, latent: Latent, settings: modes.MixedSettings) -> Latent:
    """Returns latents between codes as they are, or replaced by the nearest codes."""
    return paths.to_codes(space, latent) if settings.mixed_by == "codes" else latent


def _moved(space: TimbreSpace, latent: Latent, movement: float, key: Array) -> Latent:
    """Returns a series plus noise that is smoothed over a fifth of a second, of `movement` training deviations."""
    if movement <= 0:
        return latent
    frames = max(1.0, 0.2 * latent.rate)
    drawn = paths.smooth(paths.noise(latent.replace(values=np.zeros_like(latent.values)), 1.0, key=key), frames).values
    size = movement * np.asarray(space.statistics["latent_std"]) / max(float(drawn.std()), 1e-6)
    return paths.offset(latent, size * drawn[0])


def _aligned(inputs: Inputs, space: TimbreSpace, count: int) -> tuple[str, ...]:
    return (
        (f"all stretched to {count / space.latent_rate:.2f} s, end to end",)
        if len({sound.length for sound in inputs}) > 1
        else ()
    )


def _faded(wave: np.ndarray, rate: int, seconds: float = 0.02) -> np.ndarray:
    """Returns a wave with its ends faded, so that a held latent does not begin and end with a click."""
    count = min(len(wave) // 2, round(seconds * rate))
    if not count:
        return wave
    ramp = np.linspace(0.0, 1.0, count, dtype=np.float32)
    return np.concatenate([wave[:count] * ramp, wave[count:-count], wave[-count:] * ramp[::-1]])
