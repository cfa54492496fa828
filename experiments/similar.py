"""Which sounds of a library are like a file, and which class the file is.

  python experiments/similar.py --workdir=run --files=kick.wav,my_sounds
  python experiments/similar.py --workdir=run --store=library --split=all --number=0 --files=kick.wav --k=20 --out=similar

Prints the nearest sounds of the library for every file, by distance in the space's latents (in training deviations), and
its class: by the model where it has class heads, and as most of the 5 nearest have it, with the share that agrees.
Of a space with a latent a frame, a sound is the mean of its latents, weighted by amplitude.
With --out: OUT/similar.json, and OUT/FILE/*.wav, the similar sounds, nearest first.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line


def similar(
    workdir: str | os.PathLike,
    files: Sequence[str | os.PathLike],
    *,
    out: str | os.PathLike | None = None,
    store: str | None = None,
    split: str = "all",
    number: int = 0,
    k: int = 8,
    seed: int = 0,
    progress: bool = True,
) -> dict:
    """Finds the k most similar sounds of a library for each file; what the flags of the same names say.

    Returns:
      {"sounds": [{"file", "classes" or None, "class_of_similar", "agreement", "similar": [{"id", "class", "distance"}],
      "remarks"}], "errors": [{"file", "error"}]}.

    Raises:
      ValueError: one line; also where none of the files can be used.
    """
    from timbre_jax.analysis.neighbours import SoundIndex, name_by_neighbours
    from timbre_jax.evaluation.runs import default_store, open_run
    from timbre_jax.files import write_text
    from timbre_jax.generation.sound_files import expand, read_inputs, short_name, unusable, write_sound
    from timbre_jax.maps.library import BORROW_FROM, read_library
    from timbre_jax.metrics.knn import Neighbours

    if not files:
        raise ValueError("give --files=A.wav,B.wav; see --help")
    if out is not None and Path(out).exists() and not Path(out).is_dir():
        raise ValueError(f"--out={out} is a file; it has to be a folder")
    run = open_run(workdir, hold=1.0)
    inputs, errors = read_inputs(expand(files), run.space)
    if not inputs:
        raise unusable(errors)
    library = read_library(run, store or default_store(run), split=split, number=number, seed=seed, progress=progress)
    latents, classes = [], []
    for entry in inputs:
        latent, predicted = _heard(run.space, entry)
        latents.append(latent)
        classes.append(predicted)
    found = SoundIndex.of(run.space, library.latents).search(np.concatenate(latents), k=min(k, len(library)))
    voters = Neighbours(found.indices[:, :BORROW_FROM], found.distances[:, :BORROW_FROM])
    named = name_by_neighbours(library.classes, voters)
    document: dict = {"run": str(run.workdir), "library": str(library.store), "sounds": [], "errors": errors}
    for i, entry in enumerate(inputs):
        rows = found.indices[i].tolist()
        near = [
            {"id": str(library.ids[row]), "class": str(library.classes[row]), "distance": float(distance)}
            for row, distance in zip(rows, found.distances[i], strict=True)
        ]
        about = {"file": str(entry.path), "classes": classes[i], "class_of_similar": named[i].name}
        about |= {"agreement": named[i].agreement, "similar": near, "remarks": list(entry.remarks)}
        document["sounds"].append(about)
        if out is not None:
            folder = Path(out) / f"{i:03d}_{entry.name()}"
            for place, (row, wave) in enumerate(zip(rows, library.waves(rows), strict=True)):
                name = short_name(Path(str(library.ids[row]).replace("/", "_")))
                write_sound(folder / f"{place:02d}_{name}.wav", wave, library.store.sample_rate)
    if out is not None:
        write_text(Path(out) / "similar.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return document


def _heard(space, entry) -> tuple[np.ndarray, dict | None]:
    """The latent [1, D] of a file, and what the model's class heads say of it."""
    from timbre_jax.generation.static_modes import predicted_classes

    features = space.analyse(entry.wave[None], np.array([entry.length], np.int32))
    predicted = predicted_classes(space, features)
    return np.asarray(space.encode(features).values), None if predicted is None else predicted[0]


def as_text(document: dict) -> str:
    """The result for people: a block of lines a file."""
    lines = []
    for sound in document["sounds"]:
        lines.append(f"{sound['file']}: {sound['class_of_similar']} ({sound['agreement']:.0%} of the nearest)")
        for kind, shares in (sound["classes"] or {}).items():
            best = sorted(shares, key=shares.get, reverse=True)[:3]
            lines.append(f"  {kind} by the model: " + ", ".join(f"{name} {shares[name]:.0%}" for name in best))
        lines += [f"  {near['distance']:7.3f}  {near['class']:12}  {near['id']}" for near in sound["similar"]]
        lines += [f"  note: {remark}" for remark in sound["remarks"]]
    lines += [f"left out: {error['error']}" for error in document["errors"]]
    return "\n".join(lines)


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "The run, as experiments/train.py made it.")
    flags.DEFINE_list("files", [], "Sound files or folders of them, with commas.")
    flags.DEFINE_string("out", None, "Folder for similar.json and the similar sounds; none: only print.")
    flags.DEFINE_string("store", None, "Library to search; by default the one the run was trained on.")
    flags.DEFINE_string("split", "all", "Its split, several with commas, or 'all'.")
    flags.DEFINE_integer("number", 0, "Search as many of its sounds, even over instruments; 0: all.", lower_bound=0)
    flags.DEFINE_integer("k", 8, "Similar sounds for each file.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Of the choice of sounds.")
    flags.DEFINE_bool("progress", True, "Show bars.")


def main(_) -> int:
    command_line.use_compilation_cache()
    print(as_text(command_line.call(similar)))
    return 0


if __name__ == "__main__":
    _define_flags()
    command_line.run(main, __doc__)
