"""Small sets of notes as NSynth files, and an importer that needs no files."""

from __future__ import annotations

import dataclasses
import json
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile

from tests.helpers.sounds import harmonic_tone
from timbre_jax.data.importers.base import FAMILIES, NOTE_FORMAT, SOURCES, AudioFormat, LoadedSound, Record


def note_wave(pitch: int, *, seed: int = 0, length: int = 64000, level: float = 0.3) -> np.ndarray:
    """Returns a harmonic note [length] float32 with a fade-out, different for every seed."""
    generator = np.random.default_rng([seed, pitch])
    amplitudes = level * generator.uniform(0.2, 1.0, 6) / np.arange(1, 7)
    wave = harmonic_tone(440.0 * 2.0 ** ((pitch - 69) / 12), amplitudes, length=length)
    fade = np.minimum(1.0, (length - np.arange(length)) / 16000)
    return (wave * fade).astype(np.float32)


def note_name(instrument: str, pitch: int, velocity: int = 100) -> str:
    return f"{instrument}-{pitch:03d}-{velocity:03d}"


def example_entry(name: str) -> dict:
    """Returns the entry of a note in NSynth's examples.json."""
    instrument, pitch, velocity = name.rsplit("-", 2)
    family, source, _ = instrument.rsplit("_", 2)
    return {
        "note": 1, "note_str": name, "instrument": 1, "instrument_str": instrument, "pitch": int(pitch),
        "velocity": int(velocity), "sample_rate": 16000, "instrument_family": FAMILIES.index(family),
        "instrument_family_str": family, "instrument_source": SOURCES.index(source), "instrument_source_str": source,
        "qualities": [0] * 10, "qualities_str": [],
    }  # fmt: skip


def write_nsynth(folder: Path, waves: dict[str, np.ndarray], *, suffix: str = ".wav", extra: Iterable[str] = ()) -> Path:
    """Writes an NSynth folder of waves by name; `extra` are entries without a sound file."""
    (folder / "audio").mkdir(parents=True)
    for name, wave in waves.items():
        soundfile.write(folder / "audio" / f"{name}{suffix}", wave, 16000, subtype="PCM_16")
    entries = {name: example_entry(name) for name in [*waves, *extra]}
    (folder / "examples.json").write_text(json.dumps(entries, indent=1), encoding="utf-8")
    return folder


def tar_folder(folder: Path, path: Path, *, json_last: bool = False) -> Path:
    """Writes an archive of a folder in the form of NSynth's archives."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        files.sort(key=lambda file: (file.name == "examples.json") == json_last)
        for file in files:
            archive.add(file, f"{folder.name}/{file.relative_to(folder)}")
    return path


def some_notes(instruments: Iterable[str] = ("bass_synthetic_001", "flute_acoustic_002"), pitches=(48, 55, 60)) -> dict:
    return {
        note_name(instrument, pitch): note_wave(pitch, seed=number)
        for number, instrument in enumerate(instruments)
        for pitch in pitches
    }


@dataclasses.dataclass(frozen=True)
class ListedSource:
    """Importer of notes that are computed when they are loaded.

    Attributes:
      counts: number of notes of each split.
      broken: positions that cannot be loaded.
      copies: positions that are copies of the note before them.
      delay: seconds to load a note, for tests that kill the process meanwhile.
      name: part of the settings in the fingerprint.
      audio_format: sample rate and length.
    """

    counts: tuple[tuple[str, int], ...] = (("train", 150), ("valid", 20), ("test", 70))
    broken: tuple[int, ...] = ()
    copies: tuple[int, ...] = ()
    delay: float = 0.0
    name: str = "listed"
    audio_format: AudioFormat = NOTE_FORMAT

    def describe(self) -> dict:
        return {"kind": "listed", "title": "a test", "license": "none", "name": self.name, "counts": list(self.counts)}

    def plan(self) -> list[Record]:
        records, number = [], 0
        for split, count in self.counts:
            for _ in range(count):
                instrument = f"{split}-instrument-{number % 3}"
                pitch = 45 + number % 40
                records.append(Record(f"n{number:04d}", split, instrument, "bass", "acoustic", pitch, 100, "p", number))
                number += 1
        return records

    def fetch(self, records, positions):
        for position in positions:
            yield position, None

    def load(self, record: Record, payload) -> LoadedSound:
        if self.delay:
            time.sleep(self.delay)
        number = record.location
        if number in self.broken:
            raise RuntimeError("this note\ncannot be had")
        seed = number - 1 if number in self.copies else number
        noise = np.random.default_rng(seed).normal(0, 0.05, 64000)
        return LoadedSound(noise.astype(np.float32), f0=100.0 + number)
