"""Measures the accuracy of the f0 analysis on notes of known pitch.

  python experiments/studies/pitch_accuracy.py
  python experiments/studies/pitch_accuracy.py --number=2000 --out=pitch.json
  python experiments/studies/pitch_accuracy.py --nsynth=nsynth-test --out=pitch_nsynth.json

Results: docs/results.md
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # the clone, not the program's folder

from experiments.studies.study import mean_result, run_study
from timbre_jax.metrics.table import Result, Table, write_results
from timbre_jax.settings import Settings, setting

BATCH = 32
HOLD = (0.1, 2.95)
"""Sustained part of a note in seconds; note-off is at 3 s."""

RANGE_DB = 40.0
"""Frames below the loudest frame by more than this do not count."""


@dataclasses.dataclass(frozen=True)
class PitchAccuracy(Settings):
    """Settings of the study of the f0 analysis."""

    number: int = setting(400, "Number of notes to render from the default bank.", low=1)
    seed: int = setting(1, "Random seed for the choice of notes.", low=0)
    nsynth: str = setting("", "NSynth as a folder or archive, to measure real notes too.")
    out: str = setting("", "JSON file for the results.")


def measure_pitch(settings: PitchAccuracy) -> Table:
    """Measures rendered notes, whose f0 the player knows, and real notes of NSynth.

    Rendered notes have keys 40 to 96 and are drawn evenly over presets and velocities. The player derives the f0 from the
    measured samples and its playback speed. Notes whose pitch the bank moves (vibrato, detuned voices), and notes that the
    doctor leaves out (not harmonic, unsteady), have their own rows. All intervals are 95 %, resampled over instruments.

    Args:
      settings: notes to measure.

    Returns:
      The `Table`, whose caption lists presets with moving or inaccurate pitch; the results are written to `settings.out` too.
    """
    rendered = measure_rendered(settings.number, settings.seed)
    rows = results(rendered, measure_real(settings.nsynth) if settings.nsynth else [])
    if settings.out:
        write_results(settings.out, rows)
    return Table.from_records("results", [vars(row) for row in rows], preset_lines(rendered))


def batches(source: Any, records: Sequence[Any]) -> Iterator[tuple[list[Any], list[Any], np.ndarray]]:
    """Yields records, loaded notes and waves [BATCH, 64000]; silence pads the last batch."""
    from tqdm import tqdm

    positions = [k for k, record in enumerate(records) if not record.left_out]
    with tqdm(total=len(positions), desc="notes", unit="note") as bar:
        for first in range(0, len(positions), BATCH):
            chosen = positions[first : first + BATCH]
            loaded = {k: source.load(records[k], payload) for k, payload in source.fetch(records, chosen)}
            waves = np.zeros((BATCH, 64000), np.float32)
            for row, k in enumerate(chosen):
                waves[row, : len(loaded[k].wave)] = loaded[k].wave
            yield [records[k] for k in chosen], [loaded[k] for k in chosen], waves
            bar.update(len(chosen))


def measure_rendered(number: int, seed: int) -> list[dict[str, Any]]:
    """Renders notes and measures their f0 and resynthesis.

    Args:
      number: number of notes.
      seed: random seed.

    Returns:
      For each note: id, instrument, preset, moves (whether the bank moves the pitch), kept (by the doctor), frames (number of
      sustained frames), accurate (share of them with an f0 within 10 cents), lsd_7 and lsd_all (log-spectral distance in dB of
      the resynthesis with 7 and all harmonics).
    """
    from timbre_jax.audio.distances import log_spectral_distance
    from timbre_jax.data.importers.soundfont import SoundFontImporter
    from timbre_jax.data.prepare.quality import note_problem
    from timbre_jax.representations import HarmonicTracks

    source = SoundFontImporter(number=number, seed=seed)
    seven, every = HarmonicTracks(), HarmonicTracks(n_harmonics=0)
    seconds = np.arange(seven.n_frames) * seven.hop / seven.sample_rate
    held = (seconds >= HOLD[0]) & (seconds <= HOLD[1])
    notes = []
    for records, loaded, waves in batches(source, source.plan()):
        tracked = seven.track(waves)
        f0, level = np.asarray(tracked.f0), np.asarray(tracked.level_db)
        quality = {name: np.asarray(value) for name, value in seven.quality(waves).items()}
        distances = [
            np.asarray(log_spectral_distance(tracks.synthesize(tracks.analyze(waves)), waves)) for tracks in (seven, every)
        ]
        for row, (record, note) in enumerate(zip(records, loaded, strict=True)):
            sustained = held & (level[row] > level[row].max() - RANGE_DB)
            if not (80.0 <= note.f0 <= 2100.0 and sustained.any() and quality["level_db"][row] > -80.0):
                continue
            cents = 1200.0 * np.log2(f0[row, sustained] / note.f0)
            own = {name: float(value[row]) for name, value in quality.items()}
            notes.append(
                {
                    "id": record.id, "instrument": record.instrument, "preset": record.preset,
                    "moves": note.pitch_moves, "kept": not note_problem(own, record.pitch, note.f0),
                    "frames": int(sustained.sum()), "accurate": float(np.mean(np.abs(cents) <= 10.0)),
                    "lsd_7": float(distances[0][row]), "lsd_all": float(distances[1][row]),
                }
            )  # fmt: skip
    return notes


def measure_real(path: str) -> list[dict[str, Any]]:
    """Measures the f0 of NSynth's notes with keys from 40 to 96.

    Args:
      path: folder or archive.

    Returns:
      For each note: instrument, kept (by the doctor), cents (from the key) and folded (cents without octaves).
    """
    from timbre_jax.data.importers.nsynth import NSynthImporter
    from timbre_jax.data.prepare.quality import note_problem
    from timbre_jax.representations import HarmonicTracks

    source = NSynthImporter(path=(path,), pitches=tuple(range(40, 97)))
    representation = HarmonicTracks()
    notes = []
    for records, loaded, waves in batches(source, source.plan()):
        quality = {name: np.asarray(value) for name, value in representation.quality(waves).items()}
        for row, record in enumerate(records[: len(loaded)]):
            own = {name: float(value[row]) for name, value in quality.items()}
            key = 440.0 * 2.0 ** ((record.pitch - 69) / 12)
            cents = 1200.0 * np.log2(own["f0"] / key) if own["f0"] > 0 else np.inf
            folded = cents - 1200.0 * np.round(cents / 1200.0) if np.isfinite(cents) else np.inf
            notes.append(
                {
                    "instrument": record.instrument, "kept": not note_problem(own, record.pitch, 0.0),
                    "cents": cents, "folded": folded,
                }
            )  # fmt: skip
    return notes


def _column(notes: list[dict[str, Any]], name: str) -> np.ndarray:
    """Returns a value of each note."""
    return np.array([note[name] for note in notes])


def results(rendered: list[dict[str, Any]], real: list[dict[str, Any]]) -> list[Result]:
    """Returns the results of rendered and real notes."""
    rows = []

    def add(name: str, notes: list[dict[str, Any]], values: np.ndarray, definition: str, weights=None) -> None:
        if notes:
            instruments = _column(notes, "instrument")
            definition = f"{definition}; {len(notes)} notes of {len(set(instruments))} instruments"
            rows.append(mean_result(name, values, definition, groups=instruments, weights=weights))

    steady = [note for note in rendered if not note["moves"]]
    kept = [note for note in steady if note["kept"]]
    share = "share of sustained frames with f0 within 10 cents of the player's pitch"
    for name, notes, description in (
        ("f0_within_10_cents", kept, "rendered notes of steady pitch that the doctor keeps"),
        ("f0_within_10_cents_all", steady, "all rendered notes of steady pitch"),
        ("f0_within_10_cents_moving", [n for n in rendered if n["moves"]], "rendered notes whose pitch the bank moves"),
    ):
        add(name, notes, _column(notes, "accurate"), f"{share}: {description}", weights=_column(notes, "frames"))
    every = [note for note in rendered if note["kept"]]
    for name, harmonics in (("lsd_7", "7 harmonics"), ("lsd_all", "all harmonics")):
        definition = (
            f"log-spectral distance in dB, resynthesis to rendered note, {harmonics} (Hann 1024/256, levels below -80 "
            "dB raised to it)"
        )
        add(name, every, _column(every, name), definition)
    real_kept = [note for note in real if note["kept"]]
    for name, column, octaves in (
        ("real_within_50_cents_folded", "folded", "octaves folded"),
        ("real_within_50_cents", "cents", "octave errors counted, also of instruments that sound an octave off"),
    ):
        definition = f"share of kept real NSynth notes with median f0 within 50 cents of the key, {octaves}"
        add(name, real_kept, np.abs(_column(real_kept, column)) < 50.0, definition)
    if real:
        add("real_kept", real, _column(real, "kept"), "share of real NSynth notes, keys 40-96, that the doctor keeps")
    return rows


def preset_lines(rendered: list[dict[str, Any]]) -> str:
    """Returns two lines: presets with moving pitch, and presets with inaccurate frames."""
    lines = []
    for title, moving in (("Presets with moving pitch", True), ("Steady presets with under 95 % accurate frames", False)):
        by_preset: dict[str, list[dict[str, Any]]] = {}
        for note in rendered:
            if note["moves"] == moving and (moving or note["kept"]):
                by_preset.setdefault(note["preset"], []).append(note)
        shares = {name: float(np.mean(_column(notes, "accurate"))) for name, notes in by_preset.items()}
        listed = [f"{name} {100 * value:.0f} %" for name, value in sorted(shares.items()) if moving or value < 0.95]
        lines.append(f"{title}: {', '.join(listed) or 'none'}")
    return "\n".join(lines)


if __name__ == "__main__":
    run_study(PitchAccuracy, measure_pitch, __doc__)
