"""Interactive page of a map, as a self-contained file or served with new sounds on click."""

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
    """Returns name, color and count of every class, and the class [M] of each label."""
    names, ids, counts = np.unique(np.asarray(labels, np.str_), return_inverse=True, return_counts=True)
    classes = [
        {"name": str(name) or "unlabeled", "color": CLASS_COLORS[i % len(CLASS_COLORS)], "count": int(count)}
        for i, (name, count) in enumerate(zip(names, counts, strict=True))
    ]
    return classes, ids.reshape(-1)


def compressed_uri(wave: np.ndarray, sample_rate: int, *, seconds: float = 2.0) -> str:
    """Returns a sound [T] as a data URI of an MP3 file, or of a wav file without MP3 support."""
    data = wav_bytes(wave, sample_rate, seconds=seconds)
    samples, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    buffer = io.BytesIO()
    try:
        soundfile.write(buffer, samples, sample_rate, format="MP3")
    except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError):
        return data_uri(data, "audio/wav")
    return data_uri(buffer.getvalue(), "audio/mpeg")


def base64_image(image: np.ndarray) -> str:
    """Encodes a uint8 image as base64 text."""
    return base64.b64encode(np.ascontiguousarray(image, np.uint8).tobytes()).decode("ascii")


def grid_tiles(points: np.ndarray, distances: np.ndarray, waves: np.ndarray, sample_rate: int, *, audio: bool) -> dict:
    """Returns the grid of decoded sounds for the page.

    Args:
      points: map points [G, 2] of the tiles, row by row from the top left.
      distances: distances [G] to the nearest library sound, in map units.
      waves: [G, T].
      sample_rate: in Hz.
      audio: whether the page contains the sounds.
    """
    tiles = []
    for (x, y), distance, wave in zip(points.tolist(), distances.tolist(), waves, strict=True):
        picture = base64_image(spectrogram_image(wave, sample_rate, rows=TILE_ROWS, columns=TILE_COLUMNS))
        tile = {"x": x, "y": y, "distance": distance, "picture": picture}
        tiles.append({**tile, "audio": compressed_uri(wave, sample_rate)} if audio else tile)
    return {"size": round(len(tiles) ** 0.5), "rows": TILE_ROWS, "columns": TILE_COLUMNS, "tiles": tiles}


def run_page(run_map: RunMap, *, grid: dict | None = None, audio: Mapping[int, str] | None = None, served: bool = False) -> str:
    """Returns the HTML page of the map of a run.

    Args:
      run_map: map of a run.
      grid: result of `grid_tiles`.
      audio: data URIs of library sounds by row; None for a served page.
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
    some_playable = audio is not None and len(audio) < len(library)
    playable = f" {len(audio or ())} of them can be played on this page." if some_playable else ""
    return map_page(
        f"Map of “{run.name}”",
        f"{len(library):,} sounds of “{library.name}”, placed by {_method_name(sound_map)}.{playable}",
        sounds=sounds,
        classes=classes,
        labels=run_map.labels,
        grid=grid,
        footer=f"Created by timbre_jax {__version__} from the run “{run.name}”. {_shared_coordinates(sound_map)}",
        served=served,
    )


def _method_name(sound_map: SoundMap) -> str:
    names = {"kernel": "the kernel map", "umap": "UMAP", "tsne": "t-SNE", "pca": "PCA"}
    placed_by = sound_map.settings.get("placed_by")
    return names[placed_by] + f", too few for {names[sound_map.method]}" if placed_by else names[sound_map.method]


def _shared_coordinates(sound_map: SoundMap) -> str:
    count = sum(map(len, sound_map.inverse.shared.values()))
    return f"{count} sounds have the same coordinates as another sound (see map.json)." if count else ""


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
    """Returns the HTML page of a map as one file without network access.

    Args:
      title: heading of the page.
      lead: sentence below the heading.
      sounds: {"name", "x", "y", "class"} of each sound, where "class" is an index, with optional "audio" (a data URI) and
        "agreement".
      classes: {"name", "color", "count"} of each class.
      labels: {"name", "x", "y"} of texts on the map.
      grid: result of `grid_tiles`.
      footer: last line of the page.
      served: whether a click requests a new sound from the server at /sound; otherwise it plays the nearest sound.
    """
    data = {"sounds": list(sounds), "classes": list(classes), "labels": list(labels), "grid": grid, "served": served}
    # "<" is escaped, so that no name can end the script element.
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
