"""NSynth with synthetic notes of 0.26 s, of any size and in every form.

Names, splits, instruments and examples.json are those of NSynth: 289,205 training notes and 12,678 and 4,096 held-out notes of
1,006 instruments. Except for the decoding of longer notes, importing it costs what importing NSynth costs.
"""

from __future__ import annotations

import io
import itertools
import json
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SPLITS = {"train": 289_205, "valid": 12_678, "test": 4_096}
INSTRUMENTS = {"train": 953, "valid": 53, "test": 53}
"""Number of instruments; valid and test share theirs."""

SAMPLES, RATE = 4160, 16_000
FORMS = ("folder", "archive", "tfrecord", "array_record")


def write_nsynth(folder: Path, form: str, splits: dict[str, int]) -> Path:
    """Writes notes in a form of NSynth.

    Args:
      folder: folder to make.
      form: one of `FORMS`.
      splits: number of notes by split.

    Returns:
      The folder.
    """
    folder.mkdir(parents=True)
    for split, count in splits.items():
        if form == "folder":
            part = folder / f"nsynth-{split}"
            (part / "audio").mkdir(parents=True)
            for name, wave in notes(split, count):
                (part / "audio" / f"{name}.wav").write_bytes(_wav(wave))
            (part / "examples.json").write_text(_examples_json(split, count))
        elif form == "archive":
            with tarfile.open(folder / f"nsynth-{split}.jsonwav.tar.gz", "w:gz", compresslevel=1) as archive:
                _add_file(archive, f"nsynth-{split}/examples.json", _examples_json(split, count).encode())
                for name, wave in notes(split, count):
                    _add_file(archive, f"nsynth-{split}/audio/{name}.wav", _wav(wave))
        else:
            _write_shards(folder, form, split, count)
    if form in FORMS[2:]:
        info = {
            "name": "nsynth", "version": "2.3.3", "fileFormat": form,
            "splits": [
                {"name": split, "shardLengths": [str(len(part)) for part in _shards(count)]} for split, count in splits.items()
            ],
        }  # fmt: skip
        (folder / "dataset_info.json").write_text(json.dumps(info))
        labels = [_instrument(split, number) for split in ("train", "valid") for number in range(INSTRUMENTS[split])]
        (folder / "instrument-label.labels.txt").write_text("\n".join(labels))
    return folder


def _instrument(split: str, number: int) -> str:
    """Returns the name of an instrument of a split."""
    from timbre_jax.data.importers.base import FAMILIES, SOURCES

    number += INSTRUMENTS["train"] if split != "train" else 0
    return f"{FAMILIES[number % 11]}_{SOURCES[number % 3]}_{number:03d}"


def _note(split: str, place: int) -> tuple[int, int, int]:
    """Returns instrument, pitch and velocity of a note; valid and test have different notes."""
    place += SPLITS["valid"] if split == "test" else 0
    rest, instrument = divmod(place, INSTRUMENTS[split])
    return instrument, 21 + rest // 5 % 88, (25, 50, 75, 100, 127)[rest % 5]


def _name(split: str, place: int) -> str:
    """Returns the name of a note."""
    instrument, pitch, velocity = _note(split, place)
    return f"{_instrument(split, instrument)}-{pitch:03d}-{velocity:03d}"


def notes(split: str, count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yields name and wave [T] int16 of the notes of a split.

    A note is a tone of seven harmonics and 16 bands of noise, with random levels, so that no two notes are near-duplicates.
    """
    time_s, harmonics = np.arange(SAMPLES) / RATE, np.arange(1, 8)
    noise = np.fft.rfft(np.random.default_rng(0).standard_normal(SAMPLES))
    edges = np.geomspace(12, len(noise), 17).astype(int)
    bands = [np.fft.irfft(np.where((np.arange(len(noise)) >= low) & (np.arange(len(noise)) < high), noise, 0), SAMPLES)
             for low, high in itertools.pairwise(edges)]  # fmt: skip
    bands = np.stack([band / np.abs(band).max() for band in bands]).astype(np.float32)
    random = np.random.default_rng(list(SPLITS).index(split) + 1)
    tones = {}
    for place in range(count):
        pitch = _note(split, place)[1]
        if pitch not in tones:
            tones[pitch] = np.sin(2 * np.pi * 440.0 * 2.0 ** ((pitch - 69) / 12) * time_s * harmonics[:, None]).astype(
                np.float32
            )
        wave = (10 ** random.uniform(-3.5, -2.0, 7)).astype(np.float32) @ tones[pitch]
        wave += (10 ** random.uniform(-2.8, -0.6, 16)).astype(np.float32) @ bands
        yield _name(split, place), np.rint(12_000 * wave).astype("<i2")


def _examples_json(split: str, count: int) -> str:
    """Returns examples.json in the format of NSynth."""
    from timbre_jax.data.importers.base import FAMILIES, SOURCES

    entries = {}
    for place in range(count):
        instrument, pitch, velocity = _note(split, place)
        name = _instrument(split, instrument)
        family, source, _ = name.rsplit("_", 2)
        entries[_name(split, place)] = {
            "note": place, "sample_rate": RATE, "instrument_family": FAMILIES.index(family), "pitch": pitch,
            "instrument_source": SOURCES.index(source), "instrument_str": name, "instrument_family_str": family,
            "instrument_source_str": source, "note_str": _name(split, place), "qualities_str": [], "instrument": instrument,
            "velocity": velocity, "qualities": [0] * 10,
        }  # fmt: skip
    return json.dumps(entries, indent=4)


def _wav(wave: np.ndarray) -> bytes:
    """Returns a WAV file of int16 samples."""
    data = wave.tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16,
                       b"data", len(data))  # fmt: skip
    return head + data


def _add_file(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    """Adds a file to an archive."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def _shards(count: int) -> list[range]:
    """Returns the notes of each shard of 1,000."""
    return [range(start, min(start + 1000, count)) for start in range(0, count, 1000)]


def _write_shards(folder: Path, form: str, split: str, count: int) -> None:
    """Writes the shards of a split in a form of tensorflow-datasets."""
    from tensorflow_datasets.proto import tf_example_pb2

    from timbre_jax.data.array_records import RecordWriter

    remaining, parts = notes(split, count), _shards(count)
    offset = INSTRUMENTS["train"] if split != "train" else 0
    for number, part in enumerate(parts):
        path = folder / f"nsynth-{split}.{form}-{number:05d}-of-{len(parts):05d}"
        examples = []
        for place in part:
            name, wave = next(remaining)
            instrument, pitch, velocity = _note(split, place)
            label = instrument + offset
            example = tf_example_pb2.Example()
            feature = example.features.feature
            feature["audio"].float_list.value.extend((wave / 32768).astype("<f4").tolist())
            feature["id"].bytes_list.value.append(name.encode())
            for key, value in (("family", label % 11), ("label", label), ("source", label % 3)):
                feature[f"instrument/{key}"].int64_list.value.append(value)
            feature["pitch"].int64_list.value.append(pitch)
            feature["velocity"].int64_list.value.append(velocity)
            examples.append(example.SerializeToString(deterministic=True))
        if form == "array_record":
            writer = RecordWriter(path, "group_size:1")
            for example in examples:
                writer.write(example)
            writer.close()
            continue
        with open(path, "wb") as file:
            for example in examples:  # the importer ignores both checksums
                file.write(struct.pack("<QI", len(example), 0) + example + bytes(4))
