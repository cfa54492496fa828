"""Sounds for the study of inversion: a reproducible mixed set, a folder, or a store."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from timbre_jax.audio.io import AUDIO_SUFFIXES, AudioFileError, read_wave

HIT_KEYS = tuple(range(35, 82))  # General MIDI's percussion map
HIT_SECONDS = 2.0
FADE_SECONDS = 0.02


@dataclasses.dataclass(frozen=True)
class Sounds:
    """Sounds of one length.

    Attributes:
      names: [M].
      groups: [M], instruments or folders, which bootstrap intervals resample as a whole.
      waves: [M, T] float32, padded with silence.
      sample_rate: Hz.
    """

    names: list[str]
    groups: list[str]
    waves: np.ndarray
    sample_rate: int


def mixed_sounds(*, number: int, seed: int, nsynth: str, sample_rate: int, samples: int) -> Sounds:
    """Draws notes and drum hits of the default bank, and real notes of NSynth.

    A third is of each kind; without NSynth, half are notes and half are hits. Notes are drawn evenly over presets, pitches and
    velocities, hits evenly over kits, keys 35 to 81 and velocities, and real notes evenly over instruments. Sounds with a peak
    below 0.001 are skipped.

    Args:
      number: number of sounds.
      seed: random seed.
      nsynth: folder or archive of NSynth, or "".
      sample_rate: Hz.
      samples: length of each sound.
    """
    count = number // 3 if nsynth else 0
    hits = (number - count) // 2
    parts = [_drum_hits(hits, seed, sample_rate), _rendered_notes(number - count - hits, seed, sample_rate)]
    if count:
        parts.append(_nsynth_notes(nsynth, count, seed, sample_rate))
    chosen = [entry for part in parts for entry in part]
    waves = np.stack([_fit_length(wave, samples, sample_rate) for _, _, wave in chosen])
    return Sounds([name for name, _, _ in chosen], [group for _, group, _ in chosen], waves, sample_rate)


def folder_sounds(path: str, *, number: int, seed: int, sample_rate: int, samples: int) -> Sounds:
    """Draws sound files of a folder and its subfolders; the groups are the subfolders.

    Args:
      path: folder.
      number: number of sounds.
      seed: random seed.
      sample_rate: Hz.
      samples: length of each sound.

    Raises:
      ValueError: if no file can be read.
    """
    files = sorted(file for file in Path(path).rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file())
    order = np.random.default_rng(seed).permutation(len(files))
    names, groups, waves = [], [], []
    for position in order:
        if len(names) == number:
            break
        try:
            wave, _ = read_wave(files[position], sample_rate=sample_rate, duration=(samples + 1) / sample_rate)
        except AudioFileError as error:
            print(f"left out: {error}")
            continue
        names.append(str(files[position].relative_to(path)))
        groups.append(str(files[position].parent))
        waves.append(_fit_length(wave, samples, sample_rate))
    if not names:
        raise ValueError(f"{path}: no readable sound file ({', '.join(AUDIO_SUFFIXES)})")
    return Sounds(names, groups, np.stack(waves), sample_rate)


def store_sounds(path: str, *, number: int, seed: int, seconds: float) -> Sounds:
    """Draws sounds of the test split of a store, or of its last split if it has no test split.

    Args:
      path: store.
      number: number of sounds.
      seed: random seed.
      seconds: length of each sound.
    """
    from timbre_jax.data.store import open_store

    store = open_store(path)
    split = "test" if "test" in store.splits else store.splits[-1]
    order = np.random.default_rng(seed).permutation(store.length(split))[:number]
    columns, samples = store.metadata(split), max(1, round(seconds * store.sample_rate))
    waves = np.stack([_fit_length(wave, samples, store.sample_rate) for wave in store.audio(split, order)])
    return Sounds(columns["id"][order].tolist(), columns["instrument"][order].tolist(), waves, store.sample_rate)


def _fit_length(wave: np.ndarray, samples: int, sample_rate: int) -> np.ndarray:
    """Pads a sound, or cuts it with a fade-out of 20 ms so that no click is graded."""
    if len(wave) <= samples:
        return np.pad(wave.astype(np.float32), (0, samples - len(wave)))
    fade = np.minimum(1.0, np.arange(samples, 0, -1) / (FADE_SECONDS * sample_rate))
    return (wave[:samples] * fade).astype(np.float32)


def _audible(wave: np.ndarray) -> bool:
    """Returns whether the peak of a sound is at least 0.001."""
    return np.max(np.abs(wave), initial=0.0) >= 1e-3


def _drum_hits(number: int, seed: int, sample_rate: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yields name, group and wave of drum hits of the default bank."""
    from timbre_jax.audio.io import resample
    from timbre_jax.data.importers.options import DEFAULT_VELOCITIES
    from timbre_jax.soundfont.banks import PERCUSSION_BANK, default_bank
    from timbre_jax.soundfont.parser import read_soundfont
    from timbre_jax.soundfont.player import RATE, render_note

    bank = read_soundfont(default_bank())
    kits = [preset for preset in bank.presets if preset.bank == PERCUSSION_BANK]
    generator, count = np.random.default_rng(seed), 0
    for key in np.concatenate([generator.permutation(HIT_KEYS) for _ in range(1 + number)]).tolist():
        if count == number:
            break
        kit, velocity = kits[generator.integers(len(kits))], int(generator.choice(DEFAULT_VELOCITIES))
        wave = resample(render_note(bank, kit, key, velocity, held=1.0, seconds=HIT_SECONDS).wave, RATE, sample_rate)
        if not _audible(wave):
            continue
        count += 1
        yield f"{kit.name}-{key:03d}-{velocity:03d}", f"key {key}", wave


def _rendered_notes(number: int, seed: int, sample_rate: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yields name, group and wave of notes of the default bank."""
    from timbre_jax.audio.io import resample
    from timbre_jax.data.importers.soundfont import SoundFontImporter

    source = SoundFontImporter(number=2 * number, seed=seed)
    records, count = source.plan(), 0
    for position in np.random.default_rng(seed).permutation(len(records)).tolist():
        if count == number:
            break
        wave = source.load(records[position], None).wave
        if not _audible(wave):
            continue
        count += 1
        yield (
            records[position].id,
            records[position].instrument,
            resample(wave, source.audio_format.sample_rate, sample_rate),
        )


def _nsynth_notes(path: str, number: int, seed: int, sample_rate: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yields name, group and wave of notes of NSynth."""
    from timbre_jax.audio.io import resample
    from timbre_jax.data.importers.nsynth import NSynthImporter

    source = NSynthImporter(path=(path,))
    records = source.plan()
    order = np.random.default_rng(seed).permutation([k for k, record in enumerate(records) if not record.left_out])
    drawn: dict[str, int] = {}
    ranked = []
    for rank, position in enumerate(order.tolist()):
        name = records[position].instrument
        drawn[name] = drawn.get(name, 0) + 1
        ranked.append((drawn[name], rank, position))
    chosen = sorted(position for _, _, position in sorted(ranked)[:number])
    for position, payload in source.fetch(records, chosen):
        record = records[position]
        yield (
            record.id,
            record.instrument,
            resample(source.load(record, payload).wave, source.audio_format.sample_rate, sample_rate),
        )
