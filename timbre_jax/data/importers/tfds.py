"""Imports NSynth as prepared by tensorflow-datasets, without TensorFlow.

The parser of tensorflow-datasets reads the examples. A prepared data set is a folder with `dataset_info.json`, `features.json`,
label names and shards of serialized `tf.train.Example`s in TFRecord (the default) or array_record files. All configurations of
`nsynth` (full, gansynth_subset, gansynth_subset.f0_and_loudness) have the features that are read here. Only preparing a data
set needs TensorFlow.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from timbre_jax.audio.io import AudioFileError
from timbre_jax.data.array_records import open_records
from timbre_jax.data.importers.base import FAMILIES, SAMPLES, SOURCES, SPLITS, Importer, LoadedSound, Record
from timbre_jax.data.importers.nsynth import LICENSE, NSynthSettings
from timbre_jax.settings import setting

_INFO = "dataset_info.json"
_TITLE = {"kind": "tfds", "title": "NSynth (tensorflow-datasets)", "license": LICENSE}


@dataclasses.dataclass(frozen=True)
class TfdsImporter(NSynthSettings):
    """Importer of NSynth as prepared by tensorflow-datasets.

    `path` names folders with dataset_info.json (such as ~/tensorflow_datasets/nsynth/full/2.3.3), or a folder above exactly one
    of them. The splits are those of the data set, unless a `split_file` is set.

    Raises:
      ValueError: both a path and a data set are set, or a value is out of range.
    """

    dataset: str = setting(
        "", "Data set to use: nsynth/full or nsynth/gansynth_subset. Unless it is in ~/tensorflow_datasets (or TFDS_DATA_DIR), "
        "it is downloaded and prepared, which needs TensorFlow.",
    )  # fmt: skip

    def __post_init__(self):
        super().__post_init__()
        if self.path and self.dataset:
            raise ValueError(
                "--path and --dataset: only one is allowed; give the folder of a prepared data set or the name of a data set"
            )

    def importer(self) -> TfdsImporter:
        """Returns the importer of the data set, which is downloaded and prepared if necessary."""
        return dataclasses.replace(self, path=(str(prepare_dataset(self.dataset)),), dataset="") if self.dataset else self

    def describe(self) -> dict[str, Any]:
        """Returns the settings for the index of a store."""
        return {**_TITLE, **self.describe_settings()}

    def plan(self) -> list[Record]:
        """Returns one record per note."""
        if not self.path:
            raise ValueError(
                "--path: missing; give the folder of a prepared NSynth, such as ~/tensorflow_datasets/nsynth/full/2.3.3"
            )
        records: list[Record] = []
        for path in self.path:
            folder = find_prepared(path)
            names = {kind: _label_names(folder, kind) for kind in ("label", "family", "source")}
            for split, file in _shards(folder):
                for location, raw in _raw_examples(file):
                    records.append(_record(split, location, _parse(_notes_parser(), raw, location), names))
        if not records:
            raise ValueError(f"{', '.join(self.path)}: the prepared data set contains no notes")
        return self.select(records)

    def load(self, record: Record, payload: Any) -> LoadedSound:
        """Loads a note."""
        file, place, size = record.location
        try:
            example = _audio_parser(os.path.dirname(file)).parse_example(_read(file, place, size))
        except Exception as error:  # errors of protobuf or of the parser
            raise AudioFileError(f"{record.id}: damaged example ({type(error).__name__})") from None
        return load_note(record, example.get("audio"))


@dataclasses.dataclass(frozen=True)
class DataSourceImporter(NSynthSettings):
    """Importer of tensorflow-datasets data sources, or of other sequences of NSynth examples.

    Attributes:
      data: examples of each split, such as `builder.as_data_source()`. Each example has id, audio, pitch, velocity and
        instrument (label, family, source); labels are numbers or text.
    """

    data: Mapping[str, Sequence[Mapping[str, Any]]] = dataclasses.field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """Returns the settings for the index of a store."""
        return {**_TITLE, **self.describe_settings()}

    def plan(self) -> list[Record]:
        """Returns one record per example."""
        if unknown := sorted(set(self.data) - set(SPLITS)):
            raise ValueError(f"data: unknown split {unknown[0]!r}, must be one of {', '.join(SPLITS)}")
        records = []
        for split, examples in self.data.items():
            names = _instrument_names(examples)
            records += [_record(split, (split, k), examples[k], names) for k in range(len(examples))]
        return self.select(records)

    def load(self, record: Record, payload: Any) -> LoadedSound:
        """Loads an example."""
        split, position = record.location
        return load_note(record, self.data[split][position].get("audio"))


def tfds_importer(data: Any, **selection: Any) -> Importer:
    """Creates the importer of a builder or of data sources of tensorflow-datasets.

    Args:
      data: builder of a prepared data set, result of its `as_data_source()`, or data source of one split.
      selection: settings of `NSynthSettings`.
    """
    if hasattr(data, "as_data_source"):
        return TfdsImporter(path=(str(data.data_dir),), **selection)
    if not isinstance(data, Mapping):
        data = {str(data.split).split("[")[0]: data}  # "train[:10%]" is a part of train
    return DataSourceImporter(data=data, **selection)


def prepare_dataset(name: str) -> Path:
    """Returns the folder of a data set, downloaded and prepared if necessary.

    Raises:
      ValueError: the data set must be prepared and TensorFlow is not installed, or it does not exist.
    """
    folder = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser() / name
    if existing := sorted(folder.glob(f"*/{_INFO}")):
        return existing[-1].parent
    if importlib.util.find_spec("tensorflow") is None:
        raise ValueError(
            f"--dataset={name}: not in {folder}, and preparing it needs TensorFlow; run pip install tensorflow apache-beam, or "
            "prepare it on another machine and give its folder with --path"
        )
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name)
    except tfds.core.DatasetNotFoundError:
        raise ValueError(
            f"--dataset={name}: unknown to tensorflow-datasets; use nsynth/full or nsynth/gansynth_subset"
        ) from None
    builder.download_and_prepare(file_format="array_record")
    return Path(builder.data_dir)


def load_note(record: Record, audio: np.ndarray | None) -> LoadedSound:
    """Converts the audio of an example to a loaded sound.

    Raises:
      AudioFileError: the audio is missing or not finite.
    """
    if audio is None:
        raise AudioFileError(f"{record.id}: the example has no audio")
    audio = np.asarray(audio)
    # Integer features contain 16-bit samples.
    wave = audio.astype(np.float32) / np.float32(1.0 if audio.dtype.kind == "f" else 32768.0)
    if not np.isfinite(wave).all():
        raise AudioFileError(f"{record.id}: NaN or infinite in {np.count_nonzero(~np.isfinite(wave))} of {wave.size} samples")
    remarks = () if len(wave) == SAMPLES else (f"{'cut' if len(wave) > SAMPLES else 'padded'} to 4 s",)
    return LoadedSound(wave[:SAMPLES], remarks=remarks)


def find_prepared(path: str) -> Path:
    """Returns the folder with dataset_info.json: the path itself, or the only one below it.

    Raises:
      ValueError: there is no such folder, or more than one.
    """
    if not os.path.isdir(path):
        raise ValueError(f"{path}: no such folder")
    if os.path.isfile(os.path.join(path, _INFO)):
        return Path(path)
    files = [file for depth in ("*", "*/*", "*/*/*") for file in sorted(Path(path).glob(f"{depth}/{_INFO}"))]
    if not files:
        raise ValueError(f"{path}: no {_INFO}; give a folder that tensorflow-datasets prepared")
    if len(files) > 1:
        raise ValueError(
            f"{path}: contains several data sets ({', '.join(str(f.parent) for f in files[:3])}); give one of them"
        )
    return files[0].parent


def _shards(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yields (split, file) of all shards, train first."""
    try:
        info = json.loads((folder / _INFO).read_text(encoding="utf-8"))
        splits = {split["name"]: split for split in info["splits"]}
        counts = {name: len(split.get("shardLengths", [])) for name, split in splits.items()}
        kind, dataset = info.get("fileFormat", "tfrecord"), info.get("name", "nsynth")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / _INFO}: damaged ({type(error).__name__}: {error})") from None
    if kind not in ("tfrecord", "array_record"):
        raise ValueError(
            f"{folder}: unknown file format (got {kind}, expected tfrecord or array_record); prepare the data set again"
        )
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown:
        raise ValueError(f"{folder}: unknown split {unknown[0]!r}, must be one of {', '.join(SPLITS)}")
    for split in (name for name in SPLITS if name in splits):
        template = splits[split].get("filepathTemplate") or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        for number in range(counts[split]):
            values = {
                "DATASET": dataset, "SPLIT": split, "FILEFORMAT": kind, "SHARD_INDEX": f"{number:05d}",
                "NUM_SHARDS": f"{counts[split]:05d}", "SHARD_X_OF_Y": f"{number:05d}-of-{counts[split]:05d}",
            }  # fmt: skip
            name = template
            for key, value in values.items():
                name = name.replace("{" + key + "}", value)
            if not (folder / name).is_file():
                raise ValueError(f"{folder / name}: missing; prepare the data set again")
            yield split, folder / name


def _label_names(folder: Path, kind: str) -> list[str]:
    """Returns the names of instrument labels, families or sources in a prepared data set."""
    file = folder / f"instrument-{kind}.labels.txt"
    if not file.is_file():
        return list(FAMILIES) if kind == "family" else list(SOURCES) if kind == "source" else []
    return file.read_text(encoding="utf-8").split("\n")


def _instrument_names(examples: Any) -> dict[str, list[str]]:
    """Returns the label names of a data source, or those of NSynth."""
    names = {"label": [], "family": list(FAMILIES), "source": list(SOURCES)}
    info = getattr(examples, "dataset_info", None)  # data sources of tensorflow-datasets have it
    if info is not None:
        names |= {kind: info.features["instrument"][kind].names or names[kind] for kind in names}
    return names


def _parser(specs: Mapping[str, tuple[tuple, Any]]):
    """Returns tensorflow-datasets' parser of some features, given as {name: (shape, dtype)}."""
    from tensorflow_datasets.core.example_parser import ExampleParserNp
    from tensorflow_datasets.core.features.feature import TensorInfo

    return ExampleParserNp({name: TensorInfo(shape=shape, dtype=dtype) for name, (shape, dtype) in specs.items()})


@functools.cache
def _notes_parser():
    """Returns the parser of everything but the audio."""
    numbers = ("pitch", "velocity", "instrument/label", "instrument/family", "instrument/source")
    return _parser({"id": ((), np.object_), **{name: ((), np.int64) for name in numbers}})


@functools.lru_cache(maxsize=16)
def _audio_parser(folder: str):
    """Returns the parser of the audio, with the type that features.json declares."""
    try:
        features = json.loads(Path(folder, "features.json").read_text(encoding="utf-8"))["featuresDict"]["features"]
        declared = features["audio"]["audio"]["dtype"]
    except (OSError, ValueError, KeyError, TypeError):
        declared = "float32"
    return _parser({"audio": ((None,), np.dtype(declared).type)})


def _parse(parser: Any, raw: bytes, location: tuple) -> Mapping[str, Any]:
    """Parses an example. Raises ValueError if it is damaged."""
    try:
        return parser.parse_example(raw)
    except Exception as error:  # errors of protobuf or of the parser
        raise ValueError(
            f"{location[0]}: example {location[1]} is damaged or not a note of NSynth ({type(error).__name__})"
        ) from None


def _record(split: str, location: tuple, example: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> Record:
    """Returns the record of an example."""
    flat = {**example, **{f"instrument/{key}": value for key, value in (example.get("instrument") or {}).items()}}

    def number(name: str) -> int:
        value = flat.get(name, -1)
        return int(value) if not isinstance(value, str | bytes) else -1

    def named(kind: str) -> str:
        value = flat.get(f"instrument/{kind}", -1)
        if isinstance(value, str | bytes):
            return _text(value)
        return names[kind][int(value)] if 0 <= int(value) < len(names[kind]) else ""

    note = _text(flat.get("id", b""))
    instrument = named("label") or note.rsplit("-", 2)[0]
    if not note or not instrument or number("pitch") < 0:
        raise ValueError(f"{location[0]}: example {location[1]} has no id, instrument or pitch; give a data set of NSynth")
    return Record(
        id=note, split=split, instrument=instrument, family=named("family"), source=named("source"),
        pitch=number("pitch"), velocity=number("velocity"), preset="", location=location,
    )  # fmt: skip


def _text(value: str | bytes) -> str:
    """Returns bytes or a string as a string."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _raw_examples(file: Path) -> Iterator[tuple[tuple[str, int, int], bytes]]:
    """Yields the location and the bytes of each example of a shard.

    The location is (file, byte, size); in array_record files it is (file, number, -1).
    """
    if ".array_record-" in file.name:
        reader = _array_reader(str(file))
        for number in range(reader.num_records()):
            yield (str(file), number, -1), reader.read([number])[0]
        return
    # grain also reads TFRecord files, but it imports JAX: 0.8 s and 100 MB in every process.
    end = file.stat().st_size
    with open(file, "rb") as handle:
        while head := handle.read(12):  # length of the record and its checksum
            place, size = handle.tell(), int.from_bytes(head[:8], "little")
            if len(head) < 12 or place + size + 4 > end:
                raise ValueError(f"{file}: damaged or cut short at byte {place - len(head)}; prepare the data set again")
            yield (str(file), place, size), handle.read(size)
            handle.seek(4, os.SEEK_CUR)  # checksum of the record


def _read(file: str, place: int, size: int) -> bytes:
    """Returns the bytes of an example by its location."""
    if size < 0:
        return _array_reader(file).read([place])[0]
    with open(file, "rb") as handle:
        handle.seek(place)
        return handle.read(size)


_array_reader = functools.lru_cache(maxsize=16)(open_records)
