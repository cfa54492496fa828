"""Compares the kernel map and its inverse with PCA and UMAP on held-out sounds.

  python experiments/studies/map_quality.py --workdir=runs/hits --out=quality
  python experiments/studies/map_quality.py --workdir=runs/hits --out=quality_library --store=library --held_out=valid,test
  python experiments/studies/map_quality.py --workdir=runs/hits --out=quality_fast --noumap --sounds=50

Results: docs/results.md
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

KERNEL_INVERSE = "kernel map, its inverse"
NEIGHBORS = 15
VOTERS = 5
COLUMNS = (
    "map and inverse", "variance", "variance_low", "variance_high", "lsd_db", "lsd_low", "lsd_high", "lsd_more",
    "lsd_more_low", "lsd_more_high", "named", "named_low", "named_high", "named_library", "trustworthiness", "continuity",
    "ms_each",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Inverse:
    """Held-out sounds placed on a map, and their latents by an inverse of the map.

    Attributes:
      name: map and inverse.
      latents: [Q, D], returned by the inverse.
      places: [Q, 2] of the held-out sounds; None without a map.
      library_places: [M, 2] of the library.
      seconds: time to place and invert all sounds.
    """

    name: str
    latents: np.ndarray
    places: np.ndarray | None = None
    library_places: np.ndarray | None = None
    seconds: float = float("nan")


@dataclasses.dataclass(frozen=True)
class MapQuality(Study):
    """Settings of the study of maps."""

    store: str | None = setting(None, "Store of the sounds. Default: the training store of the run.")
    split: str = setting("train", "Splits whose sounds are on the map.")
    held_out: str = setting("test", "Splits whose sounds are placed on the finished map.")
    number: int = setting(1500, "Number of sounds on the map, drawn evenly over instruments; 0 means all.", low=0)
    held_out_number: int = setting(300, "Number of held-out sounds, drawn evenly over instruments; 0 means all.", low=0)
    sounds: int = setting(100, "Number of held-out sounds whose log-spectral distance is measured.", low=1)
    umap: bool = setting(True, "Also measure UMAP, which takes minutes.")
    neighbors: int = setting(100, "With --umap: number of neighbors of each sound.", low=2)
    min_dist: float = setting(0.8, "With --umap: smallest distance between sounds.", low=0.0, high=1.0)


def measure_map(settings: MapQuality):
    """Makes maps of a library and measures their inverses on held-out sounds.

    Each map places the held-out sounds: PCA by projection, UMAP by its `transform`, the kernel map at the point whose inverse
    is nearest (`maps.sound_map.place_sounds`). The inverse then returns a latent for each place. The columns, with 95 %
    intervals over instruments (groups of a library), are:

    - variance: share of the variance of the held-out latents z around the mean of the library that the inverse z' keeps,
      1 - sum |z - z'|^2 / sum |z - mean|^2; below 0 it is worse than the mean latent.
    - lsd_db: log-spectral distance (1024-point Hann, hop 256, levels below -80 dB raised to it) of the sound decoded from z'
      to the recording.
    - lsd_more: its difference to the kernel map's inverse on the same sounds; above 0 is worse.
    - named: share of held-out sounds whose class is the most frequent among the 5 nearest library sounds on the map; sounds
      without a class are left out on both sides.

    Of the library on the map, without intervals: trustworthiness and continuity (15 neighbors; Venna & Kaski 2001), and
    named_library, the share of its sounds whose 5 nearest other sounds have their class. The baselines are the mean latent and
    the nearest sound in the space, which needs no map; the upper bound is the sound's own latent.

    Writes OUT/map_quality.csv and OUT/map_quality.json.

    Args:
      settings: run, library and maps.

    Returns:
      The `Table`.

    Raises:
      ValueError: if the run is not of a static space, the splits overlap, or there are too few sounds.
    """
    from timbre_jax.data.store import open_store
    from timbre_jax.evaluation.runs import default_store, open_run
    from timbre_jax.files import write_text
    from timbre_jax.maps.library import read_library, split_names
    from timbre_jax.metrics.table import Table

    run = open_run(settings.workdir, kind="static", why="the study of maps")
    path, split, held_out = settings.store or default_store(run), settings.split, settings.held_out
    opened = open_store(path)
    if both := sorted(set(split_names(opened, split)) & set(split_names(opened, held_out))):
        raise ValueError(f"split {both[0]!r}: is both on the map and held out; change --split or --held_out")
    options = {"seed": settings.seed, "progress": settings.progress}
    library = read_library(run, path, split=split, number=settings.number, **options)
    unseen = read_library(run, path, split=held_out, number=settings.held_out_number, **options)
    if len(library) < 20 or len(unseen) < 5:
        raise ValueError(
            f"--split={split}, --held_out={held_out}: got {len(library)} sounds on the map and {len(unseen)} held out, "
            "expected 20 and 5 or more"
        )
    inverses = list(_inverses(library.latents, unseen.latents, settings))
    distances, rows = _distances(run, unseen, inverses, settings)
    mean, groups = library.latents.mean(0), unseen.groups[rows]
    lines = [
        _inverse_row(inverse, library, unseen, mean, distances[inverse.name], distances[KERNEL_INVERSE], groups)
        for inverse in inverses
    ]
    caption = (
        f"{len(library)} sounds of {split} on the map, {len(unseen)} of {held_out} held out ({len(rows)} of them compared as "
        f"sounds), run {run.name}. Accuracy of naming the most frequent class of the library: {_majority(library, unseen)}. "
        "Lower is better for lsd and ms_each, higher for the others. Columns: `measure_map`."
    )
    table = Table("map_quality", COLUMNS, tuple(tuple(line[name] for name in COLUMNS) for line in lines), caption)
    table.write_csv(settings.out)
    document = [{name: (None if value != value else value) for name, value in line.items()} for line in lines]
    write_text(Path(settings.out) / "map_quality.json", json.dumps(document, indent=1) + "\n")
    return table


def _majority(library, unseen) -> str:
    """Returns the accuracy of naming the most frequent class of the library, as text."""
    known, classes = (part.classes[part.named] for part in (library, unseen))
    if not len(known) or not len(classes):
        return "no classes"
    names, counts = np.unique(known, return_counts=True)
    return f"{100 * np.mean(classes == names[counts.argmax()]):.0f} %"


def _inverses(latents: np.ndarray, unseen: np.ndarray, settings: MapQuality):
    """Yields all maps and inverses, with baselines and upper bound."""
    from timbre_jax.analysis.projection import umap_model
    from timbre_jax.maps.inverse import kernel_inverse, unit_square
    from timbre_jax.maps.sound_map import make_map, place_sounds
    from timbre_jax.metrics.knn import nearest_neighbors

    yield Inverse("mean latent (baseline)", np.repeat(latents.mean(0, keepdims=True), len(unseen), 0))
    nearest = latents[nearest_neighbors(latents, unseen, k=1).indices[:, 0]]
    yield Inverse("nearest sound in the space (baseline, no map)", nearest)
    for method in ("pca", "kernel"):
        sound_map = make_map(latents, method=method, seed=settings.seed)
        begin = time.perf_counter()
        places = place_sounds(sound_map, unseen)
        inverted = sound_map.inverse(places)[0]
        seconds = time.perf_counter() - begin
        yield Inverse(f"{method} map, its inverse", inverted, places, sound_map.coordinates, seconds)
        nearest = latents[nearest_neighbors(sound_map.coordinates, places, k=1).indices[:, 0]]
        yield Inverse(f"{method} map, nearest sound", nearest, places, sound_map.coordinates)
    if settings.umap:
        neighbors, min_dist = settings.neighbors, settings.min_dist
        model = umap_model(latents, neighbors=neighbors, min_dist=min_dist, seed=settings.seed)
        coordinates, low, high = unit_square(model.embedding_)
        begin = time.perf_counter()
        raw = model.transform(unseen)
        inverted = np.asarray(model.inverse_transform(raw), np.float32)
        seconds = time.perf_counter() - begin
        places = ((raw - low) / (high - low)).astype(np.float32)
        name = f"umap map ({neighbors}, {min_dist:g})"
        yield Inverse(f"{name}, its inverse", inverted, places, coordinates, seconds)
        nearest = latents[nearest_neighbors(coordinates, places, k=1).indices[:, 0]]
        yield Inverse(f"{name}, nearest sound", nearest, places, coordinates)
        yield Inverse(f"{name}, kernel inverse", kernel_inverse(coordinates, latents)(places)[0], places, coordinates)
    yield Inverse("own latent (upper bound)", unseen)


def _distances(run, unseen, inverses, settings: MapQuality):
    """Returns log-spectral distances to recordings by inverse, and the rows of the sounds."""
    from tqdm import tqdm

    from timbre_jax.evaluation.runs import even_choice
    from timbre_jax.inference.rendering import fit_length, render_values
    from timbre_jax.metrics.sound_pairs import spectral_distances

    rows = even_choice(unseen.groups, min(settings.sounds, len(unseen)), seed=settings.seed)
    # No inverse can return what the representation cuts off.
    length = min(unseen.store.samples, run.space.representation.length or unseen.store.samples)
    waves = unseen.waves(rows)
    recorded = np.concatenate([fit_length(wave[None], length) for wave in waves])
    ends = np.minimum([len(wave) for wave in waves], length) if unseen.store.variable else None
    distances = {}
    for inverse in tqdm(inverses, desc="sounds", unit="inverse", disable=not settings.progress):
        rendered = fit_length(render_values(run.space, inverse.latents[rows]), length)
        distances[inverse.name] = spectral_distances(rendered, recorded, lengths=ends)
    return distances, rows


def _inverse_row(inverse: Inverse, library, unseen, mean, distances, kernel_distances, groups) -> dict:
    """Returns the row of an inverse."""
    from timbre_jax.metrics.bootstrap import mean_interval
    from timbre_jax.metrics.map_quality import variance_kept

    kept = variance_kept(unseen.latents, inverse.latents, mean=mean, groups=unseen.groups)
    lsd, more = mean_interval(distances, groups), mean_interval(distances - kernel_distances, groups)
    line = {
        "map and inverse": inverse.name, "variance": kept.value, "variance_low": kept.low, "variance_high": kept.high,
        "lsd_db": lsd.value, "lsd_low": lsd.low, "lsd_high": lsd.high,
        "lsd_more": more.value, "lsd_more_low": more.low, "lsd_more_high": more.high,
        "ms_each": 1e3 * inverse.seconds / len(unseen),
    }  # fmt: skip
    return line | _map_scores(inverse, library, unseen)


def _map_scores(inverse: Inverse, library, unseen) -> dict:
    """Returns the scores of the map itself; nan without a map."""
    from sklearn.manifold import trustworthiness

    from timbre_jax.metrics.bootstrap import mean_interval
    from timbre_jax.metrics.knn import nearest_neighbors, vote
    from timbre_jax.metrics.map_quality import map_accuracy

    names = ("named", "named_low", "named_high", "named_library", "trustworthiness", "continuity")
    scores = dict.fromkeys(names, float("nan"))
    if inverse.places is None:
        return scores
    places = inverse.library_places
    k = min(NEIGHBORS, (len(places) - 1) // 2)
    scores["trustworthiness"] = trustworthiness(library.latents, places, n_neighbors=k)
    scores["continuity"] = trustworthiness(places, library.latents, n_neighbors=k)
    known, named_rows = library.named, unseen.named
    if known.sum() > VOTERS and named_rows.any():
        near = nearest_neighbors(places[known], inverse.places[named_rows], k=VOTERS)
        correct = (vote(near, library.classes[known]) == unseen.classes[named_rows]).astype(np.float64)
        named = mean_interval(correct, unseen.groups[named_rows])
        scores |= {"named": named.value, "named_low": named.low, "named_high": named.high}
        scores["named_library"] = map_accuracy(places[known], library.classes[known], k=VOTERS).accuracy
    return scores


if __name__ == "__main__":
    run_study(MapQuality, measure_map, __doc__)
