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
from timbre_jax.maps.sound_map import METHODS, SoundMap, load_map, make_map, space_digest
from timbre_jax.settings import Settings, setting


@dataclasses.dataclass(frozen=True)
class MapSettings(Settings):
    """Settings of `make_map_of_run`."""

    workdir: str = setting(help="The run, as experiments/train.py made it.")
    out: str = setting(help="Folder for the map.")
    store: str | None = setting(None, "Library to map; by default the one the run was trained on.")
    split: str = setting("train", "Its split, several with commas, or 'all'.")
    number: int = setting(2000, "Sounds on the map, even over instruments; 0 means all.", low=0)
    method: str = setting(
        "kernel", "How sounds are placed: 'kernel' optimizes the places together with the inverse.", choices=METHODS
    )
    perplexity: float | None = setting(None, "t-SNE and kernel: neighbours that count (30).", low=1.0)
    iterations: int | None = setting(None, "t-SNE: steps (1000).", low=250)
    neighbours: int | None = setting(None, "UMAP: neighbours that count (100).", low=2)
    min_dist: float | None = setting(None, "UMAP: how close sounds may come (0.8).", low=0.0, high=1.0)
    names_from: str | None = setting(None, "A labelled store: classes of the map's sounds are borrowed from it.")
    players: int = setting(400, "Library sounds inside map.html, even over classes (10 to 20 kB each).", low=0)
    hold: float = setting(1.0, "A space with a latent a frame: seconds that a point of the map is held.", low=0.01)
    seed: int = setting(0, "Random seed of the choice of sounds and of the map.")
    progress: bool = setting(True, "Show bars.")

    @property
    def of_method(self) -> dict[str, float]:
        """The settings of the method that were given."""
        names = ("perplexity", "iterations", "neighbours", "min_dist")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def make_map_of_run(settings: MapSettings) -> RunMap:
    """Makes a map of a library in the space of a run, and writes its files.

    A map that is already in the folder and was made in the same way is used again.

    Args:
      settings: the run, the library and the method.

    Returns:
      The run, the library and the map.

    Raises:
      ValueError: no such run or store, a setting that the method lacks, latents that are not finite, or a file in place of
        the folder.
    """
    out = Path(settings.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out={out} is a file; a map needs a folder")
    run = open_run(settings.workdir, hold=settings.hold)

    def read(path: str, split: str) -> Library:
        return read_library(run, path, split=split, number=settings.number, seed=settings.seed, progress=settings.progress)

    library = read(settings.store or default_store(run), settings.split)
    if settings.names_from:
        library = borrow_classes(run, library, read(settings.names_from, "all"))
    sound_map = known_map(library, settings) or _new_map(library, settings)
    # The same points make the same map, but a map from an earlier call may name another run or an earlier form of the space.
    owner = {"run": run.name, "space": space_digest(run.space)}
    sound_map = dataclasses.replace(sound_map, settings={**sound_map.settings, **owner})
    sound_map.save(out / "map.npz")
    run_map = RunMap(run, library, sound_map)
    write_map_files(out, run_map, players=settings.players, progress=settings.progress)
    return run_map


def map_identity(library: Library, settings: MapSettings) -> str:
    """Returns a digest of latents, method, its settings and seed: the same digest is the same map."""
    text = json.dumps([settings.method, settings.of_method, settings.seed, list(library.latents.shape)], sort_keys=True)
    return hashlib.sha256(text.encode() + np.ascontiguousarray(library.latents).tobytes()).hexdigest()[:16]


def known_map(library: Library, settings: MapSettings) -> SoundMap | None:
    """Returns the map in the folder of the settings if it was made in the same way, or None."""
    try:
        sound_map = load_map(Path(settings.out) / "map.npz")
    except ValueError:
        return None
    return sound_map if sound_map.settings.get("identity") == map_identity(library, settings) else None


def _new_map(library: Library, settings: MapSettings) -> SoundMap:
    method, progress = settings.method, settings.progress
    if progress and method == "umap":
        print("importing umap-learn; the first time on a machine this takes up to a minute ...", flush=True)
    if progress and method != "pca":
        print(f"placing {len(library)} sounds ({method}) ...", flush=True)
    total = 400 if method == "kernel" else None
    with tqdm(total=total, desc="map", unit="step", disable=not (progress and total)) as bar:
        sound_map = make_map(
            library.latents, method=method, settings=settings.of_method, seed=settings.seed, progress=bar.update
        )
    return dataclasses.replace(sound_map, settings={**sound_map.settings, "identity": map_identity(library, settings)})
