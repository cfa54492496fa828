"""Modes of generation in series spaces, for sounds of any length.

The decoder is conditioned on the level curve of the input. `convert` also adjusts the level of the result, frame by frame,
to that of the input (`match_level`).
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
from timbre_jax.generation.axes import Axes, measure_axes
from timbre_jax.generation.edits import Edit, apply_edits, make_edit, read_edits
from timbre_jax.generation.generated_sound import Generated, GeneratedSound, SkippedInput
from timbre_jax.generation.interpolation import even_mixes
from timbre_jax.generation.sound_files import Inputs, InputSound, remarks_of
from timbre_jax.generation.static_paths import sample_aggregate
from timbre_jax.inference.chunked import embed_long, render_long
from timbre_jax.inference.pooled import held_space, hold_points
from timbre_jax.metrics.level_curves import level_curve
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Latent

MAX_GAIN_DB = 40.0
"""Largest gain of `match_level`."""


def series_of(space: TimbreSpace, sound: InputSound) -> Latent:
    """Returns the series [1, M, D] of an input, read from its file or encoded from its sound."""
    return embed_long(space, sound.original) if sound.series is None else sound.series


def reconstruct(space: TimbreSpace, inputs: Inputs, settings: modes.Reconstruct) -> Generated:
    """Yields each input and its reconstruction."""
    yield from _reconstructed(space, inputs, "reconstruction")


def convert(space: TimbreSpace, inputs: Inputs, settings: modes.Convert) -> Generated:
    """Yields each input and its conversion to the timbre of the space."""
    yield from _reconstructed(space, inputs, "converted", matched=settings.match_level)


def _reconstructed(space: TimbreSpace, inputs: Inputs, title: str, *, matched: bool = False) -> Generated:
    """Yields each input and its reconstruction, optionally with the level of the input."""
    for number, sound in enumerate(inputs):
        latent, name = series_of(space, sound), f"{number:03d}_{sound.name()}"
        wave, remarks = render_long(space, latent, samples=sound.length), sound.remarks
        source = {"file": str(sound.path)}
        if sound.series is None:
            yield GeneratedSound(f"{name}_original.wav", sound.original, source, None, remarks)
            if matched:
                wave, gain_db = match_level(wave, sound.original, hop=space.representation.hop)
                remarks = (*remarks, f"adjusted to the level of the input, by up to {gain_db:.0f} dB")
        yield GeneratedSound(f"{name}_{title}.wav", wave, source, latent, remarks)


def interpolate(space: TimbreSpace, inputs: Inputs, settings: modes.Interpolate) -> Generated:
    """Yields a sound that moves from the first input to the second, then fixed mixes.

    The mixes are on a line, on an arc (`paths.mix_spherical`) or on a path of even brightness (`even_mixes`).
    """
    first, second = paths.align(*(series_of(space, sound) for sound in inputs))
    title, count = "_to_".join(sound.name(40) for sound in inputs), first.values.shape[1]
    remarks = remarks_of(inputs) + _alignment_remark(inputs, space, count)
    ends = {"from": str(inputs[0].path), "to": str(inputs[1].path)}
    method = {"interpolation": settings.interpolation, "mixed_by": settings.mixed_by}
    mixes = [(f"interpolation_moving_{title}.wav", paths.linear_shares(count), "moves from 0 to 1 over the sound")]
    for i, share in enumerate(np.linspace(0.0, 1.0, settings.steps).tolist()):
        mixes.append((f"interpolation_{i:03d}_{title}_{round(100 * share):03d}.wav", share, share))
    crossfaded = settings.mixed_by == "crossfade"
    waves = [render_long(space, latent) for latent in (first, second)] if crossfaded else []
    even = settings.interpolation == "even" and not crossfaded
    results = even_mixes(space, first, second, [share for _, share, _ in mixes]) if even else []
    for number, (name, share, described_share) in enumerate(mixes):
        source = {**ends, "share": described_share, **method}
        if crossfaded:
            yield GeneratedSound(name, paths.crossfade(waves[0], waves[1], share), source, None, remarks)
        elif even:
            result = results[number]
            errors = {
                descriptor: {key: round(value, 4) for key, value in error.items() if np.isfinite(value)}
                for descriptor, error in result.errors().items()
            }
            yield GeneratedSound(name, result.wave, source, result.latent, remarks, {"even": errors})
        else:
            spherical = settings.interpolation == "spherical"
            mixed = paths.mix_spherical(space, first, second, share) if spherical else paths.mix(first, second, share)
            mixed = _decodable(space, mixed, settings)
            yield GeneratedSound(name, render_long(space, mixed), source, mixed, remarks)


def plane(space: TimbreSpace, inputs: Inputs, settings: modes.Plane) -> Generated:
    """Yields a bilinear mix of four inputs that moves through the points `settings.at`."""
    corners = paths.align(*(series_of(space, sound) for sound in inputs))
    count = corners[0].values.shape[1]
    latent = _decodable(space, paths.mix_corners(corners, positions_along(settings.at, count)), settings)
    source = {"corners": [str(sound.path) for sound in inputs], "at": [list(point) for point in settings.at]}
    name = f"plane_{'_'.join(sound.name(20) for sound in inputs)}.wav"
    remarks = remarks_of(inputs) + _alignment_remark(inputs, space, count)
    yield GeneratedSound(name, render_long(space, latent), source, latent, remarks)


def positions_along(at: Sequence[Sequence[float]], count: int) -> np.ndarray:
    """Returns positions [count, 2] that move through the points `at` in equal times."""
    points = np.asarray(at, np.float64)
    times, stops = np.linspace(0.0, 1.0, count), np.linspace(0.0, 1.0, len(points))
    return np.stack([np.interp(times, stops, points[:, axis]) for axis in (0, 1)], axis=1)


def edit_resources(run: Run, settings: modes.ApplyEdits) -> dict[str, Any]:
    """Reads the edits of the mode, and measures the playable axes if an edit needs them.

    Raises:
      ValueError: an edit is wrong, or the store for measuring the axes is missing.
    """
    if settings.edits is not None:
        edits = read_edits(settings.edits)
    else:
        row = {"operator": settings.operator, "amount": settings.amount, "target": settings.target}
        edits = [make_edit(row, location="--operator")]
    if not any(edit.target == "axis" for edit in edits):
        return {"edits": edits}
    return {"edits": edits, "axes": measure_axes(run.space, training_store(run), run.config["data"]["train_split"])}


def edit(
    space: TimbreSpace, inputs: Inputs, settings: modes.ApplyEdits, *, edits: Sequence[Edit], axes: Axes | None = None
) -> Generated:
    """Yields each input with the edits applied in their order."""
    applied = [{name: value for name, value in dataclasses.asdict(one).items() if name != "location"} for one in edits]
    for number, sound in enumerate(inputs):
        key = jax.random.fold_in(jax.random.key(settings.seed), number)
        try:
            latent = apply_edits(space, series_of(space, sound), edits, key=key, basis=axes)
        except ValueError as error:  # such as an edit that starts after the end of the sound
            if len(inputs) < 2:
                raise
            yield SkippedInput(sound.path, str(error))
            continue
        latent = _decodable(space, latent, settings)
        source = {"file": str(sound.path), "edits": applied, "seed": settings.seed}
        name = f"{number:03d}_{sound.name()}_edited.wav"
        yield GeneratedSound(name, render_long(space, latent), source, latent, sound.remarks)


def sample(space: TimbreSpace, inputs: Inputs, settings: modes.Sample) -> Generated:
    """Yields random sounds: points held at the median level, with slow movement around them."""
    key = jax.random.key(settings.seed)
    drawn = np.asarray(sample_aggregate(held_space(space), settings.number, key=key, spread=settings.spread))
    for i, point in enumerate(drawn):
        held = hold_points(space, point[None], seconds=settings.seconds)
        latent = _with_movement(space, held, settings.movement, jax.random.fold_in(key, i))
        source = {"drawn_from": "training", "seed": settings.seed, "draw": i, "movement": settings.movement}
        yield GeneratedSound(f"sample_{i:03d}.wav", _fade_ends(render_long(space, latent), space.sample_rate), source, latent)


def variations(space: TimbreSpace, inputs: Inputs, settings: modes.Variations) -> Generated:
    """Yields variations of each input, whose series has a constant random offset."""
    deviation = np.asarray(space.statistics["latent_std"], np.float32)
    for number, sound in enumerate(inputs):
        key, latent = jax.random.fold_in(jax.random.key(settings.seed), number), series_of(space, sound)
        for draw in range(settings.number):
            noise = np.asarray(jax.random.normal(jax.random.fold_in(key, draw), (space.latent_size,)))
            varied = _decodable(space, paths.offset(latent, settings.spread * deviation * noise), settings)
            source = {"file": str(sound.path), "spread": settings.spread, "seed": settings.seed, "draw": draw}
            name = f"{number:03d}_{sound.name()}_variation_{draw:03d}.wav"
            wave = render_long(space, varied, samples=sound.length)
            yield GeneratedSound(name, wave, source, varied, sound.remarks)


def match_level(wave: np.ndarray, reference: np.ndarray, *, hop: int) -> tuple[np.ndarray, float]:
    """Adjusts the level curve of a wave to that of a reference.

    Levels are those of `metrics.level_curves.level_curve`. Gains are at most `MAX_GAIN_DB`, linear in dB between frames,
    and 0 dB for silent frames of the wave.

    Args:
      wave: samples [T].
      reference: samples [T] whose level curve is the target.
      hop: samples per frame.

    Returns:
      The adjusted wave [T] float32, and the largest absolute gain in dB.
    """
    level, target = (level_curve(x, hop=hop) for x in (wave, reference))
    gain = np.minimum(target - level, MAX_GAIN_DB)
    gain = np.where(level <= -99.0, 0.0, gain)
    curve = np.interp(np.arange(len(wave)), hop * np.arange(len(gain)), gain)
    return (wave * 10.0 ** (curve / 20.0)).astype(np.float32), float(np.abs(gain).max())


def _decodable(space: TimbreSpace, latent: Latent, settings: modes.MixedSettings) -> Latent:
    """Returns mixed latents unchanged, or replaced by the nearest codes."""
    return paths.to_codes(space, latent) if settings.mixed_by == "codes" else latent


def _with_movement(space: TimbreSpace, latent: Latent, movement: float, key: Array) -> Latent:
    """Adds slow noise of `movement` training deviations, smoothed over 0.2 s, to a series."""
    if movement <= 0:
        return latent
    frames = max(1.0, 0.2 * latent.rate)
    noise = paths.smooth(paths.noise(latent.replace(values=np.zeros_like(latent.values)), 1.0, key=key), frames).values
    size = movement * np.asarray(space.statistics["latent_std"]) / max(float(noise.std()), 1e-6)
    return paths.offset(latent, size * noise[0])


def _alignment_remark(inputs: Inputs, space: TimbreSpace, count: int) -> tuple[str, ...]:
    """Returns a remark if inputs of different durations were stretched to `count` latents."""
    return (f"all stretched to {count / space.latent_rate:.2f} s",) if len({sound.length for sound in inputs}) > 1 else ()


def _fade_ends(wave: np.ndarray, rate: int, seconds: float = 0.02) -> np.ndarray:
    """Fades both ends of a wave, because a held latent would start and end with a click."""
    count = min(len(wave) // 2, round(seconds * rate))
    if not count:
        return wave
    ramp = np.linspace(0.0, 1.0, count, dtype=np.float32)
    return np.concatenate([wave[:count] * ramp, wave[count:-count], wave[-count:] * ramp[::-1]])
