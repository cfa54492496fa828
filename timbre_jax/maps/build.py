"""Map of a sound library in the space of a trained run, with its files.

make_map_of_run(MapSettings(workdir="run", out="map", method="umap"))
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from timbre_jax.evaluation.runs import default_store, open_run
from timbre_jax.maps.files import write_map_files
from timbre_jax.maps.library import Library, RunMap, borrow_classes, read_library
from timbre_jax.maps.settings import MapSettings
from timbre_jax.maps.sound_map import SoundMap, load_map, make_map, space_digest


def make_map_of_run(settings: MapSettings) -> RunMap:
    """Creates a map of a library in the space of a run and writes its files.

    An existing map of the same latents, method, settings and seed is reused.

    Args:
      settings: the run, the library and the method.

    Returns:
      The run, the library and the map.

    Raises:
      ValueError: the run, store or folder cannot be used, the method does not have a setting, or latents are not finite.
    """
    out = Path(settings.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out={out}: is a file; give a folder for the map")
    run = open_run(settings.workdir, hold=settings.hold)

    def read(path: str, split: str) -> Library:
        return read_library(run, path, split=split, number=settings.number, seed=settings.seed, progress=settings.progress)

    library = read(settings.store or default_store(run), settings.split)
    if settings.names_from:
        library = borrow_classes(run, library, read(settings.names_from, "all"))
    sound_map = known_map(library, settings) or _new_map(library, settings)
    # The file of a reused map may name another run with the same latents, or an earlier version of the space.
    owner = {"run": run.name, "space": space_digest(run.space)}
    sound_map = dataclasses.replace(sound_map, settings={**sound_map.settings, **owner})
    sound_map.save(out / "map.npz")
    run_map = RunMap(run, library, sound_map)
    write_map_files(out, run_map, players=settings.players, progress=settings.progress)
    return run_map


def map_identity(library: Library, settings: MapSettings) -> str:
    """Returns a digest of latents, method, settings and seed, which identifies a map."""
    text = json.dumps([settings.method, settings.of_method, settings.seed, list(library.latents.shape)], sort_keys=True)
    return hashlib.sha256(text.encode() + np.ascontiguousarray(library.latents).tobytes()).hexdigest()[:16]


def known_map(library: Library, settings: MapSettings) -> SoundMap | None:
    """Returns the map in the folder if it has the same identity, or None."""
    try:
        sound_map = load_map(Path(settings.out) / "map.npz")
    except ValueError:
        return None
    return sound_map if sound_map.settings.get("identity") == map_identity(library, settings) else None


def _new_map(library: Library, settings: MapSettings) -> SoundMap:
    method, progress = settings.method, settings.progress
    if progress and method == "umap":
        print("importing umap-learn (up to a minute the first time on a machine) ...", flush=True)
    if progress and method != "pca":
        print(f"computing the {method} map of {len(library)} sounds ...", flush=True)
    total = 400 if method == "kernel" else None
    with tqdm(total=total, desc="map", unit="step", disable=not (progress and total)) as bar:
        sound_map = make_map(
            library.latents, method=method, settings=settings.of_method, seed=settings.seed, progress=bar.update
        )
    return dataclasses.replace(sound_map, settings={**sound_map.settings, "identity": map_identity(library, settings)})
