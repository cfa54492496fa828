"""Small sample libraries as files: different hits, and the broken files of real folders."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile

from timbre_jax.data.importers.folder import FolderImporter
from timbre_jax.data.prepare.build import build_store
from timbre_jax.data.store import Store


def hit(seed: int, *, rate: int = 44100, seconds: float = 0.25, level: float = 0.5) -> np.ndarray:
    """Returns a drum-like hit [T] float32, a falling tone with noise, that depends on a seed."""
    draw = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    start, end = draw.uniform(150, 900), draw.uniform(50, 140)
    fall, tone_decay, noise_decay = draw.uniform(15, 60), draw.uniform(8, 30), draw.uniform(10, 60)
    phase = 2 * np.pi * np.cumsum(end + (start - end) * np.exp(-fall * time)) / rate
    noise = draw.standard_normal(len(time)) * draw.uniform(0.1, 0.8)
    noise = np.convolve(noise, np.hanning(draw.integers(6, 30)), mode="same")
    wave = np.cos(phase) * np.exp(-tone_decay * time) + 0.3 * noise * np.exp(-noise_decay * time)
    return (level * wave / np.abs(wave).max()).astype(np.float32)


def write(path: Path, wave: np.ndarray, rate: int = 44100, **options) -> Path:
    """Writes a sound file in the format of its suffix, and makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, **options)
    return path


REASONS = {
    "text": "unreadable", "empty": "unreadable", "cut": "unreadable", "silent": "silent", "offset": "constant offset",
    "nan": "unreadable",
}  # fmt: skip
"""Kinds of broken files, and the reason in the doctor's report."""
BROKEN = tuple(REASONS)


def write_broken(path: Path, kind: str) -> Path:
    """Writes a WAV file of a kind of `BROKEN`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "text":
        path.write_text("this is no sound\n")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        soundfile.write(path, hit(1), 44100)
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "silent":
        soundfile.write(path, np.zeros(4000, np.float32), 44100)
    elif kind == "offset":
        soundfile.write(path, np.full(4000, 0.2, np.float32), 44100)
    else:
        wave = hit(2)
        wave[100] = np.nan
        soundfile.write(path, wave, 44100, subtype="FLOAT")
    return path


def write_library(
    folder: Path, count: int, *, classes=("kick", "snare", "hat"), broken: float = 0.0, rate: int = 44100
) -> Path:
    """Writes hits of 50 to 150 ms in a folder for each class, of which a share is broken."""
    every = round(1 / broken) if broken else count + 1
    for number in range(count):
        path = folder / classes[number % len(classes)] / f"{number:05d}.wav"
        if number % every == every - 1:
            write_broken(path, BROKEN[number // every % len(BROKEN)])
        else:
            write(path, hit(number, rate=rate, seconds=0.05 + 0.1 * (number % 7) / 6), rate)
    return folder


def build(out, *paths, **settings) -> Store:
    """Makes the store of folders of sounds."""
    return build_store(FolderImporter(tuple(map(str, paths)), **settings), out, workers=1, shard_size=64, progress=False)


def report_rows(store: Store) -> dict[str, dict]:
    """Returns the rows of a store's report by id."""
    with open(store.path / "doctor.csv", encoding="utf-8") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def columns_by_id(store: Store) -> dict[str, tuple]:
    """Returns split and columns of all sounds by id."""
    sounds = {}
    for split in store.splits:
        known = store.metadata(split)
        for row in range(store.length(split)):
            sounds[known["id"][row]] = (split, {name: column[row] for name, column in known.items()})
    return sounds
