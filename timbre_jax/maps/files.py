"""Files of a map: map.html, map.png, map.json, grid.png and grid/*.wav."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from timbre_jax.audio.io import write_wave
from timbre_jax.evaluation.runs import even_choice
from timbre_jax.files import write_text
from timbre_jax.inference.rendering import render_values, without_clipping
from timbre_jax.maps.figures import grid_figure, map_figure
from timbre_jax.maps.library import Library, RunMap
from timbre_jax.maps.page import compressed_uri, grid_tiles, run_page
from timbre_jax.maps.rendering import grid_points
from timbre_jax.report.plots import save_png
from timbre_jax.version import __version__

GRID = 10
"""Number of rows and columns of the grid of decoded sounds."""
_BATCH = 20


@dataclasses.dataclass(frozen=True)
class GridSounds:
    """Sounds decoded at a grid of points on a map, row by row from the top left.

    Attributes:
      points: map points [G, 2].
      latents: latents [G, D] at the points.
      distances: distances [G] to the nearest sound of the library, in map units.
      waves: [G, T] in [-1, 1].
    """

    points: np.ndarray
    latents: np.ndarray
    distances: np.ndarray
    waves: np.ndarray

    @staticmethod
    def file(number: int) -> str:
        """Returns the path of a sound relative to the folder of the map."""
        return f"grid/grid_{number // GRID:02d}_{number % GRID:02d}.wav"


def write_map_files(out: Path, run_map: RunMap, *, players: int, progress: bool) -> None:
    """Writes all files of a map except map.npz.

    Args:
      out: folder of the map.
      run_map: map of a run.
      players: number of library sounds inside map.html, even over classes.
      progress: whether to show progress bars.
    """
    library, rate = run_map.library, run_map.run.space.sample_rate
    grid = grid_sounds(run_map, progress=progress)
    for number, wave in enumerate(grid.waves):
        write_wave(out / grid.file(number), wave, rate)
    title = f"{run_map.run.name}: {run_map.sound_map.method} map"
    save_png(map_figure(run_map.sound_map.coordinates, library.classes, run_map.labels, title=title), out / "map.png")
    save_png(grid_figure(grid.waves, rate), out / "grid.png")
    write_text(out / "map.json", json.dumps(map_document(run_map, grid), indent=1) + "\n")
    audio = {}
    for row in tqdm(_rows_with_players(library, players), desc="page", unit="sound", disable=not progress):
        audio[row] = compressed_uri(library.audio(row), library.store.sample_rate)
    tiles = grid_tiles(grid.points, grid.distances, grid.waves, rate, audio=True)
    write_text(out / "map.html", run_page(run_map, grid=tiles, audio=audio))


def grid_sounds(run_map: RunMap, *, progress: bool = False) -> GridSounds:
    """Decodes the sounds at `GRID` x `GRID` points of a map."""
    points = grid_points(GRID)
    latents, distances = run_map.sound_map.inverse(points)
    waves = []
    for start in tqdm(range(0, len(points), _BATCH), desc="grid", unit_scale=_BATCH, unit="sound", disable=not progress):
        waves.append(without_clipping(render_values(run_map.run.space, latents[start : start + _BATCH])))
    return GridSounds(points, latents, distances, np.concatenate(waves))


def map_document(run_map: RunMap, grid: GridSounds) -> dict:
    """Returns the contents of map.json: sounds with class and coordinates, and the grid."""
    run, library, sound_map = run_map.run, run_map.library, run_map.sound_map
    holder, sounds = np.asarray(sound_map.inverse.holder), []
    for row, (x, y) in enumerate(sound_map.coordinates.tolist()):
        sound = {
            "id": str(library.ids[row]), "class": str(library.classes[row]), "split": str(library.splits[row]), "x": x, "y": y,
        }  # fmt: skip
        if library.agreement is not None:
            sound["agreement"] = float(library.agreement[row])
        if holder[row] != row:
            sound["answers_there"] = str(library.ids[holder[row]])
        sounds.append(sound)
    tiles = [
        {"file": grid.file(number), "x": float(x), "y": float(y), "distance": float(distance), "latent": latent.tolist()}
        for number, ((x, y), latent, distance) in enumerate(zip(grid.points, grid.latents, grid.distances, strict=True))
    ]
    return {
        "library": f"timbre_jax {__version__}",
        "run": {"name": run.name, "workdir": str(run.workdir), "model": run.model},
        "store": library.name,
        "method": sound_map.method,
        "settings": sound_map.settings,
        "explained": None if sound_map.explained is None else sound_map.explained.tolist(),
        "sounds": sounds,
        "cluster_names": run_map.labels,
        "grid": tiles,
    }


def _rows_with_players(library: Library, players: int) -> list[int]:
    return even_choice(library.classes, min(players, len(library))).tolist() if players else []
