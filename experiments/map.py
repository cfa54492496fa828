"""A map of a library that can be clicked: a page, a picture, a grid of new sounds; and with --serve a new sound at any click.

  python experiments/map.py --workdir=run --out=map                         # of what the run was trained on
  python experiments/map.py --workdir=run --store=library --split=all --out=map
  python experiments/map.py --workdir=run --out=map --serve                 # a local page: click anywhere, hear a new sound
  python experiments/map.py --workdir=run --out=map --method=umap --neighbours=10 --min_dist=0.1
  python experiments/map.py --workdir=run --store=mine --names_from=labelled --out=map   # borrow its names

OUT/map.html: one file, no network (hover: name; click: the nearest sounds). map.png, grid.png: pictures. map.json: every
sound with its name, class and place. map.npz: the map and its way back as arrays, for `generate.py --mode=map`. grid/*.wav:
the 10 x 10 grid of decoded sounds. A map that is already in OUT and was made in the same way is used again.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
from absl import flags

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line

METHODS = ("kernel", "umap", "tsne", "pca")
GRID = 10


def make(
    workdir: str | os.PathLike,
    out: str | os.PathLike,
    *,
    store: str | None = None,
    split: str = "train",
    number: int = 2000,
    method: str = "kernel",
    perplexity: float | None = None,
    iterations: int | None = None,
    neighbours: int | None = None,
    min_dist: float | None = None,
    names_from: str | None = None,
    players: int = 400,
    hold: float = 1.0,
    seed: int = 0,
    progress: bool = True,
):
    """Makes the map and its files; what the flags of the same names say. Returns (run, library, map).

    Raises:
      ValueError: one line.
    """
    from timbre_jax.evaluation.runs import default_store, open_run
    from timbre_jax.maps.library import borrow_classes, read_library
    from timbre_jax.maps.sound_map import space_digest

    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out={out} is a file; a map needs a folder")
    run = open_run(workdir, hold=hold)
    path = store or default_store(run)
    library = read_library(run, path, split=split, number=number, seed=seed, progress=progress)
    if names_from:
        labelled = read_library(run, names_from, split="all", number=number, seed=seed, progress=progress)
        library = borrow_classes(run, library, labelled)
    chosen = {"perplexity": perplexity, "iterations": iterations, "neighbours": neighbours, "min_dist": min_dist}
    settings = {name: value for name, value in chosen.items() if value is not None}
    made = _made_before(out, run, library, method, settings, seed) or _make(run, library, method, settings, seed, progress)
    # The same points make the same map; whose they are is of this call, or a map kept from before would belong to no run.
    made = dataclasses.replace(made, settings={**made.settings, "run": run.name, "space": space_digest(run.space)})
    made.save(out / "map.npz")
    write_files(out, run, library, made, players=players, progress=progress)
    return run, library, made


def identity(run, library, method: str, settings: dict, seed: int) -> str:
    """A digest of what a map is made from: the same digest is the same map."""
    text = json.dumps([method, settings, seed, list(library.latents.shape)], sort_keys=True)
    return hashlib.sha256(text.encode() + np.ascontiguousarray(library.latents).tobytes()).hexdigest()[:16]


def _made_before(out: Path, run, library, method, settings, seed):
    from timbre_jax.maps.sound_map import load_map

    try:
        made = load_map(out / "map.npz")
    except ValueError:
        return None
    return made if made.settings.get("identity") == identity(run, library, method, settings, seed) else None


def _make(run, library, method, settings, seed, progress):
    from tqdm import tqdm

    from timbre_jax.maps.sound_map import make_map

    if progress and method == "umap":
        print("importing umap-learn; the first time on a machine this takes up to a minute ...", flush=True)
    if progress and method != "pca":
        print(f"placing {len(library)} sounds ({method}) ...", flush=True)
    total = 400 if method == "kernel" else None
    with tqdm(total=total, desc="map", unit="step", disable=not (progress and total)) as bar:
        made = make_map(library.latents, method=method, settings=settings, seed=seed, progress=bar.update)
    return dataclasses.replace(made, settings={**made.settings, "identity": identity(run, library, method, settings, seed)})


def write_files(out: Path, run, library, made, *, players: int, progress: bool) -> None:
    """Everything in OUT but map.npz."""
    from tqdm import tqdm

    from timbre_jax.audio.io import write_wave
    from timbre_jax.files import write_text
    from timbre_jax.inference.rendering import render_values, without_clipping
    from timbre_jax.maps import page as map_page
    from timbre_jax.maps.figures import grid_figure, map_figure
    from timbre_jax.maps.rendering import grid_points
    from timbre_jax.report import plots

    points = grid_points(GRID)
    latents, distances = made.inverse(points)
    waves = []
    for start in tqdm(range(0, len(points), 20), desc="grid", unit_scale=20, unit="sound", disable=not progress):
        waves.append(without_clipping(render_values(run.space, latents[start : start + 20])))
    waves = np.concatenate(waves)
    rate = run.space.sample_rate
    for i, wave in enumerate(waves):
        write_wave(out / "grid" / f"grid_{i // GRID:02d}_{i % GRID:02d}.wav", wave, rate)
    labels = _labels(library, made)
    plots.save_png(
        map_figure(made.coordinates, library.classes, labels, title=f"{run.name}: {made.method} map"), out / "map.png"
    )
    plots.save_png(grid_figure(waves, rate), out / "grid.png")
    write_text(out / "map.json", json.dumps(_document(run, library, made, points, latents, distances), indent=1) + "\n")
    held = _with_players(library, players)
    audio = {}
    for row in tqdm(held.tolist(), desc="page", unit="sound", disable=not progress):
        audio[row] = map_page.compressed_uri(library.audio(row), library.store.sample_rate)
    grid = map_page.grid_tiles(points, distances, waves, rate, audio=True)
    document = page(run, library, made, labels, grid=grid, audio=audio, served=False)
    write_text(out / "map.html", document)


def page(run, library, made, labels, *, grid, audio=None, served: bool) -> str:
    """The html of the map, as a file or served."""
    import timbre_jax
    from timbre_jax.maps.page import class_colours, map_page

    classes, ids = class_colours(library.classes)
    sounds = []
    for row in range(len(library)):
        x, y = made.coordinates[row].tolist()
        sound = {"name": str(library.ids[row]), "x": x, "y": y, "class": int(ids[row])}
        if library.agreement is not None:
            sound["agreement"] = round(float(library.agreement[row]), 3)
        if audio and row in audio:
            sound["audio"] = audio[row]
        sounds.append(sound)
    held = "" if audio is None or len(audio) == len(library) else f" This page holds the sounds of {len(audio)} of them."
    return map_page(
        f"Map of “{run.name}”",
        f"{len(library)} sounds of {_name(library)}, placed by {_method(made)}.{held}",
        sounds=sounds,
        classes=classes,
        labels=labels,
        grid=grid,
        footer=f"Made by timbre_jax {timbre_jax.__version__} from the run “{run.name}”. {_shared_line(made)}",
        served=served,
    )


def _labels(library, made) -> list[dict]:
    from timbre_jax.maps.library import cluster_names

    return [] if library.agreement is None else cluster_names(made.coordinates, library.classes)


def _name(library) -> str:
    store = library.store
    return store.path.name if hasattr(store, "path") else " + ".join(part.path.name for part in store.stores)


def _method(made) -> str:
    names = {"kernel": "the kernel map", "umap": "UMAP", "tsne": "t-SNE", "pca": "PCA"}
    instead = made.settings.get("placed_by")
    return names[made.method] + (f" (so few that {names[instead]} placed them)" if instead else "")


def _shared_line(made) -> str:
    shared = getattr(made.inverse, "shared", {})
    if not shared:
        return ""
    return f"{sum(map(len, shared.values()))} sounds lie exactly on another one, which answers there (map.json names them)."


def _with_players(library, players: int) -> np.ndarray:
    from timbre_jax.evaluation.runs import even_choice

    return even_choice(library.classes, min(players, len(library))) if players else np.arange(0)


def _document(run, library, made, points, latents, distances) -> dict:
    import timbre_jax

    sounds = []
    holder = np.asarray(getattr(made.inverse, "holder", np.arange(len(library))))
    for row in range(len(library)):
        x, y = made.coordinates[row].tolist()
        sound = {
            "id": str(library.ids[row]),
            "class": str(library.classes[row]),
            "split": str(library.splits[row]),
            "x": x,
            "y": y,
        }
        if library.agreement is not None:
            sound["agreement"] = float(library.agreement[row])
        if holder[row] != row:
            sound["answers_there"] = str(library.ids[holder[row]])
        sounds.append(sound)
    grid = [
        {"file": f"grid/grid_{i // GRID:02d}_{i % GRID:02d}.wav", "x": float(x), "y": float(y), "distance": float(distance),
         "latent": latent.tolist()}
        for i, ((x, y), latent, distance) in enumerate(zip(points, latents, distances, strict=True))
    ]  # fmt: skip
    return {
        "library": f"timbre_jax {timbre_jax.__version__}",
        "run": {"name": run.name, "workdir": str(run.workdir), "model": run.model},
        "store": _name(library),
        "method": made.method,
        "settings": made.settings,
        "explained": None if made.explained is None else made.explained.tolist(),
        "sounds": sounds,
        "cluster_names": _labels(library, made),
        "grid": grid,
    }


def make_server(space, run, library, made, *, port: int, log):
    """The server of a map's page; `space` makes the sounds. Not yet serving."""
    from timbre_jax.maps.rendering import make_sound
    from timbre_jax.maps.server import open_server
    from timbre_jax.report.players import wav_bytes

    def sound(x: float, y: float) -> tuple[dict, bytes, bytes]:
        new = make_sound(space, made, x, y)
        rows, columns = new.picture.shape
        about = {
            "rows": rows, "columns": columns, "near": new.near, "distance": new.distance, "times": new.times,
            "name": f"map_{x:.4f}_{y:.4f}.wav",
        }  # fmt: skip
        return about, new.picture.tobytes(), new.wav

    def recorded(row: int) -> bytes:
        return wav_bytes(library.audio(row), library.store.sample_rate)

    document = page(run, library, made, _labels(library, made), grid=None, served=True)
    return open_server(document, sound, recorded, count=len(library), port=port, log=log)


def serve(run, library, made, *, port: int, click_ms: float) -> None:
    """Serves the page until Ctrl-C."""
    from timbre_jax.maps.rendering import quick_space

    say = functools.partial(print, flush=True)
    say("compiling the way from a click to a sound ...")
    space = quick_space(run.space, made, milliseconds=click_ms, report=say)
    server = make_server(space, run, library, made, port=port, log=say)
    if port and server.server_port != port:
        say(f"port {port} is taken")
    say(f"open {server.address} in a browser; Ctrl-C ends it")
    try:
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        say("\nstopped")
    finally:
        server.server_close()


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "The run, as experiments/train.py made it.")
    flags.DEFINE_string("out", None, "Folder for the map.")
    flags.DEFINE_string("store", None, "Library to map; by default the one the run was trained on.")
    flags.DEFINE_string("split", "train", "Its split, several with commas, or 'all'.")
    flags.DEFINE_integer("number", 2000, "Sounds on the map, even over instruments; 0 means all.", lower_bound=0)
    flags.DEFINE_enum("method", "kernel", METHODS, "How sounds are placed: 'kernel' makes the map together with its way back.")
    flags.DEFINE_float("perplexity", None, "t-SNE and kernel: neighbours that count (30).", lower_bound=1.0)
    flags.DEFINE_integer("iterations", None, "t-SNE: steps (1000).", lower_bound=250)
    flags.DEFINE_integer("neighbours", None, "UMAP: neighbours that count (100).", lower_bound=2)
    flags.DEFINE_float("min_dist", None, "UMAP: how close sounds may come (0.8).", lower_bound=0.0, upper_bound=1.0)
    flags.DEFINE_string("names_from", None, "A labelled store: classes of the map's sounds are borrowed from it.")
    flags.DEFINE_integer("players", 400, "Library sounds inside map.html, even over classes (10 to 20 kB each).", lower_bound=0)
    flags.DEFINE_float("hold", 1.0, "A space with a latent a frame: seconds that a point of the map is held.", lower_bound=0.01)
    flags.DEFINE_integer("seed", 0, "Of the choice of sounds and of the map.")
    flags.DEFINE_bool("progress", True, "Show bars.")
    flags.DEFINE_bool("serve", False, "Serve a local page on which a click makes a new sound.")
    flags.DEFINE_integer("port", 8765, "Of --serve; taken: any free one. 0: any free one.", lower_bound=0, upper_bound=65535)
    flags.DEFINE_float(
        "click_ms", 75.0, "Time for making a sound, which an inverter's iterations are chosen by.", lower_bound=1.0
    )


def main(_) -> int:
    command_line.use_compilation_cache()
    run, library, made = command_line.call(make)
    print(f"map: {Path(flags.FLAGS.out) / 'map.html'}", flush=True)
    if flags.FLAGS.serve:
        serve(run, library, made, port=flags.FLAGS.port, click_ms=flags.FLAGS.click_ms)
    return 0


if __name__ == "__main__":
    _define_flags()
    command_line.run(main, __doc__)
