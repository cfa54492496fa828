"""Search for the sounds of a library that are most similar to a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from timbre_jax.analysis.neighbors import SoundIndex, name_by_neighbors
from timbre_jax.evaluation.runs import default_store, open_run
from timbre_jax.files import write_text
from timbre_jax.generation.sound_files import (
    InputSound,
    expand_folders,
    plain_name,
    read_inputs,
    unusable_error,
    without_audio_suffix,
    write_sound,
)
from timbre_jax.generation.static_modes import predicted_classes
from timbre_jax.maps.library import BORROW_FROM, Library, read_library
from timbre_jax.maps.settings import SimilarSettings
from timbre_jax.metrics.knn import Neighbors
from timbre_jax.space import TimbreSpace


def find_similar(settings: SimilarSettings) -> dict:
    """Finds the k most similar sounds of a library for each file.

    Args:
      settings: the run, the files and the library.

    Returns:
      {"sounds": [{"file", "classes" or None, "class_of_similar", "agreement", "similar": [{"id", "class", "distance"}],
      "remarks"}], "errors": [{"file", "error"}]}.

    Raises:
      ValueError: the run, store or folder cannot be used, or none of the files.
    """
    out = None if settings.out is None else Path(settings.out)
    if not settings.files:
        raise ValueError("--files: empty; give --files=A.wav,B.wav")
    if out is not None and out.exists() and not out.is_dir():
        raise ValueError(f"--out={out}: is a file; give a folder")
    run = open_run(settings.workdir, hold=1.0)
    inputs, errors = read_inputs(expand_folders(settings.files), run.space)
    if not inputs:
        raise unusable_error(errors)
    library = read_library(
        run, settings.store or default_store(run), split=settings.split, number=settings.number, seed=settings.seed,
        progress=settings.progress,
    )  # fmt: skip
    latents, classes = zip(*(_latent_and_classes(run.space, entry) for entry in inputs), strict=True)
    nearest = SoundIndex.of(run.space, library.latents).search(np.concatenate(latents), k=min(settings.k, len(library)))
    voters = Neighbors(nearest.indices[:, :BORROW_FROM], nearest.distances[:, :BORROW_FROM])
    names, agreement = name_by_neighbors(library.classes, voters)
    document: dict = {"run": str(run.workdir), "library": str(library.store), "sounds": [], "errors": errors}
    for i, entry in enumerate(inputs):
        rows = nearest.indices[i].tolist()
        similar = [
            {"id": str(library.ids[row]), "class": str(library.classes[row]), "distance": distance}
            for row, distance in zip(rows, nearest.distances[i].tolist(), strict=True)
        ]
        document["sounds"].append({
            "file": str(entry.path), "classes": classes[i], "class_of_similar": str(names[i]), "agreement": float(agreement[i]),
            "similar": similar, "remarks": list(entry.remarks),
        })  # fmt: skip
        if out is not None:
            _write_sounds(out / f"{i:03d}_{entry.name()}", library, rows)
    if out is not None:
        write_text(out / "similar.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return document


def similar_text(document: dict) -> str:
    """Returns the result of `find_similar` as text with a block of lines for each file."""
    lines = []
    for sound in document["sounds"]:
        lines.append(f"{sound['file']}: {sound['class_of_similar']} ({sound['agreement']:.0%} of the nearest sounds)")
        for kind, shares in (sound["classes"] or {}).items():
            best = sorted(shares, key=shares.get, reverse=True)[:3]
            lines.append(f"  {kind} by the model: " + ", ".join(f"{name} {shares[name]:.0%}" for name in best))
        lines += [f"  {near['distance']:7.3f}  {near['class']:12}  {near['id']}" for near in sound["similar"]]
        lines += [f"  note: {remark}" for remark in sound["remarks"]]
    lines += [f"skipped: {error['error']}" for error in document["errors"]]
    return "\n".join(lines)


def _latent_and_classes(space: TimbreSpace, entry: InputSound) -> tuple[np.ndarray, dict | None]:
    """Returns the latent [1, D] of a file, and class probabilities if the model predicts them."""
    features = space.analyze(entry.wave[None], np.array([entry.length], np.int32))
    predicted = predicted_classes(space, features)
    return np.asarray(space.encode(features).values), None if predicted is None else predicted[0]


def _write_sounds(folder: Path, library: Library, rows: list[int]) -> None:
    for position, (row, wave) in enumerate(zip(rows, library.waves(rows), strict=True)):
        name = plain_name(without_audio_suffix(str(library.ids[row])))
        write_sound(folder / f"{position:02d}_{name}.wav", wave, library.store.sample_rate)
