"""Compares a long sound that is processed in parts with the same sound processed at once.

  python experiments/studies/long_audio.py --workdir=runs/violin --out=long
  python experiments/studies/long_audio.py --workdir=runs/violin --out=long_file --files=long.wav --minutes=10
  python experiments/studies/long_audio.py --workdir=runs/violin --out=long_parts --minutes=10 --part=256 --nowhole

Results: docs/results.md
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # the clone, not the program's folder

from experiments.studies.study import Study, run_study, write_study
from timbre_jax.settings import setting


@dataclasses.dataclass(frozen=True)
class LongAudio(Study):
    """Settings of the study of long sounds."""

    files: tuple[str, ...] = setting((), "Comma-separated sound files, which are joined. Default: sounds of the run's store.")
    minutes: float = setting(1.0, "Duration of the sound in minutes; shorter files are repeated.", low=0.001)
    part: int = setting(1024, "Length of a part in frames.", low=64)
    whole: bool = setting(True, "Process the sound at once too, which needs memory for all of it.")
    split: str = setting("test", "Split of the store.")


def measure_long(settings: LongAudio):
    """Processes a long sound in parts and as a whole and writes the differences.

    Measures the largest differences of features and latents, the error of frames and the level steps near the seams and
    elsewhere (`metrics.seams`), the processing time, and the peak memory of the process. Writes OUT/long.csv, OUT/long.md,
    OUT/results.json and OUT/audio.

    Args:
      settings: run, sound and length of the parts.

    Returns:
      The `Table`.

    Raises:
      ValueError: if the run is not of a series space.
    """
    from timbre_jax.evaluation.runs import open_run
    from timbre_jax.generation.sound_files import write_sound
    from timbre_jax.inference.chunked import decode_long, embed_long
    from timbre_jax.metrics.seams import measure_seams
    from timbre_jax.metrics.table import Result, Table
    from timbre_jax.representations.segments import analyze_in_parts, synthesize_in_parts
    from timbre_jax.training.profiling import peak_memory

    run, out, part = open_run(settings.workdir, kind="series", why="a sound of any length"), Path(settings.out), settings.part
    space, rate = run.space, run.space.sample_rate
    wave = _long_wave(run, settings)
    rows: dict[str, float] = {"minutes": len(wave) / rate / 60, "part_frames": part}
    start = time.monotonic()
    features = analyze_in_parts(space.representation, wave, part=part)
    latent = embed_long(space, wave, part=part)
    rows["seconds_to_embed"] = time.monotonic() - start
    if settings.whole:
        at_once = space.representation.with_length(len(wave)).analyze(wave[None])
        rows["features_differ"] = float(np.abs(features.values - np.asarray(at_once.values)).max())
        rows["latents_differ"] = float(np.abs(latent.values - np.asarray(space.encode(at_once).values)).max())
    start = time.monotonic()
    decoded = decode_long(space, latent, part=part)
    rendered = synthesize_in_parts(space.representation, decoded, part=part)
    rows["seconds_to_render"] = time.monotonic() - start
    if decoded.values.shape[1] > part:
        seams = measure_seams(space.representation, rendered, decoded.values[0], every=part)
        rows |= {name: float(value) for name, value in vars(seams).items()}
    rows["peak_memory_mb"] = peak_memory().process / 1e6
    write_sound(out / "audio" / "long.wav", rendered, rate)
    caption = f"A sound of {settings.minutes:g} minutes, run {run.name}, parts of {part} frames. Units: `metrics.seams`."
    table = Table("long", ("measure", "value"), tuple(rows.items()), caption)
    write_study(out, "long", [table], [Result(f"long/{name}", value, definition=caption) for name, value in rows.items()])
    return table


def _long_wave(run, settings: LongAudio) -> np.ndarray:
    """Returns a wave that is joined from files or from sounds of the run's store."""
    from timbre_jax.audio.io import read_wave
    from timbre_jax.evaluation.runs import training_store
    from timbre_jax.generation.sound_files import expand_folders

    samples = round(60 * settings.minutes * run.space.sample_rate)
    if settings.files:
        pieces = [read_wave(path, sample_rate=run.space.sample_rate)[0] for path in expand_folders(settings.files)]
    else:
        store, split = training_store(run), settings.split
        order = np.arange(min(store.length(split), -(-samples // store.samples)))
        pieces = [wave[:length] for wave, length in zip(store.audio(split, order), store.lengths(split, order), strict=True)]
    wave = np.concatenate(pieces)
    return np.tile(wave, -(-samples // len(wave)))[:samples]


if __name__ == "__main__":
    run_study(LongAudio, measure_long, __doc__)
