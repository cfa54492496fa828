"""Measures a map and its inverse on sounds that the map has not seen, beside PCA, UMAP and the nearest sound.

  python experiments/studies/map_quality.py --workdir=run --out=quality                       # map: train, held out: test
  python experiments/studies/map_quality.py --workdir=run --store=library --held_out=valid,test --out=quality

Every held-out sound is placed on the map by the map's own means (PCA: projection; UMAP: its `transform`; kernel map: the
point whose way back comes nearest, `inverse_map.place`), and the way back from there gives a latent again. Reported, with
95 % intervals over instruments (groups of a library):

- variance: share of the variance of the held-out latents (around the library's mean) that comes back: 1 - sum |z - z'|^2 /
  sum |z - mean|^2. Below 0: worse than always saying the mean.
- lsd_db: log-spectral distance (1024-point Hann, hop 256, floor -80 dB) of the sound decoded from z' to the recording, and
  lsd_more: how much larger it is than the kernel map's own way back on the same sounds (above 0: worse).
- named: share of held-out sounds whose 5 nearest library sounds on the map name their class; sounds without a class are left
  out on both sides.

And of the library itself on the map, without intervals: trustworthiness and continuity (15 neighbors; Venna & Kaski 2001), and
named_library: share of its sounds whose 5 nearest others name their class. Floors: "mean latent", and "nearest sound in the
space", which needs no map. Ceiling: "own latent".
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # the clone, not the program's folder

from experiments.studies.study import Study, run_study
from timbre_jax.settings import setting

OURS = "kernel map, its way back"
NEIGHBORS = 15
VOTERS = 5
COLUMNS = (
    "map and way back", "variance", "variance_low", "variance_high", "lsd_db", "lsd_low", "lsd_high", "lsd_more",
    "lsd_more_low", "lsd_more_high", "named", "named_low", "named_high", "named_library", "trustworthiness", "continuity",
    "ms_each",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Way:
    """A map with one way back: latents [Q, D] for the held-out sounds, their places [Q, 2] and the library's [M, 2] or None.

    `seconds`: of placing and going back, for all sounds together.
    """

    name: str
    latents: np.ndarray
    places: np.ndarray | None = None
    library_places: np.ndarray | None = None
    seconds: float = float("nan")


@dataclasses.dataclass(frozen=True)
class MapQuality(Study):
    """Settings of the study of maps."""

    store: str | None = setting(None, "Library. Default: the store that the run was trained on.")
    split: str = setting("train", "Split whose sounds are on the map.")
    held_out: str = setting("test", "Split whose sounds are placed on the map afterwards.")
    number: int = setting(1500, "Sounds on the map, even over instruments; 0 means all.", low=0)
    held_out_number: int = setting(300, "Held-out sounds, even over instruments; 0 means all.", low=0)
    sounds: int = setting(100, "Held-out sounds whose log-spectral distance is measured.", low=1)
    umap: bool = setting(True, "Measure UMAP too, which takes minutes.")
    neighbors: int = setting(100, "Neighbors of UMAP.", low=2)
    min_dist: float = setting(0.8, "Minimum distance of UMAP.", low=0.0, high=1.0)


def measure_map(settings: MapQuality):
    """Makes maps of a library, measures their inverses on held-out sounds, and writes the table.

    Returns:
      The `Table`.

    Raises:
      ValueError: the run is not of a static space, the splits overlap, or the sounds are too few.
    """
    from timbre_jax.data.store import open_store
    from timbre_jax.evaluation.runs import default_store, open_run
    from timbre_jax.files import write_text
    from timbre_jax.maps.library import read_library, split_names
    from timbre_jax.metrics.table import Table

    run = open_run(settings.workdir, kind="static", why="a measure of how well sounds come back from a map")
    path, split, held_out = settings.store or default_store(run), settings.split, settings.held_out
    opened = open_store(path)
    if both := sorted(set(split_names(opened, split)) & set(split_names(opened, held_out))):
        raise ValueError(f"split {both[0]} is on the map and held out: name other splits with --split and --held_out")
    options = {"seed": settings.seed, "progress": settings.progress}
    library = read_library(run, path, split=split, number=settings.number, **options)
    unseen = read_library(run, path, split=held_out, number=settings.held_out_number, **options)
    if len(library) < 20 or len(unseen) < 5:
        raise ValueError(
            f"a map is measured with 20 sounds or more and 5 held out; {split} has {len(library)}, {held_out} {len(unseen)}"
        )
    ways = list(_ways(library.latents, unseen.latents, settings))
    distances, rows = _distances(run, unseen, ways, settings)
    mean = library.latents.mean(0)
    lines = [_line(way, library, unseen, mean, distances[way.name], distances[OURS], unseen.groups[rows]) for way in ways]
    caption = (
        f"{len(library)} sounds of {split} on the map, {len(unseen)} of {held_out} held out ({len(rows)} of them heard), "
        f"run {run.name}. Named by always saying the library's commonest class: {_commonest(library, unseen)}. Columns: "
        "experiments/studies/map_quality.py --help."
    )
    table = Table("map_quality", COLUMNS, tuple(tuple(line[name] for name in COLUMNS) for line in lines), caption)
    table.write_csv(settings.out)
    document = [{name: (None if value != value else value) for name, value in line.items()} for line in lines]
    write_text(Path(settings.out) / "map_quality.json", json.dumps(document, indent=1) + "\n")
    return table


def _commonest(library, unseen) -> str:
    known, asked = (part.classes[part.named] for part in (library, unseen))
    if not len(known) or not len(asked):
        return "there are no classes"
    names, counts = np.unique(known, return_counts=True)
    return f"{100 * np.mean(asked == names[counts.argmax()]):.0f} %"


def _ways(latents: np.ndarray, unseen: np.ndarray, settings: MapQuality):
    """Yields every map and inverse, with floors and ceiling."""
    from timbre_jax.analysis.projection import umap_model
    from timbre_jax.maps.inverse import kernel_inverse, unit_square
    from timbre_jax.maps.sound_map import make_map, place_sounds
    from timbre_jax.metrics.knn import nearest_neighbors

    yield Way("mean latent (floor)", np.repeat(latents.mean(0, keepdims=True), len(unseen), 0))
    yield Way("nearest sound in the space (floor, no map)", latents[nearest_neighbors(latents, unseen, k=1).indices[:, 0]])
    for method in ("pca", "kernel"):
        made = make_map(latents, method=method, seed=settings.seed)
        begin = time.perf_counter()
        places = place_sounds(made, unseen)
        back = made.inverse(places)[0]
        seconds = time.perf_counter() - begin
        yield Way(f"{method} map, its way back", back, places, made.coordinates, seconds)
        nearest = latents[nearest_neighbors(made.coordinates, places, k=1).indices[:, 0]]
        yield Way(f"{method} map, nearest sound", nearest, places, made.coordinates)
    if settings.umap:
        neighbors, min_dist = settings.neighbors, settings.min_dist
        model = umap_model(latents, neighbors=neighbors, min_dist=min_dist, seed=settings.seed)
        coordinates, low, high = unit_square(model.embedding_)
        begin = time.perf_counter()
        raw = model.transform(unseen)
        theirs = np.asarray(model.inverse_transform(raw), np.float32)
        seconds = time.perf_counter() - begin
        places = ((raw - low) / (high - low)).astype(np.float32)
        name = f"umap map ({neighbors}, {min_dist:g})"
        yield Way(f"{name}, its way back", theirs, places, coordinates, seconds)
        nearest = latents[nearest_neighbors(coordinates, places, k=1).indices[:, 0]]
        yield Way(f"{name}, nearest sound", nearest, places, coordinates)
        yield Way(f"{name}, kernel way back", kernel_inverse(coordinates, latents)(places)[0], places, coordinates)
    yield Way("own latent (ceiling)", unseen)


def _distances(run, unseen, ways, settings: MapQuality):
    """Returns log-spectral distances to the recordings by way, and the held-out sounds that were compared."""
    from tqdm import tqdm

    from timbre_jax.evaluation.runs import even_choice
    from timbre_jax.inference.rendering import fit_length, render_values
    from timbre_jax.metrics.sound_pairs import spectral_distances

    rows = even_choice(unseen.groups, min(settings.sounds, len(unseen)), seed=settings.seed)
    # What the representation cuts off is nothing that a way back could give.
    length = min(unseen.store.samples, run.space.representation.length or unseen.store.samples)
    waves = unseen.waves(rows)
    recorded = np.concatenate([fit_length(wave[None], length) for wave in waves])
    ends = np.minimum([len(wave) for wave in waves], length) if unseen.store.variable else None
    found = {}
    for way in tqdm(ways, desc="sounds", unit="way", disable=not settings.progress):
        made = fit_length(render_values(run.space, way.latents[rows]), length)
        found[way.name] = spectral_distances(made, recorded, lengths=ends)
    return found, rows


def _line(way: Way, library, unseen, mean, distances, ours, groups) -> dict:
    from timbre_jax.metrics.bootstrap import mean_interval
    from timbre_jax.metrics.map_quality import variance_kept

    kept = variance_kept(unseen.latents, way.latents, mean=mean, groups=unseen.groups)
    heard, more = mean_interval(distances, groups), mean_interval(distances - ours, groups)
    line = {
        "map and way back": way.name, "variance": kept.value, "variance_low": kept.low, "variance_high": kept.high,
        "lsd_db": heard.value, "lsd_low": heard.low, "lsd_high": heard.high,
        "lsd_more": more.value, "lsd_more_low": more.low, "lsd_more_high": more.high,
        "ms_each": 1e3 * way.seconds / len(unseen),
    }  # fmt: skip
    return line | _map_scores(way, library, unseen)


def _map_scores(way: Way, library, unseen) -> dict:
    from sklearn.manifold import trustworthiness

    from timbre_jax.metrics.bootstrap import mean_interval
    from timbre_jax.metrics.knn import nearest_neighbors, vote
    from timbre_jax.metrics.map_quality import map_accuracy

    names = ("named", "named_low", "named_high", "named_library", "trustworthiness", "continuity")
    scores = dict.fromkeys(names, float("nan"))
    if way.places is None:
        return scores
    places = way.library_places
    k = min(NEIGHBORS, (len(places) - 1) // 2)
    scores["trustworthiness"] = trustworthiness(library.latents, places, n_neighbors=k)
    scores["continuity"] = trustworthiness(places, library.latents, n_neighbors=k)
    known, asked = library.named, unseen.named
    if known.sum() > VOTERS and asked.any():
        near = nearest_neighbors(places[known], way.places[asked], k=VOTERS)
        right = (vote(near, library.classes[known]) == unseen.classes[asked]).astype(np.float64)
        named = mean_interval(right, unseen.groups[asked])
        scores |= {"named": named.value, "named_low": named.low, "named_high": named.high}
        scores["named_library"] = map_accuracy(places[known], library.classes[known], k=VOTERS).accuracy
    return scores


if __name__ == "__main__":
    run_study(MapQuality, measure_map, __doc__)
