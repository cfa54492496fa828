"""The page of a map: sounds in the plane, to hover over and to click. As a file it holds sounds; served, it makes new ones."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from timbre_jax.report.players import data_uri, wav_bytes
from timbre_jax.report.plots import CLASS_COLOURS
from timbre_jax.report.spectrogram import spectrogram_image

TILE_ROWS, TILE_COLUMNS = 42, 54


def class_colours(labels: Sequence[str]) -> tuple[list[dict[str, Any]], np.ndarray]:
    """The classes of labels [M] by name, with colour and count, and which class each label is, [M]."""
    names, ids, counts = np.unique(np.asarray(labels, np.str_), return_inverse=True, return_counts=True)
    colours = [CLASS_COLOURS[i % len(CLASS_COLOURS)] for i in range(len(names))]
    classes = [
        {"name": str(name) or "unlabelled", "colour": colour, "count": int(count)}
        for name, colour, count in zip(names, colours, counts, strict=True)
    ]
    return classes, ids.reshape(-1)


def compressed_uri(wave: np.ndarray, sample_rate: int, *, seconds: float = 2.0) -> str:
    """A sound [T] as an MP3 data address, cut to `seconds` with a fade; as wav where MP3 cannot be written."""
    import io

    import soundfile

    data = wav_bytes(wave, sample_rate, seconds=seconds)
    samples, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    buffer = io.BytesIO()
    try:
        soundfile.write(buffer, samples, sample_rate, format="MP3")
    except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError):
        return data_uri(data, "audio/wav")
    return data_uri(buffer.getvalue(), "audio/mpeg")


def encoded(image: np.ndarray) -> str:
    """A uint8 picture as base64."""
    return base64.b64encode(np.ascontiguousarray(image, np.uint8).tobytes()).decode("ascii")


def grid_tiles(points: np.ndarray, distances: np.ndarray, waves: np.ndarray, sample_rate: int, *, audio: bool) -> dict:
    """The grid of decoded sounds for the page: points [G, 2], waves [G, T]; `audio`: hold the sounds too."""
    tiles = []
    for (x, y), distance, wave in zip(points.tolist(), distances.tolist(), waves, strict=True):
        picture = encoded(spectrogram_image(wave, sample_rate, rows=TILE_ROWS, columns=TILE_COLUMNS))
        tile = {"x": x, "y": y, "distance": distance, "picture": picture}
        tiles.append({**tile, "audio": compressed_uri(wave, sample_rate)} if audio else tile)
    return {"size": round(len(tiles) ** 0.5), "rows": TILE_ROWS, "columns": TILE_COLUMNS, "tiles": tiles}


def map_page(
    title: str,
    lead: str,
    *,
    sounds: Sequence[dict[str, Any]],
    classes: Sequence[dict[str, Any]],
    labels: Sequence[dict[str, Any]] = (),
    grid: dict | None = None,
    table: str = "",
    footer: str = "",
    served: bool = False,
) -> str:
    """The whole document: no network, no other file.

    Args:
      sounds: {"name", "x", "y", "class" (number of a class)} each, "audio" (a data address) and "agreement" where there is one.
      classes: {"name", "colour", "count"}. labels: {"name", "x", "y"}, texts on the map.
      grid: from `grid_tiles`. table: html to show below.
      served: a click asks the server at /sound for a new sound; else it plays the nearest sound that the page holds.
    """
    data = {"sounds": list(sounds), "classes": list(classes), "labels": list(labels), "grid": grid, "served": served}
    # "<" as an escape: no name, whatever is in it, can end the script element.
    embedded = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    what = (
        "Click anywhere: a new sound is made there and played. A click on a dot takes that sound's own place."
        if served
        else "Click anywhere: the nearest sounds are listed and the nearest is played."
    )
    new_sound = (
        '<div class="card"><h2>New sound</h2><canvas id="picture" class="picture" role="img" '
        'aria-label="spectrogram of the new sound, low frequencies at the bottom"></canvas>'
        '<div class="row"><button type="button" id="again" hidden>Play again</button>'
        '<a id="save" class="button" hidden>Save wav</a></div><p class="times" id="times"></p></div>'
        if served
        else '<canvas id="picture" hidden></canvas><button type="button" id="again" hidden></button>'
    )
    board = (
        '<section class="grid"><h2>A grid of new sounds over the map</h2><p class="hint">Each tile is the spectrogram of a '
        "sound decoded at the tile's place on the map; click to hear it. The top left tile is the map's top left.</p>"
        '<canvas id="grid" tabindex="0" role="application" aria-label="grid of sounds: arrows move, Enter plays"></canvas>'
        '<p class="hint" id="tile" aria-live="polite"></p></section>'
        if grid
        else ""
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><title>{html.escape(title)}</title><style>{_file("map.css")}</style></head>
<body><div class="sheet">
<header><h1>{html.escape(title)}</h1><p class="lead">{html.escape(lead)} {what}</p></header>
<main><div class="columns"><div><div class="stage"><canvas id="dots"></canvas><canvas id="map" tabindex="0" role="application"
 aria-label="map of {len(data["sounds"])} sounds: arrows move the cursor, Enter plays, plus and minus zoom"></canvas>
<div id="tip"></div>
<div class="tools"><button type="button" id="in" aria-label="zoom in">+</button><button type="button" id="out"
 aria-label="zoom out">−</button><button type="button" id="whole" aria-label="show the whole map">⤢</button></div></div>
<div class="legend" id="legend" role="group" aria-label="classes: press to hide or show"></div>
<p class="hint">Wheel or <kbd>+</kbd> <kbd>−</kbd> zoom, drag moves; with the keyboard: arrows (with <kbd>Shift</kbd>
 faster) and <kbd>Enter</kbd>.</p></div>
<div><p id="status" aria-live="polite">Nothing chosen yet.</p>{new_sound}
<div class="card"><h2>Nearest library sounds</h2><ol class="near" id="near"></ol></div>
<div class="card"><h2>Find by name</h2><input class="find" id="find" type="search" aria-label="find sounds by name"
 placeholder="part of a name"><p class="hint" id="hits"></p></div></div></div>
{board}{f'<section class="grid"><h2>How good the map is</h2><div class="wide">{table}</div></section>' if table else ""}</main>
<footer>{html.escape(footer)}</footer></div>
<script type="application/json" id="data">{embedded}</script><script>{_file("map.js")}</script></body></html>
"""


def _file(name: str) -> str:
    return resources.files("timbre_jax.maps").joinpath(name).read_text(encoding="utf-8")
