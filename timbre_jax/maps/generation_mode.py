"""Generation mode "map": sounds at points of a map.

Importing this module adds the mode to `timbre_jax.generation.modes`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from timbre_jax.evaluation.runs import Run
from timbre_jax.generation.generated_sound import Generated, GeneratedSound
from timbre_jax.generation.modes import Mode, add_mode
from timbre_jax.generation.sound_files import Inputs
from timbre_jax.inference.rendering import render_values
from timbre_jax.maps.settings import MapPoints
from timbre_jax.maps.sound_map import SoundMap, load_map, space_digest
from timbre_jax.space import TimbreSpace

FAR = 0.1
"""Distance to the nearest sound, in map widths, above which a sound has a remark."""


def open_map(space: TimbreSpace, path: str | os.PathLike) -> tuple[SoundMap, list[str]]:
    """Opens the map of a space.

    Args:
      space: the space that the map belongs to.
      path: folder of the map, or its .npz file.

    Returns:
      The map and the names of its sounds from map.json; no names without that file.

    Raises:
      ValueError: there is no map, or it belongs to another space.
    """
    path = Path(path)
    sound_map = load_map(path if path.suffix == ".npz" else path / "map.npz")
    if sound_map.settings.get("space") != space_digest(space):
        run = sound_map.settings.get("run")
        raise ValueError(f"{path}: belongs to another space (run {run}); create the map again with experiments/map.py")
    try:
        document = json.loads(((path.parent if path.suffix == ".npz" else path) / "map.json").read_text(encoding="utf-8"))
        names = [str(sound["id"]) for sound in document["sounds"]]
    except (OSError, ValueError, KeyError, TypeError):
        names = []
    return sound_map, names if len(names) == len(sound_map.coordinates) else []


def map_resources(run: Run, settings: MapPoints) -> dict[str, Any]:
    """Returns the map and the names of its sounds, which `map_points` takes."""
    sound_map, names = open_map(run.space, settings.map)
    return {"sound_map": sound_map, "names": names}


def map_points(
    space: TimbreSpace, inputs: Inputs, settings: MapPoints, *, sound_map: SoundMap, names: Sequence[str] = ()
) -> Generated:
    """Yields sounds at points of a map."""
    latents, distances = sound_map.inverse(settings.at)
    nearest = sound_map.inverse.nearest(settings.at)
    for i, (latent, wave) in enumerate(zip(latents, render_values(space, latents), strict=True)):
        (x, y), distance = settings.at[i], float(distances[i])
        source = {"map": str(settings.map), "x": x, "y": y, "distance": distance, "nearest_row": int(nearest[i])}
        if names:
            source["nearest"] = names[nearest[i]]
        remarks = (f"{distance:.2f} map widths from the nearest sound: extrapolated",) if distance > FAR else ()
        yield GeneratedSound(f"map_{i:03d}_at_{x:.3f}_{y:.3f}.wav", wave, source, np.asarray(latent), remarks)


add_mode(Mode(MapPoints, static=map_points, resources=map_resources))
