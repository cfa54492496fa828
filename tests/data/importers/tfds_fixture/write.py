"""Writes small `nsynth/full` data sets with the writer of tensorflow-datasets.

Each file format is an archive in this folder. Needs TensorFlow (requirements-tfds.txt). Run it again when tensorflow-datasets
changes its file formats:

    PYTHONPATH=. python tests/data/importers/tfds_fixture/write.py

The notes are mostly silent and the archives compressed, since a TFRecord of four seconds takes 256 kB.
"""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

import numpy as np

from timbre_jax.data.importers.base import FAMILIES, SOURCES

INSTRUMENTS = [f"{FAMILIES[i % 11]}_{SOURCES[i % 3]}_{i:03d}" for i in range(1006)]
SPLITS = {"train": range(4), "valid": range(4, 5), "test": range(5, 8)}
FORMATS = ("tfrecord", "array_record")
SAMPLES = 64000


def example(number: int) -> dict:
    """Returns a note as NSynth's builder yields it: 1,000 samples of noise in silence."""
    audio, first = np.zeros(SAMPLES, np.float32), 7000 * number
    audio[first : first + 1000] = np.random.default_rng(number).uniform(-1, 1, 1000)
    return {
        "id": f"{INSTRUMENTS[number]}-{60 + number:03d}-100", "audio": audio, "pitch": 60 + number, "velocity": 100,
        "instrument": {"label": number, "family": number % 11, "source": number % 3},
    }  # fmt: skip


def write(folder: Path, file_format: str) -> Path:
    """Writes the notes as `download_and_prepare` of a builder of nsynth/full would.

    Returns:
      The folder of the prepared data set.
    """
    import tensorflow_datasets as tfds

    builder = tfds.builder("nsynth/full", data_dir=folder, file_format=file_format)
    features = builder.info.features
    features["instrument"]["label"].names = INSTRUMENTS
    features["instrument"]["family"].names, features["instrument"]["source"].names = list(FAMILIES), list(SOURCES)
    builder.info._metadata = tfds.core.MetadataDict(sample_rate=16000)
    Path(builder.data_dir).mkdir(parents=True, exist_ok=True)
    writer = tfds.core.SequentialWriter(builder.info, max_examples_per_shard=3, file_format=file_format)
    writer.initialize_splits(list(SPLITS))
    qualities = dict.fromkeys(features["qualities"], False)
    for split, numbers in SPLITS.items():
        for number in numbers:
            writer.add_examples({split: [{**example(number), "qualities": qualities}]})
    writer.close_all()
    return Path(builder.data_dir)


if __name__ == "__main__":
    for name in FORMATS:
        with tempfile.TemporaryDirectory() as temporary:
            write(Path(temporary), name)
            with tarfile.open(Path(__file__).with_name(f"{name}.tar.xz"), "w:xz") as archive:
                archive.add(Path(temporary, "nsynth"), "nsynth")
