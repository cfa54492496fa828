"""Generates sounds from a trained run and writes them with a manifest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from timbre_jax.evaluation.runs import Run, open_run
from timbre_jax.files import write_text
from timbre_jax.generation.generated_sound import GeneratedSound, SkippedInput
from timbre_jax.generation.modes import MODES
from timbre_jax.generation.series_files import write_series
from timbre_jax.generation.settings import HeldSettings, ModeSettings
from timbre_jax.generation.sound_files import read_inputs, unusable_error, write_sound
from timbre_jax.generation.static_modes import predicted_classes
from timbre_jax.inference.pooled import held_space, mean_points
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Latent
from timbre_jax.version import __version__


def generate(workdir: str | os.PathLike, out: str | os.PathLike, settings: ModeSettings) -> dict:
    """Generates sounds from a run and writes OUT/*.wav and OUT/manifest.json.

    In a series space, the latents of each sound are written as well (NAME_series.npz and .csv). Modes without a function for
    series work on points (`inference.pooled`) that are held for `settings.seconds`.

    Args:
      workdir: folder of the run.
      out: folder for the sounds. If it contains sounds of earlier calls, the manifest lists them under "earlier".
      settings: settings of a mode; their class selects the mode.

    Returns:
      The manifest: {"library", "mode", "run", "settings", "sounds": [{"file", "latent", "series", "made_from", "remarks"}],
      "errors": [{"file", "error"}]}.

    Raises:
      ValueError: the settings do not fit the run or the files, or no file can be used; in the latter case, the manifest with
        the errors is written first.
    """
    out, mode = Path(out), MODES[settings.mode]
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out={out}: is a file, expected a folder")
    paths = settings.paths()
    settings = settings.for_count(len(paths))
    earlier = _earlier_sounds(out)
    run = open_run(workdir, kind=None if mode.static else "series", why=f"--mode={settings.mode}")
    as_series = run.space.kind == "series" and mode.series is not None
    space = run.space
    if not as_series and isinstance(settings, HeldSettings):
        space = held_space(space, seconds=settings.seconds)
    settings.check_space(space)
    resources = {} if mode.resources is None else mode.resources(run, settings)
    mode_function = mode.series if as_series else mode.static
    assert mode_function is not None  # open_run refuses a static space for a mode without `static`
    inputs, errors = read_inputs(paths, space, whole=as_series)
    manifest = _manifest_header(run, space, settings) | {"sounds": [], "errors": errors}
    try:
        if len(inputs) < (len(paths) if settings.needs_all else min(1, len(paths))):
            raise unusable_error(errors)
        for sound in mode_function(space, inputs, settings, **resources):
            if isinstance(sound, SkippedInput):
                errors.append({"file": str(sound.path), "error": f"{sound.path}: {sound.error}"})
            else:
                manifest["sounds"].append(_write_sound(out, sound, space))
        if errors and not manifest["sounds"]:
            raise unusable_error(errors)
    finally:
        _write_manifest(out, manifest, earlier)
    return manifest


def _manifest_header(run: Run, space: TimbreSpace, settings: ModeSettings) -> dict:
    """Returns the entries of the manifest on the library, the run and the mode."""
    return {
        "library": f"timbre_jax {__version__}",
        "mode": settings.mode,
        "run": {
            "name": run.name,
            "workdir": str(run.workdir),
            "model": run.model,
            "kind": run.space.kind,
            "latent_size": space.latent_size,
            "representation": space.representation.name,
            "sample_rate": space.sample_rate,
        },
        "settings": settings.record(run.space.kind),
    }


def _write_sound(out: Path, sound: GeneratedSound, space: TimbreSpace) -> dict:
    """Writes a sound with its series and tables, and returns its entry in the manifest."""
    for name, table in sound.tables.items():
        write_text(out / name, table.csv())
    remarks = [*sound.remarks, *write_sound(out / sound.name, sound.wave, space.sample_rate)]
    entry = {"file": sound.name, "made_from": dict(sound.made_from), **sound.details, "remarks": remarks}
    if isinstance(sound.latent, Latent):
        entry["latent"] = np.asarray(mean_points(sound.latent)[0], float).tolist()
        entry["series"] = write_series(out / sound.name, sound.latent)
    elif sound.latent is not None:
        entry["latent"] = np.asarray(sound.latent, float).tolist()
        if classes := predicted_classes(space, space.decode(np.asarray(sound.latent)[None])):
            entry["classes"] = classes[0]
    return entry


def _earlier_sounds(out: Path) -> list[dict]:
    """Reads the sounds, each with its settings, from the manifest of an earlier call.

    Raises:
      ValueError: manifest.json is not a manifest of sounds.
    """
    try:
        text = (out / "manifest.json").read_text(encoding="utf-8")
    except OSError:
        return []
    try:
        old = json.loads(text)
        settings = {name: old[name] for name in ("mode", "run", "settings")}
        return [{**settings, **sound} for sound in old["sounds"]] + list(old.get("earlier", []))
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{out / 'manifest.json'}: not a manifest of sounds; use another --out") from None


def _write_manifest(out: Path, manifest: dict, earlier: list[dict]) -> None:
    """Writes the manifest, including the sounds of earlier calls that are still in the folder."""
    now = {sound["file"] for sound in manifest["sounds"]}
    if kept := [sound for sound in earlier if sound["file"] not in now and (out / sound["file"]).is_file()]:
        manifest["earlier"] = kept
    write_text(out / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
