"""Long sounds: are latents in parts those of the whole, does the sound have seams, what does it cost?

  python experiments/studies/long_audio.py --workdir=run --out=long    # recordings of the run's store, joined
  python experiments/studies/long_audio.py --workdir=run --out=long --files=long.wav --minutes=10

A sound of --minutes goes through the space in parts of --part frames, and at once. Said of it: the largest difference of
features and latents; the error of the made sound's frames, and steps of its level, near the seams and elsewhere
(timbre_jax.metrics.seams); seconds taken and the process's peak memory. Writes OUT/long.csv, OUT/results.json and OUT/audio.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # the clone, not the program's folder

from experiments import command_line


def measure_long(
    workdir: str | os.PathLike,
    out: str | os.PathLike,
    *,
    files: Sequence[str | os.PathLike] = (),
    minutes: float = 1.0,
    part: int = 1024,
    whole: bool = True,
    split: str = "test",
):
    """Measures and writes; what the flags of the same names say. Returns the `Table`.

    Raises:
      ValueError: one line.
    """
    from timbre_jax.audio.io import read_wave
    from timbre_jax.evaluation.runs import open_run, training_store
    from timbre_jax.generation.sound_files import expand, write_sound
    from timbre_jax.inference.chunked import decode_long, embed_long
    from timbre_jax.metrics.seams import measure_seams
    from timbre_jax.metrics.table import Result, Table, write_results
    from timbre_jax.representations.segments import analyse_in_parts, synthesise_in_parts

    run = open_run(workdir, kind="series", why="a sound of any length")
    space, rate = run.space, run.space.sample_rate
    samples = round(60 * minutes * rate)
    if files:
        pieces = [read_wave(path, sample_rate=rate)[0] for path in expand(files)]
    else:
        store = training_store(run)
        order = np.arange(min(store.length(split), -(-samples // store.samples)))
        pieces = [wave[:length] for wave, length in zip(store.audio(split, order), store.lengths(split, order), strict=True)]
    wave = np.concatenate(pieces)
    wave = np.tile(wave, -(-samples // len(wave)))[:samples]
    rows: dict[str, float] = {"minutes": len(wave) / rate / 60, "part_frames": part}
    start = time.monotonic()
    features = analyse_in_parts(space.representation, wave, part=part)
    latent = embed_long(space, wave, part=part)
    rows["seconds_to_embed"] = time.monotonic() - start
    if whole:
        at_once = space.representation.with_length(len(wave)).analyse(wave[None])
        rows["features_differ"] = float(np.abs(features.values - np.asarray(at_once.values)).max())
        rows["latents_differ"] = float(np.abs(latent.values - np.asarray(space.encode(at_once).values)).max())
    start = time.monotonic()
    decoded = decode_long(space, latent, part=part)
    made = synthesise_in_parts(space.representation, decoded, part=part)
    rows["seconds_to_render"] = time.monotonic() - start
    if decoded.values.shape[1] > part:
        found = measure_seams(space.representation, made, decoded.values[0], every=part)
        rows |= {name: float(value) for name, value in vars(found).items()}
    rows["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    write_sound(Path(out) / "audio" / "long.wav", made, rate)
    caption = f"A sound of {minutes:g} minutes through {run.name}, in parts of {part} frames; units: timbre_jax.metrics.seams."
    table = Table("long", ("what", "value"), tuple(rows.items()), caption)
    table.write_csv(Path(out))
    write_results(
        Path(out) / "results.json", [Result(f"long/{name}", value, definition=caption) for name, value in rows.items()]
    )
    return table


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "The run, as experiments/train.py made it.")
    flags.DEFINE_string("out", None, "Folder for the table and the sound.")
    flags.DEFINE_list("files", [], "Sounds, joined; without, those of the run's store.")
    flags.DEFINE_float("minutes", 1.0, "How long; what is shorter is repeated.", lower_bound=0.001)
    flags.DEFINE_integer("part", 1024, "Frames that go through at once.", lower_bound=64)
    flags.DEFINE_bool("whole", True, "Compare with the whole at once, which takes its memory.")
    flags.DEFINE_string("split", "test", "Of the store.")


def main(_) -> int:
    command_line.use_compilation_cache()
    table = command_line.call(measure_long)
    print(f"{table.markdown()}\n{table.caption}")
    return 0


if __name__ == "__main__":
    _define_flags()
    command_line.run(main, __doc__)
