"""Mode "map" of generation: sounds at points of a map. Importing this module adds it to `timbre_jax.generation.modes`."""

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
"""Distance from the nearest sound, in widths of the map, beyond which a sound is remarked to be a guess."""


def open_map(space: TimbreSpace, path: str | os.PathLike) -> tuple[SoundMap, list[str]]:
    """Opens a map in a folder or .npz, and returns it with the names of its sounds (from map.json; none without it).

    Raises:
      ValueError: no map, or one of another space.
    """
    path = Path(path)
    sound_map = load_map(path if path.suffix == ".npz" else path / "map.npz")
    if sound_map.settings.get("space") != space_digest(space):
        run = sound_map.settings.get("run")
        raise ValueError(f"{path} was made from another space than the run's ({run}): make the map again")
    try:
        document = json.loads(((path.parent if path.suffix == ".npz" else path) / "map.json").read_text(encoding="utf-8"))
        names = [str(sound["id"]) for sound in document["sounds"]]
    except (OSError, ValueError, KeyError, TypeError):
        names = []
    return sound_map, names if len(names) == len(sound_map.coordinates) else []


def map_resources(run: Run, settings: MapPoints) -> dict[str, Any]:
    """Returns the arguments of `map_points` that do not come from the inputs: the map and the names of its sounds."""
    sound_map, names = open_map(run.space, settings.map)
    return {"sound_map": sound_map, "names": names}


def map_points(
    space: TimbreSpace, inputs: Inputs, settings: MapPoints, *, sound_map: SoundMap, names: Sequence[str] = ()
) -> Generated:
    """Yields sounds at points of a map whose sounds have names [P] (or none)."""
    latents, distances = sound_map.inverse(settings.at)
    nearest = sound_map.inverse.nearest(settings.at)
    for i, (latent, wave) in enumerate(zip(latents, render_values(space, latents), strict=True)):
        (x, y), distance = settings.at[i], float(distances[i])
        source = {"map": str(settings.map), "x": x, "y": y, "distance": distance, "nearest_row": int(nearest[i])}
        if names:
            source["nearest"] = names[nearest[i]]
        remarks = (f"{distance:.2f} of the map's width from the nearest sound: a guess",) if distance > FAR else ()
        yield GeneratedSound(f"map_{i:03d}_at_{x:.3f}_{y:.3f}.wav", wave, source, np.asarray(latent), remarks)


add_mode(Mode(MapPoints, static=map_points, resources=map_resources))
