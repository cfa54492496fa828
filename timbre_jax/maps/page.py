"""Page of a map: sounds in the plane to hover over and to click. As a file it contains sounds; served, it asks for new ones."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import soundfile

from timbre_jax.maps.library import RunMap
from timbre_jax.maps.sound_map import SoundMap
from timbre_jax.report.players import data_uri, wav_bytes
from timbre_jax.report.plots import CLASS_COLORS
from timbre_jax.report.spectrogram import spectrogram_image
from timbre_jax.report.templates import render
from timbre_jax.version import __version__

TILE_ROWS, TILE_COLUMNS = 42, 54


def class_colors(labels: Sequence[str] | np.ndarray) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Returns the classes of labels [M] by name, with color and count, and the class of each label, [M]."""
    names, ids, counts = np.unique(np.asarray(labels, np.str_), return_inverse=True, return_counts=True)
    classes = [
        {"name": str(name) or "unlabeled", "color": CLASS_COLORS[i % len(CLASS_COLORS)], "count": int(count)}
        for i, (name, count) in enumerate(zip(names, counts, strict=True))
    ]
    return classes, ids.reshape(-1)


def compressed_uri(wave: np.ndarray, sample_rate: int, *, seconds: float = 2.0) -> str:
    """Returns a sound [T] as an MP3 data address, cut to `seconds` with a fade; as wav if MP3 cannot be written."""
    data = wav_bytes(wave, sample_rate, seconds=seconds)
    samples, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    buffer = io.BytesIO()
    try:
        soundfile.write(buffer, samples, sample_rate, format="MP3")
    except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError):
        return data_uri(data, "audio/wav")
    return data_uri(buffer.getvalue(), "audio/mpeg")


def encoded(image: np.ndarray) -> str:
    """Returns a uint8 picture as base64."""
    return base64.b64encode(np.ascontiguousarray(image, np.uint8).tobytes()).decode("ascii")


def grid_tiles(points: np.ndarray, distances: np.ndarray, waves: np.ndarray, sample_rate: int, *, audio: bool) -> dict:
    """Returns the grid of decoded sounds for the page.

    Args:
      points: [G, 2], the tiles' places on the map, row by row from the top left.
      distances: [G], to the nearest library sound, in map units.
      waves: [G, T].
      sample_rate: of the waves, in Hz.
      audio: whether the page contains the sounds too.
    """
    tiles = []
    for (x, y), distance, wave in zip(points.tolist(), distances.tolist(), waves, strict=True):
        picture = encoded(spectrogram_image(wave, sample_rate, rows=TILE_ROWS, columns=TILE_COLUMNS))
        tile = {"x": x, "y": y, "distance": distance, "picture": picture}
        tiles.append({**tile, "audio": compressed_uri(wave, sample_rate)} if audio else tile)
    return {"size": round(len(tiles) ** 0.5), "rows": TILE_ROWS, "columns": TILE_COLUMNS, "tiles": tiles}


def run_page(run_map: RunMap, *, grid: dict | None = None, audio: Mapping[int, str] | None = None, served: bool = False) -> str:
    """Returns the HTML of a run's map.

    Args:
      run_map: the map.
      grid: from `grid_tiles`.
      audio: data addresses of library sounds by row; None: the page needs none.
      served: see `map_page`.
    """
    run, library, sound_map = run_map.run, run_map.library, run_map.sound_map
    classes, ids = class_colors(library.classes)
    sounds = []
    for row, (x, y) in enumerate(sound_map.coordinates.tolist()):
        sound = {"name": str(library.ids[row]), "x": x, "y": y, "class": int(ids[row])}
        if library.agreement is not None:
            sound["agreement"] = round(float(library.agreement[row]), 3)
        if audio and row in audio:
            sound["audio"] = audio[row]
        sounds.append(sound)
    partly = audio is not None and len(audio) < len(library)
    held = f" This page holds the sounds of {len(audio or ())} of them." if partly else ""
    return map_page(
        f"Map of “{run.name}”",
        f"{len(library)} sounds of {library.name}, placed by {_method_name(sound_map)}.{held}",
        sounds=sounds,
        classes=classes,
        labels=run_map.labels,
        grid=grid,
        footer=f"Made by timbre_jax {__version__} from the run “{run.name}”. {_shared_places(sound_map)}",
        served=served,
    )


def _method_name(sound_map: SoundMap) -> str:
    names = {"kernel": "the kernel map", "umap": "UMAP", "tsne": "t-SNE", "pca": "PCA"}
    instead = sound_map.settings.get("placed_by")
    return names[sound_map.method] + (f" (so few that {names[instead]} placed them)" if instead else "")


def _shared_places(sound_map: SoundMap) -> str:
    count = sum(map(len, sound_map.inverse.shared.values()))
    return f"{count} sounds lie exactly on another one, which answers there (map.json names them)." if count else ""


def map_page(
    title: str,
    lead: str,
    *,
    sounds: Sequence[dict[str, Any]],
    classes: Sequence[dict[str, Any]],
    labels: Sequence[dict[str, Any]] = (),
    grid: dict | None = None,
    footer: str = "",
    served: bool = False,
) -> str:
    """Returns the HTML of a map as one file that needs no network.

    Args:
      title: heading of the page.
      lead: sentence below the heading.
      sounds: {"name", "x", "y", "class" (number of a class)} each, with "audio" (a data address) and "agreement" if known.
      classes: {"name", "color", "count"} each.
      labels: {"name", "x", "y"} each, texts on the map.
      grid: from `grid_tiles`.
      footer: last line of the page.
      served: whether a click asks the server at /sound for a new sound; otherwise it plays the nearest sound in the page.
    """
    data = {"sounds": list(sounds), "classes": list(classes), "labels": list(labels), "grid": grid, "served": served}
    # "<" as an escape: no name, whatever is in it, can end the script element.
    embedded = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return render(
        "map.html.j2",
        package="timbre_jax.maps",
        title=title,
        lead=lead,
        count=len(sounds),
        grid=grid,
        footer=footer,
        served=served,
        data=embedded,
    )
