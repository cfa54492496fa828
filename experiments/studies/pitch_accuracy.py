"""How right the signal analysis is, on notes whose pitch is known.

  python experiments/studies/pitch_accuracy.py
  python experiments/studies/pitch_accuracy.py --number=2000 --nsynth=FOLDER --out=signals.json

Renders --number notes of the default SoundFont bank (keys 40-96, all presets and velocities alike), whose pitch the
player knows from the measured samples and its own playing speed, and prints

- the share of sustained frames whose f0 lies within 10 cents of it. Sustained: 0.1 to 2.95 s (note-off is at 3 s), at
  most 40 dB under the note's loudest frame. Notes whose pitch the bank moves (vibrato, detuned voices) are counted and
  listed apart; notes that the doctor leaves out (not harmonic, unsteady) are in a row of their own;
- the log-spectral distance of the notes to their resynthesis, with seven harmonics and with all of them;
- with --nsynth (NSynth's form: examples.json and audio/*), the share of real notes within 50 cents of their key,
  octaves folded and not.

Intervals are 95 %, resampled over instruments.
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
HOLD = (0.1, 2.95)  # seconds
AUDIBLE_DB = 40.0


@dataclasses.dataclass(frozen=True)
class PitchAccuracy(Settings):
    """Settings of the study of signal analysis."""

    number: int = setting(400, "Number of notes to render.", low=1)
    seed: int = setting(1, "Random seed of the choice of notes.", low=0)
    nsynth: str = setting("", "Folder or archive of real notes in NSynth's form.")
    out: str = setting("", "JSON file for the results.")


def measure_pitch(settings: PitchAccuracy) -> Table:
    """Measures rendered and real notes; the table's caption names the presets that are counted apart."""
    rendered = measure_rendered(settings.number, settings.seed)
    rows = results(rendered, measure_real(settings.nsynth) if settings.nsynth else [])
    if settings.out:
        write_results(settings.out, rows)
    return dataclasses.replace(Table.from_records("results", [vars(row) for row in rows]), caption=apart(rendered))


def batches(source: Any, records: Sequence[Any]) -> Iterator[tuple[list[Any], list[Any], np.ndarray]]:
    """(records, loaded notes, waves [BATCH, 64000]) a few at a time; the last batch is filled up with silence."""
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
    """One dict a note of known pitch: id, instrument, moves, kept, frames, right (within 10 cents), lsd_7, lsd_all."""
    from timbre_jax.audio.distances import log_spectral_distance
    from timbre_jax.data.importers.soundfont import SoundFontSource
    from timbre_jax.data.prepare.quality import reason_of_quality
    from timbre_jax.representations import HarmonicTracks

    source = SoundFontSource(number=number, seed=seed)
    seven, every = HarmonicTracks(), HarmonicTracks(n_harmonics=0)
    seconds = np.arange(seven.n_frames) * seven.hop / seven.sample_rate
    held = (seconds >= HOLD[0]) & (seconds <= HOLD[1])
    notes = []
    for records, loaded, waves in batches(source, source.plan()):
        tracks = seven.track(waves)
        f0, level = np.asarray(tracks.f0), np.asarray(tracks.level_db)
        quality = {name: np.asarray(value) for name, value in seven.quality(waves).items()}
        distances = [np.asarray(log_spectral_distance(way.synthesize(way.analyze(waves)), waves)) for way in (seven, every)]
        for row, (record, note) in enumerate(zip(records, loaded, strict=True)):
            heard = held & (level[row] > level[row].max() - AUDIBLE_DB)
            if not (80.0 <= note.f0 <= 2100.0 and heard.any() and quality["level_db"][row] > -80.0):
                continue
            cents = 1200.0 * np.log2(f0[row, heard] / note.f0)
            own = {name: float(value[row]) for name, value in quality.items()}
            notes.append(
                {
                    "id": record.id, "instrument": record.instrument, "preset": record.preset,
                    "moves": note.pitch_moves, "kept": not reason_of_quality(own, record.pitch, note.f0),
                    "frames": int(heard.sum()), "right": float(np.mean(np.abs(cents) <= 10.0)),
                    "lsd_7": float(distances[0][row]), "lsd_all": float(distances[1][row]),
                }
            )  # fmt: skip
    return notes


def measure_real(path: str) -> list[dict[str, Any]]:
    """One dict a real note with a key of 40-96: instrument, kept, cents from the key, folded cents."""
    from timbre_jax.data.importers.nsynth import NSynthSource
    from timbre_jax.data.prepare.quality import reason_of_quality
    from timbre_jax.representations import HarmonicTracks

    source = NSynthSource(path=(path,), pitches=tuple(range(40, 97)))
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
                    "instrument": record.instrument, "kept": not reason_of_quality(own, record.pitch, 0.0),
                    "cents": cents, "folded": folded,
                }
            )  # fmt: skip
    return notes


def _column(notes: list[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([note[name] for note in notes])


def results(rendered: list[dict[str, Any]], real: list[dict[str, Any]]) -> list[Result]:
    """The rows that are printed and written."""
    rows = []

    def add(name: str, notes: list[dict[str, Any]], values: np.ndarray, definition: str, weights=None) -> None:
        if notes:
            instruments = _column(notes, "instrument")
            definition = f"{definition}; {len(notes)} notes of {len(set(instruments))} instruments"
            rows.append(mean_result(name, values, definition, groups=instruments, weights=weights))

    steady = [note for note in rendered if not note["moves"]]
    kept = [note for note in steady if note["kept"]]
    share = "share of sustained frames with f0 within 10 cents of the player's pitch"
    for name, notes, which in (
        ("f0_within_10_cents", kept, "rendered notes of steady pitch that the doctor keeps"),
        ("f0_within_10_cents_all", steady, "rendered notes of steady pitch, unharmonic and unsteady ones too"),
        ("f0_within_10_cents_moving", [n for n in rendered if n["moves"]], "rendered notes whose pitch the bank moves"),
    ):
        add(name, notes, _column(notes, "right"), f"{share}: {which}", weights=_column(notes, "frames"))
    every = [note for note in rendered if note["kept"]]
    for name, which in (("lsd_7", "7 harmonics"), ("lsd_all", "all harmonics")):
        definition = f"log-spectral distance in dB, resynthesis to rendered note, {which} (Hann 1024/256, floor -80 dB)"
        add(name, every, _column(every, name), definition)
    real_kept = [note for note in real if note["kept"]]
    for name, column, how in (
        ("real_within_50_cents_folded", "folded", "octaves folded"),
        ("real_within_50_cents", "cents", "octave errors count, and instruments that sound an octave off"),
    ):
        definition = f"share of kept real NSynth notes with median f0 within 50 cents of the key, {how}"
        add(name, real_kept, np.abs(_column(real_kept, column)) < 50.0, definition)
    if real:
        add("real_kept", real, _column(real, "kept"), "share of real NSynth notes, keys 40-96, that the doctor keeps")
    return rows


def apart(rendered: list[dict[str, Any]]) -> str:
    """The presets whose pitch moves, and the others with under 95 % of their frames right, as lines of text."""
    lines = []
    for title, moving in (("pitch moves in the bank", True), ("under 95 % right though steady and kept", False)):
        by_preset: dict[str, list[dict[str, Any]]] = {}
        for note in rendered:
            if note["moves"] == moving and (moving or note["kept"]):
                by_preset.setdefault(note["preset"], []).append(note)
        shares = {name: float(np.mean(_column(notes, "right"))) for name, notes in by_preset.items()}
        listed = [f"{name} {100 * value:.0f} %" for name, value in sorted(shares.items()) if moving or value < 0.95]
        lines.append(f"{title}: {', '.join(listed) or 'none'}")
    return "\n".join(lines)


if __name__ == "__main__":
    run_study(PitchAccuracy, measure_pitch, __doc__)
