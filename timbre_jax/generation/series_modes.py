"""What `generate` makes in a space with a latent a frame: sounds of any length; their series are written beside them.

Each mode gives (file name, wave [T], manifest entry, `Latent` or None) one by one. A series goes to NAME_series.npz (values
[M, D], the level, codes, rate) and to NAME_series.csv (seconds, level, latents) for a spreadsheet; either can be read again as
an input, in place of a sound, so that what was drawn by hand or by another program is heard.

Levels: the decoder is told the level curve of the sound that its latents came from. `convert` also turns the result up and
down, frame by frame, until its level curve is the input's (`match_level`).
"""

from __future__ import annotations

import csv
import dataclasses
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from timbre_jax.generation import series_paths as paths
from timbre_jax.generation.axes import Axes
from timbre_jax.generation.control_modes import Control, control_sounds
from timbre_jax.generation.edits import Edit, apply_edits
from timbre_jax.generation.interpolation import even_mixes
from timbre_jax.generation.sound_files import short_name
from timbre_jax.generation.static_modes import plain
from timbre_jax.inference.chunked import embed_long, render_long
from timbre_jax.inference.pooled import held, level_name, points
from timbre_jax.metrics.level_curves import level_curve
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Latent

MODES = ("reconstruct", "convert", "interpolate", "plane", "edit", "sample", "variations", "control")
ONLY = ("convert", "plane", "edit", "control")
"""Modes that a static space does not have."""
SERIES_SUFFIXES = (".npz", ".csv")
LARGEST_GAIN_DB = 40.0
Sound = tuple[str, np.ndarray, dict, Latent | None]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the flags of the same names say."""

    steps: int = 9
    interpolation: str = "linear"
    mixed_by: str = "vectors"
    at: Sequence[Sequence[float]] = ()
    edits: Sequence[Edit] = ()
    number: int = 8
    spread: float = 1.0
    seconds: float = 2.0
    movement: float = 0.3
    match_level: bool = True
    seed: int = 0
    basis: Axes | None = None
    control: Control | None = None
    out: Path = Path()
    errors: list[dict] | None = None


def make(space: TimbreSpace, mode: str, inputs: list[dict], settings: Settings) -> Iterator[Sound]:
    """The sounds of a mode.

    Raises:
      ValueError: what the space does not have, or inputs that do not fit; one line.
    """
    if settings.mixed_by == "codes" and not callable(getattr(space.model, "codebook", None)):
        raise ValueError("--mixed_by=codes needs a discrete space; this one is continuous")
    return {
        "reconstruct": reconstruct,
        "convert": convert,
        "interpolate": interpolate,
        "plane": plane,
        "edit": edit,
        "sample": lambda space, _, settings: sample(space, settings),
        "variations": variations,
        "control": _controlled,
    }[mode](space, inputs, settings)


def _controlled(space: TimbreSpace, inputs: list[dict], settings: Settings) -> Iterator[Sound]:
    return control_sounds(space, inputs, settings.control, settings.out, settings.errors)


def series_of(space: TimbreSpace, entry: dict) -> Latent:
    """The series [1, M, D] of an input: of a sound, or as it was read."""
    return entry["series"] if "series" in entry else embed_long(space, entry["wave"][: entry["length"]])


def reconstruct(space: TimbreSpace, inputs: list[dict], settings: Settings) -> Iterator[Sound]:
    for number, entry in enumerate(inputs):
        latent = series_of(space, entry)
        name, about = f"{number:03d}_{short_name(entry['path'])}", _about(entry)
        if "wave" in entry:
            yield f"{name}_original.wav", entry["wave"][: entry["length"]], dict(about), None
        yield f"{name}_reconstruction.wav", _render(space, latent, settings, entry), about, latent


def convert(space: TimbreSpace, inputs: list[dict], settings: Settings) -> Iterator[Sound]:
    """Each input as the space would say it: its timbre goes through the latents, its timing and level stay."""
    for number, entry in enumerate(inputs):
        latent = series_of(space, entry)
        wave = _render(space, latent, settings, entry)
        name, about = f"{number:03d}_{short_name(entry['path'])}", _about(entry)
        if "wave" in entry:
            original = entry["wave"][: entry["length"]]
            yield f"{name}_original.wav", original, dict(about), None
            if settings.match_level:
                wave, most = match_level(wave, original, hop=space.representation.hop)
                about["remarks"] = [*about["remarks"], f"brought to the input's level, by up to {most:.0f} dB"]
        yield f"{name}_converted.wav", wave, about, latent


def interpolate(space: TimbreSpace, inputs: list[dict], settings: Settings) -> Iterator[Sound]:
    """From one sound to the other while it sounds (z[n] = za[n] (1 - n / N) + zb[n] n / N), then `steps` fixed mixes; straight,
    along the arc (`paths.mix_spherical`), or evenly bright (`even_mixes`)."""
    first, second = paths.align(*(series_of(space, entry) for entry in inputs))
    names = [short_name(entry["path"], most=40) for entry in inputs]
    title, count = f"{names[0]}_to_{names[1]}", first.values.shape[1]
    ends = {"from": str(inputs[0]["path"]), "to": str(inputs[1]["path"])}
    remarks = _remarks(inputs) + _aligned(inputs, space, count)
    shares = np.linspace(0.0, 1.0, settings.steps).tolist()
    moving = (f"interpolation_moving_{title}.wav", paths.moving_share(count), "moves from 0 to 1 in the time of the sound")
    fixed = [(f"interpolation_{i:03d}_{title}_{round(100 * s):03d}.wav", s, s) for i, s in enumerate(shares)]
    faded = [render_long(space, latent) for latent in (first, second)] if settings.mixed_by == "crossfade" else []
    even = settings.interpolation == "even" and not faded
    bent = even_mixes(space, first, second, [share for _, share, _ in (moving, *fixed)]) if even else []
    for number, (name, share, told) in enumerate((moving, *fixed)):
        way = {"interpolation": settings.interpolation, "mixed_by": settings.mixed_by}
        about = {"made_from": {**ends, "share": told, **way}, "remarks": remarks}
        if faded:
            yield name, paths.crossfade(*faded, share), about, None
            continue
        if bent:
            about["even"] = {
                descriptor: {key: round(value, 4) for key, value in error.items() if np.isfinite(value)}
                for descriptor, error in bent[number].errors().items()
            }
            yield name, bent[number].wave, about, bent[number].latent
            continue
        spherical = settings.interpolation == "spherical"
        latent = paths.mix_spherical(space, first, second, share) if spherical else paths.mix(first, second, share)
        if settings.mixed_by == "codes":
            latent = paths.to_codes(space, latent)
        yield name, render_long(space, latent), about, latent


def plane(space: TimbreSpace, inputs: list[dict], settings: Settings) -> Iterator[Sound]:
    """The bilinear mix of four sounds, along the way through `at`: one point is a fixed mix, several are passed in time."""
    corners = paths.align(*(series_of(space, entry) for entry in inputs))
    count = corners[0].values.shape[1]
    latent = paths.plane(corners, positions_along(settings.at, count))
    if settings.mixed_by == "codes":
        latent = paths.to_codes(space, latent)
    names = [short_name(entry["path"], most=20) for entry in inputs]
    source = {"corners": [str(entry["path"]) for entry in inputs], "at": [list(point) for point in settings.at]}
    about = {"made_from": source, "remarks": _remarks(inputs) + _aligned(inputs, space, count)}
    yield f"plane_{'_'.join(names)}.wav", render_long(space, latent), about, latent


def positions_along(at: Sequence[Sequence[float]], count: int) -> np.ndarray:
    """Points of the plane [count, 2] at even times along the way through `at`, straight between."""
    at = np.asarray(at, np.float64)
    time, stops = np.linspace(0.0, 1.0, count), np.linspace(0.0, 1.0, len(at))
    return np.stack([np.interp(time, stops, at[:, axis]) for axis in (0, 1)], axis=1)


def edit(space: TimbreSpace, inputs: list[dict], settings: Settings) -> Iterator[Sound]:
    """Each input with the edits of the file made, one after another."""
    import jax

    told = [{name: value for name, value in dataclasses.asdict(one).items() if name != "place"} for one in settings.edits]
    for number, entry in enumerate(inputs):
        key = jax.random.fold_in(jax.random.key(settings.seed), number)
        try:
            latent = apply_edits(space, series_of(space, entry), settings.edits, key=key, basis=settings.basis)
        except ValueError as error:  # an edit that begins behind the end of one of several
            if settings.errors is None or len(inputs) < 2:
                raise
            settings.errors.append({"file": str(entry["path"]), "error": f"{entry['path']}: {error}"})
            continue
        if settings.mixed_by == "codes":
            latent = paths.to_codes(space, latent)
        about = _about(entry)
        about["made_from"] = {**about["made_from"], "edits": told, "seed": settings.seed}
        yield f"{number:03d}_{short_name(entry['path'])}_edited.wav", render_long(space, latent), about, latent


def sample(space: TimbreSpace, settings: Settings) -> Iterator[Sound]:
    """Points like those of the training set, held at the median level, with a slow movement around them."""
    import jax

    from timbre_jax.generation.static_paths import sample_aggregate
    from timbre_jax.inference.pooled import held_space

    key = jax.random.key(settings.seed)
    drawn = np.asarray(sample_aggregate(held_space(space), settings.number, key=key, spread=settings.spread))
    for i, point in enumerate(drawn):
        latent = _moved(space, held(space, point[None], seconds=settings.seconds), settings, jax.random.fold_in(key, i))
        source = {"drawn_from": "training", "seed": settings.seed, "draw": i, "movement": settings.movement}
        yield f"sample_{i:03d}.wav", _faded(render_long(space, latent), space.sample_rate), {"made_from": source}, latent


def variations(space: TimbreSpace, inputs: list[dict], settings: Settings) -> Iterator[Sound]:
    """Each input's movement around another point: its series, `spread` training deviations away."""
    import jax

    deviation = np.asarray(space.statistics["latent_std"], np.float32)
    for number, entry in enumerate(inputs):
        key, latent = jax.random.fold_in(jax.random.key(settings.seed), number), series_of(space, entry)
        for draw in range(settings.number):
            noise = np.asarray(jax.random.normal(jax.random.fold_in(key, draw), (space.latent_size,)))
            varied = paths.offset(latent, settings.spread * deviation * noise)
            if settings.mixed_by == "codes":
                varied = paths.to_codes(space, varied)
            about = _about(entry)
            about["made_from"] = {**about["made_from"], "spread": settings.spread, "seed": settings.seed, "draw": draw}
            name = f"{number:03d}_{short_name(entry['path'])}_variation_{draw:03d}.wav"
            yield name, _render(space, varied, settings, entry), about, varied


def _moved(space: TimbreSpace, latent: Latent, settings: Settings, key) -> Latent:
    """With slow noise of `movement` training deviations: smoothed over a fifth of a second, brought back to its size."""
    if settings.movement <= 0:
        return latent
    frames = max(1.0, 0.2 * latent.rate)
    drawn = paths.smooth(paths.noise(latent.replace(values=np.zeros_like(latent.values)), 1.0, key=key), frames).values
    size = settings.movement * np.asarray(space.statistics["latent_std"]) / max(float(drawn.std()), 1e-6)
    return paths.offset(latent, size * drawn[0])


def match_level(wave: np.ndarray, reference: np.ndarray, *, hop: int) -> tuple[np.ndarray, float]:
    """A wave [T] turned up and down until its level curve is that of the reference [T], and the largest gain used, in dB.

    Levels are those of `metrics.level_curves.level_curve`; gains are straight in dB between frames; nothing is turned up
    by more than 40 dB. Where the wave is silent there is nothing to turn up; where the reference is, the wave fades.
    """
    ours, theirs = (level_curve(x, hop=hop) for x in (wave, reference))
    gain = np.minimum(theirs - ours, LARGEST_GAIN_DB)
    gain = np.where(ours <= -99.0, 0.0, gain)
    curve = np.interp(np.arange(len(wave)), hop * np.arange(len(gain)), gain)
    return (wave * 10.0 ** (curve / 20.0)).astype(np.float32), float(np.abs(gain).max())


def playable_axes(run, edits: Sequence[Edit]) -> Axes | None:
    """The playable axes of a run's space, measured on its training store; None where no edit names an axis.

    Raises:
      ValueError: the store is not where it was.
    """
    if not any(edit.what == "axis" for edit in edits):
        return None
    from timbre_jax.evaluation.runs import training_store
    from timbre_jax.generation.axes import axes_of

    return axes_of(run.space, training_store(run), split=run.config["data"]["train_split"])


# Series as files


def write_series(path: Path, space: TimbreSpace, latent: Latent) -> list[str]:
    """NAME_series.npz and NAME_series.csv beside PATH (NAME.wav); their names."""
    from timbre_jax.files import write_text
    from timbre_jax.metrics.table import Table

    stem = path.with_suffix("").name + "_series"
    values, rate = np.asarray(latent.values[0], np.float32), float(latent.rate)
    level = level_name(latent.conditions)
    arrays = {"values": values, "rate": np.float64(rate)}
    columns, lines = ["seconds"], [np.arange(len(values)) / rate]
    if level is not None:
        curve = np.broadcast_to(np.asarray(latent.conditions[level], np.float32), (1, len(values)))[0]
        arrays[level] = curve
        columns, lines = [*columns, level], [*lines, curve]
    if latent.codes is not None:
        arrays["codes"] = np.asarray(latent.codes[0], np.int32)
        books = arrays["codes"].reshape(len(values), -1)
        columns += ["code"] if books.shape[1] == 1 else [f"code_{q}" for q in range(books.shape[1])]
        lines += list(books.T)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f"{stem}.npz"), "wb") as file:
        np.savez(file, **arrays)
    columns += [f"latent_{d}" for d in range(values.shape[1])]
    rows = tuple(zip(*(line.tolist() for line in (*lines, *values.T)), strict=True))
    write_text(path.with_name(f"{stem}.csv"), Table("series", tuple(columns), rows).csv())
    return [f"{stem}.npz", f"{stem}.csv"]


def read_series(path: Path, space: TimbreSpace) -> Latent:
    """A series [1, M, D] that `write_series` wrote, or a CSV with latent_0, latent_1 ... (and a level) in its columns.

    Raises:
      ValueError: not such a file, another number of latents than the space has, or numbers that are not finite. One line.
    """
    try:
        found = _npz_columns(path) if path.suffix.lower() == ".npz" else _csv_columns(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (OSError, KeyError, TypeError, AttributeError, EOFError, ValueError, zipfile.BadZipFile) as error:
        # A row that is too short, an array that is no archive, an empty file.
        raise ValueError(f"{path}: not a series of latents ({' '.join(str(error).split())})") from None
    values, level = found
    if level is not None and level.shape != values.shape[:1]:
        raise ValueError(f"{path}: its level {level.shape} is not one number for each of the latents {values.shape}")
    if values.ndim != 2 or not len(values) or values.shape[1] != space.latent_size:
        raise ValueError(
            f"{path}: a series of this space is [M, {space.latent_size}] with at least 1 latent, not {values.shape}"
        )
    latent = space.latent(values[None])
    name = level_name(latent.conditions)
    conditions = dict(latent.conditions)
    if level is not None and name is not None:
        conditions[name] = level[None]
    if not all(np.isfinite(np.asarray(x)).all() for x in (values, *conditions.values())):
        raise ValueError(f"{path}: some of its numbers are not finite")
    from timbre_jax.inference.pooled import latent_rate

    return latent.replace(conditions=conditions, mask=np.ones((1, len(values)), np.float32), rate=latent_rate(space))


def _npz_columns(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    with np.load(path, allow_pickle=False) as arrays:
        name = level_name(arrays.files)
        return np.asarray(arrays["values"], np.float32), None if name is None else np.asarray(arrays[name], np.float32)


def _csv_columns(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ValueError("no rows")
    size = sum(str(name).startswith("latent_") for name in rows[0])
    values = np.array([[float(row[f"latent_{d}"]) for d in range(size)] for row in rows], np.float32)
    name = level_name(rows[0])
    return values.reshape(len(rows), size), None if name is None else np.array([float(row[name]) for row in rows], np.float32)


def summary(latent: Latent) -> list[float]:
    """The point that stands for a series, for the manifest."""
    return plain(np.asarray(points(latent))[0])


def _render(space, latent: Latent, settings: Settings, entry: dict) -> np.ndarray:
    return render_long(space, latent, samples=entry.get("length"))


def _about(entry: dict) -> dict[str, Any]:
    return {"made_from": {"file": str(entry["path"])}, "remarks": list(entry["remarks"])}


def _remarks(inputs: list[dict]) -> list[str]:
    return [f"{short_name(entry['path'], most=40)}: {remark}" for entry in inputs for remark in entry["remarks"]]


def _aligned(inputs: list[dict], space: TimbreSpace, count: int) -> list[str]:
    seconds = count * getattr(space.model, "stride", 1) / space.representation.rate
    return [f"all stretched to {seconds:.2f} s, end to end"] if len({entry.get("length") for entry in inputs}) > 1 else []


def _faded(wave: np.ndarray, rate: int, seconds: float = 0.02) -> np.ndarray:
    """With its ends faded, so that what is held from nothing to nothing does not click."""
    count = min(len(wave) // 2, round(seconds * rate))
    if not count:
        return wave
    ramp = np.linspace(0.0, 1.0, count, dtype=np.float32)
    return np.concatenate([wave[:count] * ramp, wave[count:-count], wave[-count:] * ramp[::-1]])
