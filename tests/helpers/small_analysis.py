"""A real small store of notes with planted factors, and runs fitted on it: what analyze, generate and evaluate work on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile

from experiments.prepare import prepare
from tests.helpers.notes import example_entry, note_name
from tests.helpers.sounds import harmonic_tone

INSTRUMENTS = {
    "train": ("bass_synthetic_001", "flute_acoustic_002", "reed_acoustic_003", "bass_synthetic_004", "flute_acoustic_005"),
    "valid": ("reed_acoustic_006",),
    "test": ("bass_synthetic_007", "flute_acoustic_008", "reed_acoustic_009"),
}
PITCHES = (45, 53, 61, 69, 77, 85)


def planted_wave(instrument: str, pitch: int, velocity: int) -> np.ndarray:
    """A 4 s note: velocity is its level, the family its tilt; small differences between instruments."""
    number = int(instrument[-3:])
    tilt = {"bass": 12.0, "flute": 3.0, "reed": 6.0}[instrument.split("_")[0]] + 0.2 * number
    level = 20 * np.log10(0.4 * velocity / 127)
    time = np.arange(64000) / 16000
    envelope = 10 ** (-3.0 * time / 20) * np.clip((4.0 - time) / 0.5, 0, 1)
    amplitudes = [10 ** ((level - tilt * n) / 20) for n in range(7)]
    return (harmonic_tone(440.0 * 2 ** ((pitch - 69) / 12), amplitudes) * envelope).astype(np.float32)


def make_store(folder: Path) -> Path:
    """A store of 54 notes of 9 instruments in 3 families, made by experiments.prepare from files in NSynth's form."""
    (folder / "nsynth" / "audio").mkdir(parents=True)
    entries = {}
    for instruments in INSTRUMENTS.values():
        for instrument in instruments:
            for step, pitch in enumerate(PITCHES):
                velocity = (30, 120, 60)[(step + int(instrument[-3:])) % 3]
                name = note_name(instrument, pitch, velocity)
                wave = planted_wave(instrument, pitch, velocity)
                soundfile.write(folder / "nsynth" / "audio" / f"{name}.wav", wave, 16000, subtype="PCM_16")
                entries[name] = example_entry(name)
    (folder / "nsynth" / "examples.json").write_text(json.dumps(entries), encoding="utf-8")
    (folder / "split.json").write_text(json.dumps({name: list(value) for name, value in INSTRUMENTS.items()}))
    store = prepare(
        out=str(folder / "store"),
        source="nsynth",
        path=[str(folder / "nsynth")],
        split_file=str(folder / "split.json"),
        keep_all=True,
        workers=1,
        progress=False,
    )
    return Path(store.path)


def fit_run(store: Path, workdir: Path, name: str = "pca", **settings) -> Path:
    """A run of a model in closed form, as experiments.train makes it."""
    from timbre_jax.training.loop import train_and_evaluate

    config = {"model": {"name": name, **settings}, "data": {"store": str(store)}}
    train_and_evaluate(config, workdir, progress=False)
    return workdir
